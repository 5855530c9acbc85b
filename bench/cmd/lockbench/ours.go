package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/lockcluster/lockcluster/bench/internal/ours"
	"github.com/lockcluster/lockcluster/bench/internal/system"
)

func runFailover(ctx context.Context, args []string) (int, error) {
	var c common
	fs := flag.NewFlagSet("lockbench failover", flag.ContinueOnError)
	kills := fs.Int("kills", 20, "how often the leader is killed")
	transfers := fs.Int("transfers", 20, "how often leadership is handed over")
	writers := fs.Int("writers", 4, "how many clients write meanwhile")
	c.add(fs)
	err := c.parse(fs, args)
	switch {
	case err != nil:
	case *kills < 0 || *transfers < 0 || *kills+*transfers == 0 || *kills+*transfers > 10_000:
		err = fmt.Errorf("-kills %d -transfers %d: want 1 to 10000 of both together", *kills, *transfers)
	case *writers < 1 || *writers > 1024:
		err = fmt.Errorf("-writers %d: want 1 to 1024", *writers)
	}
	return c.measure(err, func(cluster *system.Cluster, dir string) (any, func(io.Writer) error, []ours.Bound, error) {
		res, err := ours.RunFailover(ctx, ours.FailoverPlan{
			Cluster: cluster, Kills: *kills, Transfers: *transfers, Writers: *writers, Dir: dir, Progress: os.Stderr,
		})
		return res, res.Write, res.Bounds, err
	})
}

func runScale(ctx context.Context, args []string) (int, error) {
	var c common
	fs := flag.NewFlagSet("lockbench scale", flag.ContinueOnError)
	locks := fs.Int("locks", 1_000_000, "how many locks")
	writers := fs.Int("writers", 16, "how many clients write while snapshots are taken")
	snapshotWait := fs.Duration("snapshot-wait", 3*time.Minute, "how long to wait for the nodes' own snapshots")
	gcWait := fs.Duration("gc-wait", 130*time.Second, "how long to wait for a garbage collection of the leader")
	c.add(fs)
	err := c.parse(fs, args)
	switch {
	case err != nil:
	case *locks < 1000 || *locks > 100_000_000:
		err = fmt.Errorf("-locks %d: want 1000 to 100000000", *locks)
	case *writers < 1 || *writers > 1024:
		err = fmt.Errorf("-writers %d: want 1 to 1024", *writers)
	case *snapshotWait < 0 || *gcWait < 0:
		err = errors.New("-snapshot-wait and -gc-wait: want no negative time")
	}
	return c.measure(err, func(cluster *system.Cluster, dir string) (any, func(io.Writer) error, []ours.Bound, error) {
		res, err := ours.RunScale(ctx, ours.ScalePlan{
			Cluster: cluster, Locks: *locks, Writers: *writers, SnapshotWait: *snapshotWait, GCWait: *gcWait, Dir: dir, Progress: os.Stderr,
		})
		return res, res.Write, res.Bounds, err
	})
}

// measure runs f on a cluster that is not started yet, unless the flags were
// bad, and prints its result, also when it broke off.
func (c *common) measure(flags error, f func(*system.Cluster, string) (any, func(io.Writer) error, []ours.Bound, error)) (int, error) {
	if flags != nil {
		if errors.Is(flags, flag.ErrHelp) {
			return exitOK, flags
		}
		return exitUsage, flags
	}
	cluster := system.NewCluster(c.ours)
	if err := cluster.Check(); err != nil {
		return exitUsage, err
	}
	dir, remove, err := c.makeDir()
	if err != nil {
		return exitUsage, err
	}
	defer remove()
	res, table, bounds, runErr := f(cluster, dir)
	write := table
	if c.output == "json" {
		write = func(w io.Writer) error {
			enc := json.NewEncoder(w)
			enc.SetIndent("", "  ")
			return enc.Encode(res)
		}
	}
	if err := write(os.Stdout); err != nil {
		return exitFailed, errors.Join(runErr, fmt.Errorf("write the result: %w", err))
	}
	switch {
	case runErr != nil:
		return exitFailed, fmt.Errorf("the run broke off: %w", runErr)
	case c.check && ours.Missed(bounds):
		return exitFailed, errors.New("a target was missed")
	}
	return exitOK, nil
}
