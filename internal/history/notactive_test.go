package history_test

import (
	"testing"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/internal/history"
)

// TestNotActiveDecidesNothing: a call that was answered that another system
// decides has changed nothing, and another try under its id counts instead of
// it; a second grant beside it is still found.
func TestNotActiveDecidesNothing(t *testing.T) {
	id := lockcluster.RequestID{ClientID: "a", Sequence: 1}
	build := func(second bool) []history.Op {
		h := &hand{}
		h.acquire("a", 1, 10, 1, lockcluster.StatusNotActive, 5, nil)
		h.acquire("a", 11, 20, 1, lockcluster.StatusGranted, 7, handLock(1, 1, 7))
		h.ops[0].ID, h.ops[1].ID = id, id
		h.acquire("b", 21, 30, 2, lockcluster.StatusNotActive, 8, nil)
		h.release("b", 31, 40, lockcluster.StatusNotActive, 9, nil)
		h.get("c", 41, 50, 9, handLock(1, 1, 7))
		if second {
			h.acquire("d", 51, 60, 4, lockcluster.StatusGranted, 12, handLock(4, 2, 12))
		}
		return h.ops
	}
	for _, second := range []bool{false, true} {
		ops := build(second)
		report, err := history.Check(ops, history.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if found := report.Err() != nil; found != second {
			t.Errorf("second grant %v: %v", second, report.Err())
		}
		registers := history.CheckRegisters(history.Registers(ops), perKey)
		if found := registers.Err() != nil; found != second {
			t.Errorf("second grant %v, as registers: %v", second, registers.Err())
		}
	}
}
