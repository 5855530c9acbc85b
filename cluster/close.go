package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockcluster/lockcluster"
)

// The bounds of a graceful stop, besides the context of [Node.Close].
const (
	drainMax     = 10 * time.Second // for calls that are inside
	transferMax  = 5 * time.Second  // to hand leadership over
	inFlightWait = 2 * time.Second  // for entries whose fate raft will still tell
	stopMax      = 15 * time.Second // for raft and the goroutines to end
	logCloseMax  = time.Second      // to write what is queued
)

// Close stops the node: it takes no new calls, waits for those inside, hands
// leadership over, and gives the data directory free. When ctx ends it does
// not wait for calls or hand over any more, but still stops properly. The
// second and later calls return [lockcluster.ErrClosed].
func (n *Node) Close(ctx context.Context) error {
	if !n.gate.close() {
		return lockcluster.ErrClosed
	}
	if !n.halter.halted() {
		if !n.awaitEmpty(ctx, drainMax) {
			n.logger.Warn("closing with requests inside")
		}
		n.handOver(ctx)
	}
	n.cancel()
	close(n.halter.releaseC)
	// Raft forgets entries that are on their way to the state machine when it
	// shuts down, and their futures never end: let it finish them first.
	inFlight, cancel := context.WithTimeout(context.Background(), inFlightWait)
	_ = n.batcher.drain(inFlight) // if it takes longer, their callers have gone
	cancel()
	err := n.stopRaft()
	if !waitFor(&n.wg, stopMax) {
		err = errors.Join(err, errors.New("goroutines of the node did not end"))
	}
	n.lead.close()
	err = errors.Join(err, n.release())
	n.logLines.close()
	return err
}

func (n *Node) handOver(ctx context.Context) {
	if ctx.Err() != nil || !n.lead.current().Self {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, transferMax)
	defer cancel()
	if err := n.transfer(ctx, ""); err != nil && !errors.Is(err, ErrMembership) {
		n.logger.Warn("leadership was not handed over", "err", err)
	}
}

func (n *Node) stopRaft() error {
	future := n.raft.Shutdown()
	done := make(chan error, 1)
	go func() { done <- future.Error() }()
	timer := time.NewTimer(stopMax)
	defer timer.Stop()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("stop raft: %w", err)
		}
		return nil
	case <-timer.C:
		return errors.New("stop raft: it did not end in time")
	}
}

// release gives back what the node holds outside its memory.
func (n *Node) release() error {
	if n.metrics != nil {
		n.metrics.close()
	}
	err := closeAll(n.closers)
	if n.dir != nil {
		n.dir.close()
	}
	if err != nil {
		return fmt.Errorf("close stores: %w", err)
	}
	return nil
}

// abandon undoes a failed Open.
func (n *Node) abandon(o options) {
	n.gate.close()
	n.cancel()
	close(n.halter.releaseC)
	switch {
	case n.raft != nil:
		_ = n.stopRaft() // the error of Open counts
		waitFor(&n.wg, stopMax)
	case n.trans != nil:
		_ = n.trans.Close()
	case o.layer != nil:
		_ = o.layer.Close()
	}
	n.lead.close()
	_ = n.release() // the error of Open counts
	n.logLines.close()
}
