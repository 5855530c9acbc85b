package cluster

import (
	"fmt"
	"sync/atomic"
	"time"
)

// storeOp names an operation on a store in metrics and errors.
type storeOp string

const (
	opLogAppend   storeOp = "log append"
	opLogTruncate storeOp = "log truncate"
	opLogRead     storeOp = "log read"
	opStable      storeOp = "stable store write"
	opStableRead  storeOp = "stable store read"
	opSnapshot    storeOp = "snapshot write"
)

// guard watches over every operation that changes a store. An error stops the
// node: after a failed write or fsync neither the file nor the page cache can
// be trusted (Rebello et al., "Can Applications Recover from fsync Failures?",
// 2020). So does an operation that takes longer than stall: a leader with a
// hanging disk keeps its heartbeats and blocks the cluster for ever
// (hashicorp/raft#503). The hang is never turned into an error, because the
// late write may still land under raft.
type guard struct {
	halter  *halter
	stall   time.Duration
	observe func(storeOp, time.Duration) // may be nil
	// While the node opens, errors go to the caller: writes are armed before
	// raft starts, reads after that.
	writesArmed, readsArmed atomic.Bool
}

// write runs f, which changes a store.
func (g *guard) write(op storeOp, f func() error) error {
	if g.halter.halted() {
		g.halter.stop(nil)
	}
	start := time.Now()
	stop := g.watch(op)
	err := f()
	stop()
	if err != nil {
		err = &HaltError{
			Cause: ErrStorage, Op: string(op), Err: err,
			Advice: "check this machine's disk and free space, then start the node again",
		}
		if g.writesArmed.Load() {
			g.halter.stop(err)
		}
		return err
	}
	if g.halter.halted() { // it hung and came back: too late
		g.halter.stop(nil)
	}
	if g.observe != nil {
		g.observe(op, time.Since(start))
	}
	return nil
}

// stallTicks is in how many steps the time of an operation is counted.
const stallTicks = 10

// watch stops the node when stop is not called in time. The time is counted in
// steps, not read from the clock: a process that slept takes one step late, and
// its disk does not hang.
func (g *guard) watch(op storeOp) (stop func() bool) {
	ticks := 0
	var timer *time.Timer
	ready := make(chan struct{})
	timer = time.AfterFunc(g.stall/stallTicks, func() {
		<-ready
		if ticks++; ticks < stallTicks {
			timer.Reset(g.stall / stallTicks)
			return
		}
		g.halter.fail(&HaltError{
			Cause: ErrStorage, Op: fmt.Sprintf("%s takes longer than %s", op, g.stall),
			Advice: "check this machine's disk, then start the node again",
		})
	})
	close(ready)
	return timer.Stop
}

// corrupt stops the node because of something it read.
func (g *guard) corrupt(op storeOp, err error) error {
	err = &HaltError{
		Cause: ErrStorage, Op: string(op), Err: err,
		Advice: "the data of this node is damaged: remove the node from the cluster and add a new one with an empty data directory",
	}
	if g.readsArmed.Load() {
		g.halter.stop(err)
	}
	return err
}
