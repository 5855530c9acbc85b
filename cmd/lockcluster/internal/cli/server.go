package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/cmd/lockcluster/internal/config"
	"github.com/lockcluster/lockcluster/cmd/lockcluster/internal/node"
)

func (a *app) serverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run one node",
		Long: fmt.Sprintf(`server runs one node of a cluster until SIGTERM or Ctrl-C, then stops it
gracefully: it hands leadership over and finishes what it has in hand. A second
signal ends it at once.

Every flag is also an environment variable (--node-id is LOCKCLUSTER_NODE_ID) and
a key of the YAML file that --config names (node-id). A flag wins over the
environment, the environment over the file.

The file may also have an Atlantis's blocks "locks" and "enhanced-locking", and
each of their settings is a flag and an ATLANTIS_… variable as well: "lockcluster
config mapping" lists them. A new cluster begins with them; after that the
cluster's own settings count.

Exit codes: 0 stopped · 1 did not start, the error says what to do · 2 wrong
command line · %d the state differs from the other nodes' · %d stuck · %d its
disk failed · %d has to be started again · %d was removed from the cluster.`,
			cluster.ExitCodeDiverged, cluster.ExitCodeStuck, cluster.ExitCodeStorage, cluster.ExitCodeRestart, cluster.ExitCodeRemoved),
		Example: `  lockcluster server --node-id n1 --data-dir /var/lib/lockcluster \
    --initial-cluster n1=10.0.0.1:7000,n2=10.0.0.2:7000,n3=10.0.0.3:7000 \
    --raft-addr 10.0.0.1:7000 --grpc-addr 10.0.0.1:7100 --insecure`,
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := config.Load(cmd.Flags(), a.environ)
			if err == nil {
				err = s.Complete()
			}
			if err == nil {
				err = node.Check(s)
			}
			if err != nil {
				return usagef("%w", err)
			}
			ctx, cancel := stopOnSignal(cmd.Context())
			defer cancel()
			return node.Run(ctx, s, a.Err)
		},
	}
	config.AddFlags(cmd.Flags())
	return cmd
}

// stopOnSignal returns a context that the first SIGTERM or Ctrl-C ends. The
// second one ends the process, as the shell expects it from a signal.
func stopOnSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		if s, ok := (<-signals).(syscall.Signal); ok {
			os.Exit(128 + int(s))
		}
	}()
	return ctx, cancel
}
