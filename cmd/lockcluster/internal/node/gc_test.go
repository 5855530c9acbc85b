package node

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// The heap may always grow to the floor, above half of it Go's own rule
// applies, and a large one may grow by less.
func TestFloorPercent(t *testing.T) {
	for _, live := range []uint64{0, 1 << 20, heapSmallest, 10 << 20, 17 << 20, heapFloor/2 - 1, heapFloor / 2, heapLarge - 1} {
		percent := floorPercent(live)
		goal := max(live, heapSmallest) * uint64(100+percent) / 100
		if percent < gcPercent || goal > max(heapFloor, 2*live) || goal < max(heapFloor-heapFloor/50, 2*live) {
			t.Errorf("%d bytes in use: %d percent, collected at %d", live, percent, goal)
		}
	}
	for _, live := range []uint64{heapLarge, 1 << 30, 1 << 40} {
		if p := floorPercent(live); p != largePercent {
			t.Errorf("%d bytes in use: %d percent, want %d", live, p, largePercent)
		}
	}
}

// Collections adjust the percentage to the heap in use, and stop brings back
// what was set before.
func TestTunedHeapFollowsItsSize(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	stop := tuneHeap()
	current := func() int {
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(s)
		return int(s[0].Value.Uint64())
	}
	if p := current(); p != floorPercent(0) {
		t.Errorf("an empty node begins with %d percent, want %d", p, floorPercent(0))
	}
	ballast := make([]byte, heapFloor)
	testutil.WaitFor(t, 20*time.Second, func() bool {
		runtime.GC()
		return current() == gcPercent
	})
	runtime.KeepAlive(ballast)
	testutil.WaitFor(t, 20*time.Second, func() bool {
		runtime.GC()
		return current() > gcPercent
	})
	stop()
	runtime.GC()
	if p := current(); p != 77 {
		t.Errorf("stop leaves %d percent, want 77", p)
	}
}

// GOGC is the user's: nothing is changed then.
func TestGOGCIsLeftAlone(t *testing.T) {
	t.Setenv("GOGC", "50")
	before := debug.SetGCPercent(50)
	defer debug.SetGCPercent(before)
	defer tuneHeap()()
	if p := debug.SetGCPercent(50); p != 50 {
		t.Errorf("%d percent, though GOGC says 50", p)
	}
}
