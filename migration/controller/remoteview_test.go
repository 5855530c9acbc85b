package controller

import (
	"fmt"
	"testing"

	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// What a node makes of the changes between two pictures is the second picture,
// whatever was put, replaced and removed; cut off anywhere they are refused.
func TestViewChanges(t *testing.T) {
	rnd := testutil.Rand(t)
	mem, copied := state.NewMem(), state.NewMem()
	before := mem.View()
	for round := range 30 {
		mem.Update(uint64(round+1), 1, func(tx state.Tx) { //nolint:gosec // small
			for range rnd.IntN(20) {
				key := fmt.Sprintf("ldefault\x00o/r/%d/w/", rnd.IntN(40))
				if rnd.IntN(3) == 0 {
					tx.Delete(key)
				} else {
					tx.Put(key, []byte(fmt.Sprint(rnd.IntN(5))))
				}
			}
		})
		after := mem.View()
		changes := appendChanges(nil, before, after)
		if err := applyChanges(copied, changes); err != nil {
			t.Fatal(err)
		}
		if got := copied.View(); got.Hashes() != after.Hashes() || got.Index() != after.Index() || got.Len() != after.Len() {
			t.Fatalf("round %d: %d records at %d, want %d at %d", round, got.Len(), got.Index(), after.Len(), after.Index())
		}
		before = after
	}
	mem.Update(99, 1, func(tx state.Tx) { tx.Put("ldefault\x00x/y/./w/", []byte("value")) })
	changes := appendChanges(nil, before, mem.View())
	for n := range len(changes) {
		if n == 16 {
			continue // nothing has changed
		}
		if applyChanges(state.NewMem(), changes[:n]) == nil {
			t.Errorf("%d of %d bytes were taken", n, len(changes))
		}
	}
}
