package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lockcluster/lockcluster/internal/buildinfo"
)

// Streams are a command's standard streams.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// app is what the commands share.
type app struct {
	Streams
	environ   []string // as os.Environ gives it
	arguments []string
	output    string // --output
}

// Main runs the command line and returns the exit code.
func Main(arguments []string, streams Streams) int {
	return run(context.Background(), arguments, streams, os.Environ())
}

func run(ctx context.Context, arguments []string, streams Streams, environ []string) int {
	a := &app{Streams: streams, environ: environ, arguments: arguments}
	root := a.root() //nolint:contextcheck // commands take theirs from cobra
	root.SetArgs(arguments)
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	code, text := exitCode(root.ExecuteContext(ctx))
	if text != "" {
		say(streams.Err, "lockcluster: %s\n", text)
	}
	return code
}

// interruptible returns a context that ends with the first Ctrl-C or SIGTERM.
// Only short commands use it: server and dev have their own way to stop.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

// showInOurOrder keeps cobra from sorting the commands in a help. That is a
// setting of the whole process: two command lines may run beside each other.
var showInOurOrder = sync.OnceFunc(func() { cobra.EnableCommandSorting = false })

func (a *app) root() *cobra.Command {
	showInOurOrder()
	root := &cobra.Command{
		Use:   "lockcluster",
		Short: "A replicated lock service for Atlantis",
		Long: `lockcluster keeps Atlantis's locks on several nodes, so that they survive a
node and are never granted twice. An unmodified Atlantis uses any node as if it
were its Redis.

Start here:  lockcluster dev        three nodes on this machine

Exit codes:  ` + exitLine() + `
             ("lockcluster help exit-codes")`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.checkOutput() },
	}
	root.PersistentFlags().StringVarP(&a.output, "output", "o", outputTable, "how the answer looks: table or json")
	root.SetFlagErrorFunc(a.flagError)
	group(root,
		a.devCommand(),
		a.serverCommand(),
		a.clusterCommand(),
		a.locksCommand(),
		a.importCommand(),
		a.migrationCommand(),
		a.configCommand(),
		a.exportCommand(),
		a.versionCommand(),
		exitCodesCommand(),
	)
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" { // cobra's own: a shell that it does not know is no success
			group(c)
		}
	}
	return root
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which build this is",
		Args:  args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			info := buildinfo.Get()
			return a.print(info, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "lockcluster %s\n", info)
				return err
			})
		},
	}
}
