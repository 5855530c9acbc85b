package ours

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/lockcluster/lockcluster/bench/internal/crew"
	"github.com/lockcluster/lockcluster/bench/internal/harness"
	"github.com/lockcluster/lockcluster/bench/internal/system"
	"github.com/lockcluster/lockcluster/rpc"
)

// The targets for a failover.
const (
	killMedianMax    = 2000 // milliseconds
	killWorstMax     = 5000
	transferWorstMax = 1000
)

// FailoverPlan says what to measure.
type FailoverPlan struct {
	Cluster   *system.Cluster
	Kills     int
	Transfers int
	Writers   int
	Dir       string
	Progress  io.Writer
}

// Failover is what was measured.
type Failover struct {
	Started time.Time       `json:"started"`
	Machine harness.Machine `json:"machine"`
	Server  string          `json:"server"`
	Writers int             `json:"writers"`
	// Kills is from kill -9 of the leader to the acknowledgement of the first
	// write that began after it.
	Kills Times `json:"kills"`
	// Transfers is from the command to hand leadership over to the
	// acknowledgement of the first write that began after its end;
	// TransferGaps is the longest time without an acknowledgement meanwhile.
	Transfers    Times   `json:"transfers"`
	TransferGaps Times   `json:"transfer_gaps"`
	Bounds       []Bound `json:"targets"`
}

// RunFailover starts the cluster, measures, and stops it.
func RunFailover(ctx context.Context, p FailoverPlan) (res *Failover, err error) {
	res = &Failover{Started: time.Now().UTC(), Machine: harness.DescribeMachine(p.Dir), Writers: p.Writers}
	defer func() { err = errors.Join(err, p.Cluster.Stop()) }()
	fmt.Fprintln(p.Progress, "starting lockcluster")
	if err := p.Cluster.Start(ctx, filepath.Join(p.Dir, p.Cluster.Name())); err != nil {
		return res, fmt.Errorf("start lockcluster: %w", err)
	}
	res.Server = p.Cluster.Describe()
	w, err := crew.Start(ctx, p.Cluster, p.Writers)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, w.Stop()) }()
	var kills, transfers, gaps []time.Duration
	for i := range p.Kills {
		took, err := killLeader(ctx, p.Cluster, w)
		if err != nil {
			return res, fmt.Errorf("kill %d: %w", i+1, err)
		}
		kills = append(kills, took)
		fmt.Fprintf(p.Progress, "[%d/%d] kill -9 of the leader: %d ms until the next acknowledged write\n", i+1, p.Kills, took.Milliseconds())
	}
	for i := range p.Transfers {
		took, gap, err := transfer(ctx, p.Cluster, w)
		if err != nil {
			return res, fmt.Errorf("transfer %d: %w", i+1, err)
		}
		transfers, gaps = append(transfers, took), append(gaps, gap)
		fmt.Fprintf(p.Progress, "[%d/%d] planned transfer: %.1f ms, longest time without a write %.1f ms\n", i+1, p.Transfers, ms(took), ms(gap))
	}
	res.Kills, res.Transfers, res.TransferGaps = timesOf(kills), timesOf(transfers), timesOf(gaps)
	res.judge()
	return res, nil
}

func (r *Failover) judge() {
	if len(r.Kills.Each) > 0 {
		r.Bounds = append(r.Bounds,
			atMost("failover by kill -9, median", r.Kills.Median, killMedianMax, "ms"),
			atMost("failover by kill -9, worst", r.Kills.Worst, killWorstMax, "ms"))
	}
	if len(r.Transfers.Each) > 0 {
		r.Bounds = append(r.Bounds,
			atMost("planned transfer, worst", r.Transfers.Worst, transferWorstMax, "ms"),
			atMost("planned transfer, longest time without a write", r.TransferGaps.Worst, transferWorstMax, "ms"))
	}
}

// settle waits until all nodes are well, and then for a time that differs, so
// that the leader is not always met at the same moment of its timers.
func settle(ctx context.Context, c *system.Cluster) (leader int, err error) {
	if err := c.WaitCaughtUp(ctx); err != nil {
		return 0, err
	}
	select {
	case <-time.After(500*time.Millisecond + rand.N(500*time.Millisecond)): //nolint:gosec // no secret
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return c.Leader(ctx)
}

// killLeader kills the leader, and starts it again once the others write.
func killLeader(ctx context.Context, c *system.Cluster, w *crew.Crew) (time.Duration, error) {
	leader, err := settle(ctx, c)
	if err != nil {
		return 0, err
	}
	at := time.Now()
	if err := c.KillNode(leader); err != nil {
		return 0, err
	}
	next, err := w.Next(ctx, at)
	if err != nil {
		return 0, err
	}
	return next.Sub(at), c.StartNode(leader)
}

// transfer hands leadership over.
func transfer(ctx context.Context, c *system.Cluster, w *crew.Crew) (took, gap time.Duration, err error) {
	if _, err := settle(ctx, c); err != nil {
		return 0, 0, err
	}
	admin, err := c.Dial(rpc.ClientConfig{Connections: 1})
	if err != nil {
		return 0, 0, err
	}
	defer admin.Close()
	if _, err := admin.Status(ctx, true); err != nil { // so that the connection is there
		return 0, 0, err
	}
	at := time.Now()
	if _, err := admin.TransferLeader(ctx, ""); err != nil {
		return 0, 0, err
	}
	next, err := w.Next(ctx, time.Now())
	if err != nil {
		return 0, 0, err
	}
	return next.Sub(at), w.LongestGap(at, next), nil
}

// Write writes the result for people.
func (r *Failover) Write(w io.Writer) error {
	fmt.Fprintf(w, "\nlockbench failover, %s\n%s\n%s\n%d writers, our Go client\n\n", r.Started.Format("2006-01-02 15:04 MST"), r.Machine, r.Server, r.Writers)
	if len(r.Kills.Each) > 0 {
		fmt.Fprintf(w, "kill -9 of the leader until the next acknowledged write:  %v\n", r.Kills)
	}
	if len(r.Transfers.Each) > 0 {
		fmt.Fprintf(w, "planned transfer until the next acknowledged write:       %v\n", r.Transfers)
		fmt.Fprintf(w, "planned transfer, longest time without a write:           %v\n", r.TransferGaps)
	}
	return writeBounds(w, r.Bounds)
}
