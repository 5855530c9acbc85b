package fsm_test

import (
	"bytes"
	"testing"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// A small request may have a large answer. It is remembered without the values,
// because a snapshot with a record of any size could not be read: no node would
// start any more.
func TestLargeAnswersFitIntoSnapshots(t *testing.T) {
	mem := state.NewMem()
	do := func(seq uint64, req lockcluster.Request) (res lockcluster.Result) {
		c := command.Command{Request: req, Digest: 7}
		if seq > 0 {
			c.ID = lockcluster.RequestID{ClientID: "c", Sequence: seq}
		}
		index, _ := mem.Position()
		mem.Update(index+1, 1, func(tx state.Tx) {
			a := state.Begin(tx, state.Env{Index: index + 1, Term: 1})
			res = a.Do(c)
			a.End()
		})
		return res
	}
	const ns = lockcluster.DefaultNamespace
	txn := lockcluster.Txn{Namespace: ns}
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		do(0, lockcluster.PutDocument{Namespace: ns, Key: key, Value: bytes.Repeat([]byte("x"), lockcluster.ValueSizeMax)})
		txn.Requests = append(txn.Requests, lockcluster.DeleteDocument{Namespace: ns, Key: key})
	}
	one := lockcluster.DeleteDocument{Namespace: ns, Key: "f"}
	do(0, lockcluster.PutDocument{Namespace: ns, Key: "f", Value: bytes.Repeat([]byte("y"), lockcluster.ValueSizeMax)})

	first := do(1, txn)
	if first.Status != lockcluster.StatusApplied || len(first.Results[0].Document.Value) != lockcluster.ValueSizeMax {
		t.Fatalf("the transaction: %s", first.Status)
	}
	do(2, one)
	pin := lockcluster.Pin{Namespace: ns, Digest: 7, Found: lockcluster.Result{Results: first.Results}}
	if res := do(3, pin); res.Status != lockcluster.StatusPinned {
		t.Fatalf("the pin: %s", res.Status)
	}
	for _, req := range []lockcluster.Request{txn, pin} {
		seq := uint64(1)
		if _, ok := req.(lockcluster.Pin); ok {
			seq = 3
		}
		again := do(seq, req)
		if len(again.Results) != len(txn.Requests) {
			t.Fatalf("%T again: %s with %d results", req, again.Status, len(again.Results))
		}
		for i, r := range again.Results {
			want := first.Results[i]
			if r.Status != want.Status || r.Document == nil || r.Document.Revision != want.Document.Revision || len(r.Document.Value) > 0 {
				t.Errorf("%T again: result %d is %s %+v", req, i, r.Status, r.Document)
			}
		}
	}
	if res := do(2, one); res.Status != lockcluster.StatusDeleted || len(res.Document.Value) != lockcluster.ValueSizeMax {
		t.Errorf("an answer with one value was not kept whole: %s", res.Status)
	}
	var b bytes.Buffer
	if err := fsm.WriteSnapshot(&b, mem.View()); err != nil {
		t.Fatal(err)
	}
	if _, err := fsm.ReadSnapshot(&b); err != nil {
		t.Errorf("the snapshot cannot be read: %v", err)
	}
}
