package controller

import (
	"context"
	"hash/fnv"
	"slices"
	"sync"

	"github.com/lockcluster/lockcluster"
)

// gate lets requests in, or makes them wait. Closing it waits until those that
// are inside have left, so that nothing is in flight when a switch begins.
type gate struct {
	mu     sync.Mutex // guards what follows
	inside int
	openC  chan struct{} // not nil while the gate is closed; closed when it opens
	emptyC chan struct{} // not nil while somebody waits for inside to be 0
}

// enter waits until the gate is open, or for the end of ctx.
func (g *gate) enter(ctx context.Context) error {
	for {
		g.mu.Lock()
		open := g.openC
		if open == nil {
			g.inside++
			g.mu.Unlock()
			return nil
		}
		g.mu.Unlock()
		select {
		case <-open:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.inside == 0 && g.emptyC != nil {
		close(g.emptyC)
		g.emptyC = nil
	}
}

// shut closes the gate; drained tells when nobody is inside any more.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.openC == nil {
		g.openC = make(chan struct{})
	}
}

// drained waits until nobody is inside the closed gate.
func (g *gate) drained(ctx context.Context) error {
	g.mu.Lock()
	if g.inside == 0 {
		g.mu.Unlock()
		return nil
	}
	if g.emptyC == nil {
		g.emptyC = make(chan struct{})
	}
	empty := g.emptyC
	g.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.openC != nil {
		close(g.openC)
		g.openC = nil
	}
}

// stripeCount bounds the locks that keep requests of one repository, command or
// document in order.
const stripeCount = 256

// stripes keeps requests about the same thing in one order. Locks of one
// repository share a stripe, because a pull request's end frees many of them.
type stripes [stripeCount]sync.Mutex

// all are the stripes of a request that may touch anything.
var all = func() []int {
	out := make([]int, stripeCount)
	for i := range out {
		out[i] = i
	}
	return out
}()

func (s *stripes) lock(which []int) (unlock func()) {
	for _, i := range which { // in ascending order: no two can wait for each other
		s[i].Lock()
	}
	return func() {
		for _, i := range which {
			s[i].Unlock()
		}
	}
}

// stripesOf returns the stripes of a request, in ascending order.
func stripesOf(req lockcluster.Request) []int {
	refs, whole := targets(req)
	if whole {
		return all
	}
	out := make([]int, 0, len(refs))
	for _, t := range refs {
		out = append(out, stripeOf(t))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func stripeOf(t target) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte{byte(t.ref.Space)})
	if t.ref.Space == lockcluster.SpaceLock {
		_, _ = h.Write([]byte(t.repo))
	} else {
		_, _ = h.Write([]byte(t.ref.Key))
	}
	return int(h.Sum64() % stripeCount)
}
