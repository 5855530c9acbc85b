package ours

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/bench/internal/crew"
	"github.com/lockcluster/lockcluster/bench/internal/system"
	"github.com/lockcluster/lockcluster/rpc"
)

const (
	locksPerRepo = 100
	// An import's batch is one log entry.
	importBatch   = 100
	importSenders = 4
)

func scaleRepo(n int) string { return fmt.Sprintf("acme/repo-%06d", n) }

func scaleLock(i int) *system.Lock {
	return system.NewLock(scaleRepo(i/locksPerRepo), fmt.Sprintf("env/%03d", i%locksPerRepo), i%locksPerRepo+1)
}

// load imports all locks.
func load(ctx context.Context, p ScalePlan, res *Scale) error {
	client, err := p.Cluster.Dial(rpc.ClientConfig{Timeout: time.Minute, TryTimeout: 20 * time.Second})
	if err != nil {
		return err
	}
	defer client.Close()
	start := time.Now()
	var next, done atomic.Int64
	errs := make([]error, importSenders)
	var wg sync.WaitGroup
	for s := range importSenders {
		wg.Go(func() {
			for ctx.Err() == nil {
				from := int(next.Add(importBatch)) - importBatch
				if from >= p.Locks {
					return
				}
				to := min(from+importBatch, p.Locks)
				if errs[s] = importLocks(ctx, client, from, to); errs[s] != nil {
					next.Store(int64(p.Locks)) // the others need not go on
					return
				}
				before := done.Add(int64(to-from)) - int64(to-from)
				if tenth := int64(p.Locks/10 + 1); before/tenth != (before+int64(to-from))/tenth {
					p.say("loaded %d of %d locks", before+int64(to-from), p.Locks)
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return err
	}
	took := time.Since(start)
	res.LoadSeconds, res.LoadRate = took.Seconds(), float64(p.Locks)/took.Seconds()
	p.say("loaded in %v", took.Round(time.Millisecond))
	return nil
}

func importLocks(ctx context.Context, client *rpc.Client, from, to int) error {
	req := lockcluster.Import{Namespace: lockcluster.DefaultNamespace}
	for i := from; i < to; i++ {
		req.Locks = append(req.Locks, scaleLock(i).Acquire())
	}
	res, err := client.Do(ctx, lockcluster.RequestID{}, req)
	if err != nil {
		return err
	}
	for i, r := range res.Results {
		if r.Status != lockcluster.StatusGranted {
			return fmt.Errorf("lock %d was answered %q", from+i, r.Status)
		}
	}
	return nil
}

// list reads single repositories, and then everything.
func list(ctx context.Context, p ScalePlan, res *Scale) error {
	client, err := p.Cluster.Dial(rpc.ClientConfig{WithValues: true})
	if err != nil {
		return err
	}
	defer client.Close()
	repos := p.Locks / locksPerRepo // full ones
	var one, all []time.Duration
	const times = 51 // the first is the connection's
	for i := range times {
		took, err := listed(ctx, client, rpc.LockFilter{Repo: scaleRepo(i * repos / times)}, locksPerRepo)
		if err != nil {
			return err
		}
		if i > 0 {
			one = append(one, took)
		}
	}
	for range 3 {
		took, err := listed(ctx, client, rpc.LockFilter{}, p.Locks)
		if err != nil {
			return err
		}
		all = append(all, took)
		p.say("listed all in %v", took.Round(time.Millisecond))
	}
	res.ListRepo, res.ListAll = timesOf(one), timesOf(all)
	return nil
}

func listed(ctx context.Context, client *rpc.Client, f rpc.LockFilter, want int) (time.Duration, error) {
	start := time.Now()
	n := 0
	for _, err := range client.ListLocks(ctx, f) {
		if err != nil {
			return 0, err
		}
		n++
	}
	if n < want {
		return 0, fmt.Errorf("%d locks were listed, want %d", n, want)
	}
	return time.Since(start), nil
}

// memory looks at the leader. The Go runtime collects at least every two
// minutes.
func memory(ctx context.Context, p ScalePlan, res *Scale) error {
	leader, err := p.Cluster.Leader(ctx)
	if err != nil {
		return err
	}
	resident, err := p.Cluster.Process(leader).ResidentBytes()
	if err != nil {
		return err
	}
	res.ResidentPerLock = float64(resident) / float64(p.Locks)
	p.say("waiting for a garbage collection of the leader, at most %v", p.GCWait)
	begin := time.Now()
	for {
		m, err := p.Cluster.Metrics(ctx, leader)
		if err != nil {
			return err
		}
		res.HeapPerLock = m["go_memstats_heap_inuse_bytes"] / float64(p.Locks)
		res.HeapCollected = m["go_memstats_last_gc_time_seconds"] > float64(begin.Unix())
		if res.HeapCollected || time.Since(begin) > p.GCWait {
			return nil
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Restart is how long a killed node takes to come back.
type Restart struct {
	ReadySeconds    float64 `json:"ready_seconds"`
	CaughtUpSeconds float64 `json:"caught_up_seconds"`
}

// restart kills a follower and starts it again.
func restart(ctx context.Context, p ScalePlan, res *Scale) error {
	leader, err := p.Cluster.Leader(ctx)
	if err != nil {
		return err
	}
	status, err := p.Cluster.Status(ctx)
	if err != nil {
		return err
	}
	node := (leader + 1) % p.Cluster.Size()
	if err := p.Cluster.KillNode(node); err != nil {
		return err
	}
	p.say("killed node %d; starting it again", node+1)
	start := time.Now()
	if err := p.Cluster.StartNode(node); err != nil {
		return err
	}
	var r Restart
	for r.CaughtUpSeconds == 0 {
		if err := p.Cluster.Alive(); err != nil {
			return err
		}
		try, cancel := context.WithTimeout(ctx, time.Second)
		if r.ReadySeconds == 0 && p.Cluster.Ready(try, node) == nil {
			r.ReadySeconds = time.Since(start).Seconds()
		}
		if r.ReadySeconds > 0 {
			if applied, err := p.Cluster.NodeStatus(try, node); err == nil && applied >= status.CommitIndex {
				r.CaughtUpSeconds = time.Since(start).Seconds()
			}
		}
		cancel()
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		if time.Since(start) > 10*time.Minute {
			return errors.New("the node does not come back within 10 minutes")
		}
	}
	res.Restart = &r
	return nil
}

// pauses lets writers run until the nodes have taken a snapshot of their own,
// and then makes a backup.
func pauses(ctx context.Context, p ScalePlan, res *Scale) error {
	w, err := crew.Start(ctx, p.Cluster, p.Writers)
	if err != nil {
		return err
	}
	defer func() { _ = w.Stop() }() // its error has been seen
	p.say("%d writers; waiting for a snapshot of the nodes, at most %v", p.Writers, p.SnapshotWait)
	begin := time.Now()
	if _, err := w.Next(ctx, begin); err != nil {
		return err
	}
	spells := watchSnapshots(ctx, p.Cluster, p.SnapshotWait)
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, s := range spells {
		into := &res.Quiet
		if s.snapshot {
			into = &res.NodeSnapshot
		}
		into.add(w, s.from, s.to)
	}
	p.say("making a backup")
	file := filepath.Join(p.Dir, "backup.snap")
	from := time.Now()
	if err := p.Cluster.Run(ctx, "cluster", "snapshot", "save", file); err != nil {
		return err
	}
	res.SnapshotSave.add(w, from, time.Now())
	return w.Stop()
}

func (g *Gap) add(w *crew.Crew, from, to time.Time) {
	if to.Sub(from) < 10*time.Millisecond {
		return
	}
	length := to.Sub(from).Seconds()
	g.Rate = (g.Rate*g.Seconds + w.Rate(from, to)*length) / (g.Seconds + length)
	g.LongestMS = max(g.LongestMS, ms(w.LongestGap(from, to)))
	g.Seconds += length
	g.Spells++
}

// spell is a time in which snapshots were, or were not, written.
type spell struct {
	from, to time.Time
	snapshot bool
}

const (
	// A snapshot begins a little before its file is there.
	snapshotLead = 100 * time.Millisecond
	// quietEnough is how long a quiet spell there has to be.
	quietEnough = 10 * time.Second
)

// watchSnapshots looks at the nodes' files until each has written a snapshot
// and it was quiet long enough, or wait is over.
func watchSnapshots(ctx context.Context, c *system.Cluster, wait time.Duration) []spell {
	var spells []spell
	var quiet time.Duration
	now := time.Now()
	end := now.Add(wait)
	running, seen := false, make([]bool, c.Size())
	from := now
	for now.Before(end) && ctx.Err() == nil {
		any, all := false, true
		for i := range seen {
			on := c.Snapshotting(i)
			any, seen[i] = any || on, seen[i] || on
			all = all && seen[i]
		}
		if now = time.Now(); any != running {
			at := now
			if any {
				at = now.Add(-snapshotLead)
				quiet += at.Sub(from)
			}
			spells = append(spells, spell{from, at, running})
			from, running = at, any
		}
		if all && !running && quiet+now.Sub(from) > quietEnough {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	return append(spells, spell{from, now, running})
}
