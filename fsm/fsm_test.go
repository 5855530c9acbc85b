package fsm_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/internal/history"
)

// TestApplyHalts: an entry that cannot be trusted, an index that does not rise
// and a term that falls stop the node, and nothing of it is applied.
func TestApplyHalts(t *testing.T) {
	good := func(index, term uint64) *raft.Log {
		l, err := entryLog(history.Position{Index: index, Term: term, Time: time.UnixMilli(1)},
			[]command.Command{{Request: lockcluster.BumpEpoch{Reason: "test"}}})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	edit := func(l *raft.Log, f func(b []byte)) *raft.Log { f(l.Data); return l }
	cases := map[string]*raft.Log{
		"same index":          good(9, 2),
		"index runs back":     good(8, 2),
		"term falls":          good(10, 1),
		"flipped byte":        edit(good(10, 2), func(b []byte) { b[len(b)-1] ^= 1 }),
		"newer envelope":      edit(good(10, 2), func(b []byte) { b[1] = 2 }),
		"not an envelope":     {Index: 10, Term: 2, Data: []byte("hello, world")},
		"empty entry":         {Index: 10, Term: 2},
		"unknown command":     {Index: 10, Term: 2, Data: mustEntry(t, []byte{0xfa, 0x07, 0x00})},
		"command of no type":  {Index: 10, Term: 2, Data: mustEntry(t, nil)},
		"good then corrupted": {Index: 10, Term: 2, Data: mustEntry(t, mustCommand(t, lockcluster.BumpEpoch{}), []byte{0xff})},
	}
	for name, l := range cases {
		f := smallState(t)
		before, index := f.Store().Hashes()
		message := panicOf(func() { f.Apply(l) })
		if message == "" {
			t.Errorf("%s: applied", name)
		}
		if after, at := f.Store().Hashes(); after != before || at != index {
			t.Errorf("%s: the state has changed", name)
		}
	}
	f := smallState(t)
	if message := panicOf(func() { f.Apply(good(10, 2)) }); message != "" {
		t.Errorf("a good entry: %s", message)
	}
}

func mustCommand(t *testing.T, req lockcluster.Request) []byte {
	t.Helper()
	b, err := command.EncodeCommand(lockcluster.RequestID{}, req)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustEntry(t *testing.T, commands ...[]byte) []byte {
	t.Helper()
	b, err := command.EncodeEntry(time.UnixMilli(1), commands)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func panicOf(f func()) (message string) {
	defer func() {
		if p := recover(); p != nil {
			message = strings.TrimSpace(p.(string)) + "."
		}
	}()
	f()
	return ""
}

// TestWait: a reader that waits for an index goes on when the state is there,
// by an entry or by a snapshot, and not before; a cancelled one leaves nothing.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := smallState(t) // at index 9
		if err := f.Wait(t.Context(), 9); err != nil {
			t.Fatal(err)
		}
		woken := make(chan uint64, 3)
		for _, index := range []uint64{10, 11, 1000} {
			go func() {
				if err := f.Wait(t.Context(), index); err == nil {
					woken <- index
				}
			}()
		}
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() { gone <- f.Wait(ctx, 10) }()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		for _, at := range []uint64{10, 20} {
			mustApply(t, f, history.Position{Index: at, Term: 2, Time: time.UnixMilli(1)}, command.Command{Request: lockcluster.Checkpoint{}})
			synctest.Wait()
			if len(woken) != 1 {
				t.Fatalf("at index %d %d waiters went on, want 1", at, len(woken))
			}
			if index := <-woken; index > at {
				t.Errorf("waiter for %d went on at %d", index, at)
			}
		}
		ahead := fsm.New(fsm.Hooks{})
		mustApply(t, ahead, history.Position{Index: 1000, Term: 3, Time: time.UnixMilli(1)}, command.Command{Request: lockcluster.Checkpoint{}})
		mustRestore(t, f, mustPersist(t, ahead))
		if index := <-woken; index != 1000 {
			t.Errorf("waiter for %d went on with the snapshot", index)
		}
	})
}

// TestHooks: the node hears of checkpoints with the hashes after the entry, of
// nodes that register and of restores.
func TestHooks(t *testing.T) {
	var checkpoints []state.Hashes
	var nodes []string
	restored := 0
	f := fsm.New(fsm.Hooks{
		Checkpoint: func(index uint64, h state.Hashes) {
			if index != 5 {
				t.Errorf("checkpoint at %d", index)
			}
			checkpoints = append(checkpoints, h)
		},
		Node:     func(n lockcluster.RegisterNode) { nodes = append(nodes, n.NodeID) },
		Restored: func() { restored++ },
	})
	mustApply(t, f, history.Position{Index: 5, Term: 1, Time: time.UnixMilli(1)},
		command.Command{Request: lockcluster.Checkpoint{}},
		command.Command{Request: lockcluster.RegisterNode{NodeID: "n7"}})
	hashes, _ := f.Store().Hashes()
	if len(checkpoints) != 1 || checkpoints[0] != hashes || len(nodes) != 1 || nodes[0] != "n7" {
		t.Errorf("checkpoints %v, nodes %v", checkpoints, nodes)
	}
	mustRestore(t, f, mustPersist(t, smallState(t)))
	if restored != 1 {
		t.Errorf("restored %d times", restored)
	}
}
