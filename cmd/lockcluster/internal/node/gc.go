package node

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

const (
	// heapFloor is the size to which the heap may grow before it is collected,
	// however little of it is in use. Go's own rule, twice what is in use, is
	// meant for larger programs: a busy node with few locks uses 5 MB and makes
	// 100 MB of garbage a second, so it would be collected ten times a second,
	// and the stacks that each collection shrinks would grow again in between.
	// Measured against 128 MiB: that costs more again, in memory touched anew.
	heapFloor = 48 << 20
	// gcPercent is Go's own rule, which applies above the floor.
	gcPercent = 100
	// A large heap is nearly all locks, and grows so slowly that it is collected
	// once in minutes: there memory counts for more than collections.
	heapLarge    = 256 << 20
	largePercent = 60
	// heapSmallest is the heap at which Go collects first, at gcPercent.
	heapSmallest = 4 << 20
)

// heapTuner keeps the floor. It looks after each collection, so it costs
// nothing between them.
type heapTuner struct {
	mu      sync.Mutex // guards what follows
	stopped bool
	percent int
}

// tuneHeap keeps the floor until stop is called. It leaves alone what the user
// has set by GOGC; GOMEMLIMIT keeps its effect, as it collects earlier.
func tuneHeap() (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	t := &heapTuner{percent: floorPercent(0)}
	before := debug.SetGCPercent(t.percent)
	t.watch()
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.stopped = true
		debug.SetGCPercent(before)
	}
}

// watch has the next collection call adjust.
func (t *heapTuner) watch() {
	runtime.SetFinalizer(&mark{}, func(*mark) { t.adjust() })
}

// mark is what a collection finds unused. It holds a pointer, because Go puts
// small things without one together, and keeps them together.
type mark struct{ _ *byte }

func (t *heapTuner) adjust() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	// To change it stops the world for a moment: not for a trifle.
	if want := floorPercent(live[0].Value.Uint64()); want > t.percent+t.percent/8 || want < t.percent-t.percent/8 {
		t.percent = want
		debug.SetGCPercent(want)
	}
	t.watch()
}

// floorPercent is the growth, in percent of the live heap, that ends at the
// floor, at least gcPercent, or less for a large heap.
func floorPercent(live uint64) int {
	live = max(live, heapSmallest)
	switch {
	case live >= heapLarge:
		return largePercent
	case live >= heapFloor/2:
		return gcPercent
	}
	return int((heapFloor - live) * 100 / live)
}
