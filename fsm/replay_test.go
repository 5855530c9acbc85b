package fsm_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster/fsm"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// TestReplay: the same log gives the same hashes after every entry, a hundred
// times over.
func TestReplay(t *testing.T) {
	p := randomLog(t, testutil.Rand(t), 150)
	want := hashesAlong(fsm.New(fsm.Hooks{}), p.logs)
	if len(want) == 0 {
		t.Fatal("no log to replay")
	}
	for round := range 100 {
		for i, got := range hashesAlong(fsm.New(fsm.Hooks{}), p.logs) {
			if got != want[i] {
				t.Fatalf("round %d: after entry %d the hashes are %v, were %v", round, p.logs[i].Index, got, want[i])
			}
		}
	}
}

// TestReplayThroughSnapshots: a node that has restored a snapshot taken
// anywhere in the log ends where a node ends that has applied the whole log,
// also when it goes from snapshot to snapshot.
func TestReplayThroughSnapshots(t *testing.T) {
	rnd := testutil.Rand(t)
	p := randomLog(t, rnd, 120)
	want := hashesAlong(fsm.New(fsm.Hooks{}), p.logs)
	for range 20 {
		node := fsm.New(fsm.Hooks{})
		for at := 0; at < len(p.logs); {
			end := min(len(p.logs), at+1+rnd.IntN(40))
			for i, got := range hashesAlong(node, p.logs[at:end]) {
				if got != want[at+i] {
					t.Fatalf("after entry %d the hashes are %v, want %v", p.logs[at+i].Index, got, want[at+i])
				}
			}
			restored := fsm.New(fsm.Hooks{})
			mustRestore(t, restored, mustPersist(t, node))
			if index, term := restored.Store().Position(); index != p.logs[end-1].Index || term != p.logs[end-1].Term {
				t.Fatalf("restored at index %d term %d, want %d and %d", index, term, p.logs[end-1].Index, p.logs[end-1].Term)
			}
			node, at = restored, end
		}
		if err := state.CheckInvariants(node.Store().View()); err != nil {
			t.Fatal(err)
		}
	}
}

// randomLog returns a pair that has applied n random entries.
func randomLog(tb testing.TB, rnd *rand.Rand, n int) *pair {
	tb.Helper()
	p := newPair(rnd.IntN)
	p.gen.road = true
	for range n {
		if err := p.step(p.gen.entry()); err != nil {
			tb.Fatal(err)
		}
	}
	return p
}

func hashesAlong(f *fsm.FSM, logs []*raft.Log) []state.Hashes {
	all := make([]state.Hashes, len(logs))
	for i, l := range logs {
		f.Apply(l)
		all[i], _ = f.Store().Hashes()
	}
	return all
}

func mustPersist(tb testing.TB, f *fsm.FSM) []byte {
	tb.Helper()
	s, err := f.Snapshot()
	if err != nil {
		tb.Fatal(err)
	}
	defer s.Release()
	var sink memorySink
	if err := s.Persist(&sink); err != nil {
		tb.Fatal(err)
	}
	if !sink.closed || sink.cancelled {
		tb.Fatal("the sink of a good snapshot must be closed")
	}
	return sink.Bytes()
}

func mustRestore(tb testing.TB, f *fsm.FSM, snapshot []byte) {
	tb.Helper()
	if err := f.Restore(io.NopCloser(bytes.NewReader(snapshot))); err != nil {
		tb.Fatal(err)
	}
}

// memorySink is a snapshot sink in memory that fails after room bytes, if room
// is above zero.
type memorySink struct {
	bytes.Buffer
	room              int
	closed, cancelled bool
}

func (s *memorySink) Write(b []byte) (int, error) {
	if s.room > 0 && s.Len()+len(b) > s.room {
		return 0, io.ErrShortWrite
	}
	return s.Buffer.Write(b)
}

func (s *memorySink) Close() error  { s.closed = true; return nil }
func (s *memorySink) Cancel() error { s.cancelled = true; return nil }
func (s *memorySink) ID() string    { return "memory" }
