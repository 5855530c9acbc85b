package cluster

import (
	"fmt"
	"time"
)

const (
	watchdogTick = time.Second
	// applyTicks is for how many ticks one entry, or the whole log, may stand
	// still while there is something to apply. Ticks and not time: a process that
	// slept has missed its ticks, and is not stuck.
	applyTicks = 30
	// restoreTicks is the same for a snapshot that is being restored.
	restoreTicks = 600
)

// watch looks for parts of the node that do not move, until the node closes.
func (n *Node) watch() {
	tick := time.NewTicker(watchdogTick)
	defer tick.Stop()
	var entry, log progress
	var limit logLimit
	for {
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
		n.metrics.observeRaft(n)
		since := n.machine.applyingSince.Load()
		allowed := applyTicks
		if n.machine.restoring.Load() {
			allowed = restoreTicks
		}
		if ticks := entry.stands(since == 0, uint64(since), 0); ticks > allowed {
			n.haltStuck(fmt.Sprintf("one log entry has been applied for %d seconds", ticks))
		}
		commit, applied := n.raft.CommitIndex(), n.raft.AppliedIndex()
		if ticks := log.stands(applied >= commit, applied, commit); ticks > applyTicks {
			n.haltStuck(fmt.Sprintf("nothing was applied for %d seconds while the commit index rose", ticks))
		}
		limit.check(n)
	}
}

func (n *Node) haltStuck(what string) {
	n.halter.fail(&HaltError{Cause: ErrStuck, Op: what, Advice: "start the node again, and report the stacks in its log"})
}

// progress counts the ticks for which something stands still.
type progress struct {
	at    uint64 // where it stands
	goal  uint64 // where it could have been when it was last seen to move
	ticks int
}

// stands is called at each tick with where something stands and where it could
// be. It returns for how many ticks it has not moved although it could: goal
// must have risen meanwhile, unless it is 0.
func (p *progress) stands(idle bool, at, goal uint64) int {
	if idle || at != p.at {
		*p = progress{at: at, goal: goal}
		return 0
	}
	if goal != 0 && goal == p.goal {
		return 0
	}
	p.ticks++
	return p.ticks
}
