package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster"
)

// gate counts the calls that are inside the node, so that Close can wait for
// them and let no new ones in.
type gate struct {
	mu     sync.Mutex // guards what follows
	inside int
	closed bool
	emptyC chan struct{} // closed when closed and nobody is inside
}

// enter begins a call; leave must follow.
func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return lockcluster.ErrClosed
	}
	g.inside++
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.inside == 0 && g.closed {
		close(g.emptyC)
	}
}

// close lets nobody in any more. It reports whether it was the first to do so.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.closed, g.emptyC = true, make(chan struct{})
	if g.inside == 0 {
		close(g.emptyC)
	}
	return true
}

// awaitEmpty waits until nobody is inside, for at most d, or until ctx ends.
func (g *gate) awaitEmpty(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-g.emptyC:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// waitFor waits for wg for at most d.
func waitFor(wg *sync.WaitGroup, d time.Duration) bool {
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
