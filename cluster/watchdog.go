package cluster

import (
	"fmt"
	"time"
)

const (
	watchdogTick = time.Second
	// applyStall is how long one entry, or the whole log, may stand still while
	// there is something to apply.
	applyStall = 30 * time.Second
	// restoreStall is the same for a snapshot that is being restored.
	restoreStall = 10 * time.Minute
)

// watch looks for parts of the node that do not move, until the node closes.
func (n *Node) watch() {
	tick := time.NewTicker(watchdogTick)
	defer tick.Stop()
	var w progress
	var limit logLimit
	for {
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
		n.metrics.observeRaft(n)
		now := time.Now()
		if since := n.machine.applyingSince.Load(); since != 0 {
			if d := now.Sub(time.Unix(0, since)); d > n.applyLimit() {
				n.haltStuck(fmt.Sprintf("one log entry has been applied for %s", d.Round(time.Second)))
			}
		}
		if d := w.standstill(now, n.raft.CommitIndex(), n.raft.AppliedIndex()); d > applyStall {
			n.haltStuck(fmt.Sprintf("nothing was applied for %s while the commit index rose", d.Round(time.Second)))
		}
		limit.check(n)
	}
}

func (n *Node) applyLimit() time.Duration {
	if n.machine.restoring.Load() {
		return restoreStall
	}
	return applyStall
}

func (n *Node) haltStuck(what string) {
	n.halter.fail(&HaltError{Cause: ErrStuck, Op: what, Advice: "start the node again, and report the stacks in its log"})
}

// progress notices when the commit index rises and the applied index does not.
type progress struct {
	applied uint64
	commit  uint64    // when applied was last seen to move
	since   time.Time // when that was
}

func (p *progress) standstill(now time.Time, commit, applied uint64) time.Duration {
	if p.since.IsZero() || applied != p.applied || applied >= commit {
		p.applied, p.commit, p.since = applied, commit, now
		return 0
	}
	if commit == p.commit {
		return 0
	}
	return now.Sub(p.since)
}
