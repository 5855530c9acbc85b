package state

import (
	"testing"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
)

// TestPinStandsForItsRequest: the first pin under an id is what comes later is
// told, the request itself included; after an answer no pin counts.
func TestPinStandsForItsRequest(t *testing.T) {
	mem, index := NewMem(), uint64(0)
	put := lockcluster.PutDocument{Namespace: "default", Key: "k", Value: []byte("v")}
	do := func(seq uint64, req lockcluster.Request) (res lockcluster.Result) {
		index++
		mem.Update(index, 1, func(tx Tx) {
			a := Begin(tx, Env{Index: index, Term: 1})
			res = a.Do(command.Command{ID: lockcluster.RequestID{ClientID: "c", Sequence: seq}, Request: req, Digest: 7})
			a.End()
		})
		return res
	}
	pin := func(text string) lockcluster.Pin {
		return lockcluster.Pin{Namespace: "default", Digest: 7, Found: lockcluster.Result{Text: text}}
	}
	for _, req := range []lockcluster.Request{pin("first"), pin("second"), put} {
		if res := do(1, req); res.Status != lockcluster.StatusPinned || res.Text != "first" || res.Index != 1 {
			t.Errorf("%T: %s %q at %d", req, res.Status, res.Text, res.Index)
		}
	}
	if GetDocument(mem.View(), "default", "k") != nil {
		t.Error("what was pinned was decided")
	}
	for _, req := range []lockcluster.Request{put, pin("late")} {
		if res := do(2, req); res.Status != lockcluster.StatusStored {
			t.Errorf("%T: %s", req, res.Status)
		}
	}
	id := lockcluster.RequestID{ClientID: "c", Sequence: 2}
	if res, err := Remembered(mem.View(), id, 7); err != nil || res == nil || res.Status != lockcluster.StatusStored {
		t.Errorf("remembered %+v, %v", res, err)
	}
	if _, err := Remembered(mem.View(), id, 8); err == nil {
		t.Error("another request has that answer")
	}
	id.Sequence++
	if res, err := Remembered(mem.View(), id, 7); res != nil || err != nil {
		t.Errorf("remembered %+v, %v of a request that never came", res, err)
	}
}
