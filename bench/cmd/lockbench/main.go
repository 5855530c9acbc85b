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

// options are what the user chose.
type options struct {
	systems, workloads string
	rounds             int
	seconds            float64
	ours               system.Ours
	dir, output        string
	keep, check        bool
	allowMemory        bool
}

func parse(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("lockbench", flag.ContinueOnError)
	fs.StringVar(&o.systems, "systems", "all", "what to measure: "+strings.Join(systemNames(), ", "))
	fs.StringVar(&o.workloads, "workloads", harness.DefaultWorkloads, "what to do with it: pairs-N, read-N, list-N with N clients")
	fs.IntVar(&o.rounds, "rounds", 3, "how often each system has its turn")
	fs.Float64Var(&o.seconds, "seconds", 3, "how long a turn is, without its warm-up")
	fs.StringVar(&o.ours.LogStore, "log-store", "wal", "lockcluster's log store: wal or boltdb")
	fs.StringVar(&o.ours.Binary, "lockcluster", "", "a built lockcluster (default: build it from -repo)")
	fs.StringVar(&o.ours.Source, "repo", "", "the repository of lockcluster (default: found from the working directory)")
	fs.StringVar(&o.dir, "dir", "", "where all data goes; this picks the disk under measure (default: the system's temporary directory)")
	fs.StringVar(&o.output, "o", "table", "table or json, on standard output; progress goes to standard error")
	fs.BoolVar(&o.keep, "keep", false, "keep the data and the logs of the systems")
	fs.BoolVar(&o.check, "check", false, "exit with 1 when a target is missed")
	fs.BoolVar(&o.allowMemory, "allow-memory-disk", false, "run even if the data would be on a file system in memory, where durable writes cost nothing")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q; lockbench -help lists the flags", fs.Arg(0))
	case o.rounds < 1 || o.rounds > 1000:
		return o, fmt.Errorf("-rounds %d: want 1 to 1000", o.rounds)
	case o.seconds < 0.1 || o.seconds > 3600:
		return o, fmt.Errorf("-seconds %g: want 0.1 to 3600", o.seconds)
	case o.ours.LogStore != "wal" && o.ours.LogStore != "boltdb":
		return o, fmt.Errorf("-log-store %q: want wal or boltdb", o.ours.LogStore)
	case o.output != "table" && o.output != "json":
		return o, fmt.Errorf("-o %q: want table or json", o.output)
	}
	if o.ours.Source == "" {
		o.ours.Source = findRepo()
	}
	return o, absolute(&o.ours.Binary, &o.ours.Source, &o.dir)
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
	dir, err := makeDir(o)
	if err != nil {
		return exitUsage, err
	}
	if !o.keep {
		defer os.RemoveAll(dir)
	}
	res, runErr := harness.Run(ctx, harness.Plan{
		Systems: systems, Workloads: workloads, Rounds: o.rounds, Cell: time.Duration(o.seconds * float64(time.Second)),
		Dir: dir, Progress: os.Stderr,
	})
	return report(o, res, workloads, runErr)
}

// makeDir makes a directory of this run's own, on a real disk.
func makeDir(o options) (string, error) {
	if o.dir != "" {
		if err := os.MkdirAll(o.dir, 0o750); err != nil {
			return "", fmt.Errorf("make the data directory: %w", err)
		}
	}
	dir, err := os.MkdirTemp(o.dir, "lockbench-")
	if err != nil {
		return "", fmt.Errorf("make the data directory: %w", err)
	}
	if inMemory(dir) && !o.allowMemory {
		_ = os.Remove(dir)
		return "", fmt.Errorf("%s is on a file system in memory, where durable writes cost nothing: name a directory on a disk with -dir (or say -allow-memory-disk)", dir)
	}
	return dir, nil
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
