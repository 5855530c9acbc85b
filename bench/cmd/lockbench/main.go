// Command lockbench measures lockcluster beside etcd, Redis and a bbolt file
// used as Atlantis uses it, on one machine, and judges the ratios against the
// project's targets. The README of this module says what the figures mean.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lockcluster/lockcluster/bench/internal/harness"
	"github.com/lockcluster/lockcluster/bench/internal/system"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // a run broke off, an operation failed, or -check found a missed target
	exitUsage  = 2 // bad flags, or a program is missing
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// After the first signal the next one ends the program at once.
	context.AfterFunc(ctx, stop)
	code, err := run(ctx, os.Args[1:])
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "lockbench: %v\n", err)
	}
	os.Exit(code)
}

// common are the flags of every command.
type common struct {
	ours        system.Ours
	dir, output string
	keep, check bool
	allowMemory bool
}

func (c *common) add(fs *flag.FlagSet) {
	fs.StringVar(&c.ours.LogStore, "log-store", "wal", "lockcluster's log store: wal or boltdb")
	fs.StringVar(&c.ours.Binary, "lockcluster", "", "a built lockcluster (default: build it from -repo)")
	fs.StringVar(&c.ours.Source, "repo", "", "the repository of lockcluster (default: found from the working directory)")
	fs.StringVar(&c.dir, "dir", "", "where all data goes; this picks the disk under measure (default: the system's temporary directory)")
	fs.StringVar(&c.output, "o", "table", "table or json, on standard output; progress goes to standard error")
	fs.BoolVar(&c.keep, "keep", false, "keep the data and the logs of the systems")
	fs.BoolVar(&c.check, "check", false, "exit with 1 when a target is missed")
	fs.BoolVar(&c.allowMemory, "allow-memory-disk", false, "run even if the data would be on a file system in memory, where durable writes cost nothing")
}

// parse parses args and checks the common flags.
func (c *common) parse(fs *flag.FlagSet, args []string) error {
	if err := fs.Parse(args); err != nil {
		return err
	}
	switch {
	case fs.NArg() > 0:
		return fmt.Errorf("unknown argument %q; %s -help lists the flags", fs.Arg(0), fs.Name())
	case c.ours.LogStore != "wal" && c.ours.LogStore != "boltdb":
		return fmt.Errorf("-log-store %q: want wal or boltdb", c.ours.LogStore)
	case c.output != "table" && c.output != "json":
		return fmt.Errorf("-o %q: want table or json", c.output)
	}
	if c.ours.Source == "" {
		c.ours.Source = findRepo()
	}
	return absolute(&c.ours.Binary, &c.ours.Source, &c.dir)
}

// options are what the user of the comparison chose.
type options struct {
	common
	systems, workloads string
	rounds             int
	seconds            float64
}

func parse(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("lockbench", flag.ContinueOnError)
	fs.StringVar(&o.systems, "systems", "all", "what to measure: "+strings.Join(systemNames(), ", "))
	fs.StringVar(&o.workloads, "workloads", harness.DefaultWorkloads, "what to do with it: pairs-N, read-N, list-N with N clients")
	fs.IntVar(&o.rounds, "rounds", 3, "how often each system has its turn")
	fs.Float64Var(&o.seconds, "seconds", 3, "how long a turn is, without its warm-up")
	o.add(fs)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "lockbench [flags]            compares lockcluster with other systems\n"+
			"lockbench failover [flags]   kills leaders and hands leadership over\n"+
			"lockbench scale [flags]      loads many locks; memory, listings, snapshots, restart\n\nFlags of lockbench:")
		fs.PrintDefaults()
	}
	if err := o.common.parse(fs, args); err != nil {
		return o, err
	}
	switch {
	case o.rounds < 1 || o.rounds > 1000:
		return o, fmt.Errorf("-rounds %d: want 1 to 1000", o.rounds)
	case o.seconds < 0.1 || o.seconds > 3600:
		return o, fmt.Errorf("-seconds %g: want 0.1 to 3600", o.seconds)
	}
	return o, nil
}

func systemNames() []string {
	var names []string
	for _, s := range system.All(system.Ours{}) {
		names = append(names, s.Name())
	}
	return names
}

// absolute makes paths independent of the working directory; children have
// another one.
func absolute(paths ...*string) error {
	for _, p := range paths {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return fmt.Errorf("find %s: %w", *p, err)
		}
		*p = abs
	}
	return nil
}

// findRepo looks for the repository upwards from the working directory.
func findRepo() string {
	for dir := "."; ; dir = filepath.Join(dir, "..") {
		if _, err := os.Stat(filepath.Join(dir, "cmd", "lockcluster")); err == nil {
			return dir
		}
		abs, err := filepath.Abs(dir)
		if err != nil || abs == filepath.Dir(abs) {
			return ".."
		}
	}
}

func run(ctx context.Context, args []string) (int, error) {
	if len(args) > 0 {
		switch args[0] {
		case "failover":
			return runFailover(ctx, args[1:])
		case "scale":
			return runScale(ctx, args[1:])
		}
	}
	return runComparison(ctx, args)
}

func runComparison(ctx context.Context, args []string) (int, error) {
	o, err := parse(args)
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK, err
		}
		return exitUsage, err
	}
	workloads, err := harness.ParseWorkloads(o.workloads)
	if err != nil {
		return exitUsage, err
	}
	systems, err := system.Select(system.All(o.ours), o.systems)
	if err != nil {
		return exitUsage, err
	}
	if err := harness.Check(systems); err != nil {
		return exitUsage, fmt.Errorf("cannot start; nothing was measured:\n%w\nor leave the system out with -systems", err)
	}
	dir, remove, err := o.makeDir()
	if err != nil {
		return exitUsage, err
	}
	defer remove()
	res, runErr := harness.Run(ctx, harness.Plan{
		Systems: systems, Workloads: workloads, Rounds: o.rounds, Cell: time.Duration(o.seconds * float64(time.Second)),
		Dir: dir, Progress: os.Stderr,
	})
	return report(o, res, workloads, runErr)
}

// makeDir makes a directory of this run's own, on a real disk.
func (c *common) makeDir() (dir string, remove func(), err error) {
	if c.dir != "" {
		if err := os.MkdirAll(c.dir, 0o750); err != nil {
			return "", nil, fmt.Errorf("make the data directory: %w", err)
		}
	}
	dir, err = os.MkdirTemp(c.dir, "lockbench-")
	if err != nil {
		return "", nil, fmt.Errorf("make the data directory: %w", err)
	}
	remove = func() { _ = os.RemoveAll(dir) }
	if inMemory(dir) && !c.allowMemory {
		remove()
		return "", nil, fmt.Errorf("%s is on a file system in memory, where durable writes cost nothing: name a directory on a disk with -dir (or say -allow-memory-disk)", dir)
	}
	if c.keep {
		remove = func() {}
	}
	return dir, remove, nil
}

// report prints what was measured, also when the run broke off.
func report(o options, res *harness.Result, workloads []harness.Workload, runErr error) (int, error) {
	res.Summarize(workloads)
	write := func() error { return res.WriteTable(os.Stdout, workloads) }
	if o.output == "json" {
		write = func() error { return res.WriteJSON(os.Stdout) }
	}
	if len(res.Cells) > 0 {
		if err := write(); err != nil {
			return exitFailed, errors.Join(runErr, fmt.Errorf("write the result: %w", err))
		}
	}
	if runErr != nil {
		return exitFailed, fmt.Errorf("the run broke off: %w", runErr)
	}
	if n := res.Errors(); n > 0 {
		return exitFailed, fmt.Errorf("%d operations failed; see the lines above", n)
	}
	if o.check {
		for _, v := range res.Verdicts {
			if !v.Pass {
				return exitFailed, errors.New("a target was missed")
			}
		}
	}
	return exitOK, nil
}
