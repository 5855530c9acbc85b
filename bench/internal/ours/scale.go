package ours

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/lockcluster/lockcluster/bench/internal/harness"
	"github.com/lockcluster/lockcluster/bench/internal/system"
)

// The targets with many locks.
const (
	bytesPerLockMax = 3 << 10
	pauseMax        = 50 // milliseconds
	restartMax      = 30 // seconds
)

// ScalePlan says what to measure.
type ScalePlan struct {
	Cluster *system.Cluster
	Locks   int
	Writers int
	// SnapshotWait is how long to wait for the nodes' own snapshots, GCWait for
	// a garbage collection of the leader.
	SnapshotWait, GCWait time.Duration
	Dir                  string
	Progress             io.Writer
}

// Scale is what was measured.
type Scale struct {
	Started time.Time       `json:"started"`
	Machine harness.Machine `json:"machine"`
	Server  string          `json:"server"`
	Locks   int             `json:"locks"`
	Writers int             `json:"writers"`

	LoadSeconds float64 `json:"load_seconds"`
	LoadRate    float64 `json:"loaded_per_second"`
	// ListRepo is the listing of one repository of 100 locks, ListAll that of
	// all locks, with their values.
	ListRepo Times `json:"list_repository"`
	ListAll  Times `json:"list_all"`
	// Of the leader, by lock: resident memory right after the listings, and the
	// Go heap in use after a garbage collection.
	ResidentPerLock float64 `json:"resident_bytes_per_lock"`
	HeapPerLock     float64 `json:"heap_inuse_bytes_per_lock"`
	HeapCollected   bool    `json:"heap_after_collection"`

	// The longest times without an acknowledged write.
	Quiet        Gap      `json:"quiet"`
	NodeSnapshot Gap      `json:"node_snapshot"`
	SnapshotSave Gap      `json:"snapshot_save"`
	Restart      *Restart `json:"restart,omitempty"`
	Bounds       []Bound  `json:"targets"`
}

// Gap is the longest time without an acknowledged write within some spells.
type Gap struct {
	LongestMS float64 `json:"longest_ms"`
	Seconds   float64 `json:"seconds"` // the length of all spells
	Spells    int     `json:"spells"`
	Rate      float64 `json:"writes_per_second"`
}

func (g Gap) String() string {
	if g.Spells == 0 {
		return "did not happen"
	}
	return fmt.Sprintf("%.1f ms (%.0f writes/s; looked at for %.1f s in %d spells)", g.LongestMS, g.Rate, g.Seconds, g.Spells)
}

// RunScale starts the cluster, measures, and stops it.
func RunScale(ctx context.Context, p ScalePlan) (res *Scale, err error) {
	res = &Scale{Started: time.Now().UTC(), Machine: harness.DescribeMachine(p.Dir), Locks: p.Locks, Writers: p.Writers}
	defer func() { err = errors.Join(err, p.Cluster.Stop()) }()
	p.say("starting lockcluster")
	if err := p.Cluster.Start(ctx, filepath.Join(p.Dir, p.Cluster.Name())); err != nil {
		return res, fmt.Errorf("start lockcluster: %w", err)
	}
	res.Server = p.Cluster.Describe()
	for _, step := range []struct {
		name string
		run  func(context.Context, ScalePlan, *Scale) error
	}{
		{"load", load}, {"list", list}, {"measure the memory", memory}, {"measure the pauses", pauses}, {"restart a node", restart},
	} {
		if err := step.run(ctx, p, res); err != nil {
			return res, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	res.judge()
	return res, nil
}

func (p ScalePlan) say(format string, args ...any) { fmt.Fprintf(p.Progress, format+"\n", args...) }

func (r *Scale) judge() {
	r.Bounds = append(r.Bounds,
		atMost("memory by lock, resident", r.ResidentPerLock, bytesPerLockMax, "bytes"),
		atMost("memory by lock, Go heap in use", r.HeapPerLock, bytesPerLockMax, "bytes"))
	if r.NodeSnapshot.Spells > 0 {
		r.Bounds = append(r.Bounds, atMost("pause by a node's own snapshot, beyond the longest without one",
			max(0, r.NodeSnapshot.LongestMS-r.Quiet.LongestMS), pauseMax, "ms"))
	}
	if r.SnapshotSave.Spells > 0 {
		r.Bounds = append(r.Bounds, atMost("pause by a backup, beyond the longest without one",
			max(0, r.SnapshotSave.LongestMS-r.Quiet.LongestMS), pauseMax, "ms"))
	}
	if r.Restart != nil {
		r.Bounds = append(r.Bounds, atMost("restart after kill -9 until ready and caught up", r.Restart.CaughtUpSeconds, restartMax, "s"))
	}
}

// Write writes the result for people.
func (r *Scale) Write(w io.Writer) error {
	fmt.Fprintf(w, "\nlockbench scale, %s\n%s\n%s\n\n", r.Started.Format("2006-01-02 15:04 MST"), r.Machine, r.Server)
	fmt.Fprintf(w, "load %d locks of %d bytes:              %.1f s (%.0f locks/s)\n", r.Locks, system.ValueSize, r.LoadSeconds, r.LoadRate)
	fmt.Fprintf(w, "list one repository of %d locks:         %v\n", locksPerRepo, r.ListRepo)
	fmt.Fprintf(w, "list all locks:                           %v\n", r.ListAll)
	collected := "after a garbage collection"
	if !r.HeapCollected {
		collected = "there was no garbage collection in time"
	}
	fmt.Fprintf(w, "memory by lock, of the leader:            resident %.0f bytes, Go heap in use %.0f bytes (%s)\n", r.ResidentPerLock, r.HeapPerLock, collected)
	fmt.Fprintf(w, "longest time without a write, %d writers\n", r.Writers)
	fmt.Fprintf(w, "    without a snapshot:                   %v\n", r.Quiet)
	fmt.Fprintf(w, "    while a node takes its own snapshot:  %v\n", r.NodeSnapshot)
	fmt.Fprintf(w, "    during cluster snapshot save:         %v\n", r.SnapshotSave)
	if r.Restart != nil {
		fmt.Fprintf(w, "restart of a follower after kill -9:      ready %.1f s, caught up %.1f s\n", r.Restart.ReadySeconds, r.Restart.CaughtUpSeconds)
	}
	return writeBounds(w, r.Bounds)
}
