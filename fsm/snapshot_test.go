package fsm_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/internal/history"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// update rewrites the golden files. A change of their bytes makes snapshots of
// released versions unreadable.
var update = flag.Bool("update", false, "rewrite the golden files")

// TestGoldenSnapshot: a snapshot has the bytes it always had, and one that was
// written then is read now.
func TestGoldenSnapshot(t *testing.T) {
	got := mustPersist(t, smallState(t))
	path := filepath.Join("testdata", "golden", "snapshot.hex")
	if *update {
		var text strings.Builder
		for line := range slices.Chunk(got, 32) {
			text.WriteString(hex.EncodeToString(line) + "\n")
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := goldenSnapshot(t)
	if !bytes.Equal(got, want) {
		t.Fatalf("the snapshot's form has changed; those of earlier versions would not be read.\n got %x\nwant %x", got, want)
	}
	info, err := fsm.InspectSnapshot(bytes.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	if info.Index != 9 || info.Term != 2 || info.Stats.Locks != 2 || info.Stats.CommandLocks != 1 || info.Stats.Documents != 1 ||
		info.Stats.Answers != 1 || info.Stats.Clients != 1 {
		t.Errorf("snapshot says %+v", info)
	}
}

func goldenSnapshot(tb testing.TB) []byte {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "golden", "snapshot.hex"))
	if err != nil {
		tb.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// smallState has a record of every kind.
func smallState(tb testing.TB) *fsm.FSM {
	tb.Helper()
	f := fsm.New(fsm.Hooks{})
	key := lockcluster.Key{Namespace: "default", Repo: "org/app", Path: ".", Workspace: "default"}
	leased := key
	leased.Project = "p"
	client := lockcluster.RequestID{ClientID: "c", Sequence: 40, AckedBelow: 40}
	at := history.Position{Index: 9, Term: 2, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	mustApply(tb, f, at,
		command.Command{Request: lockcluster.Acquire{Key: key, Owner: lockcluster.Owner{Host: "github.com", Repo: "org/app", Pull: 1}, Value: []byte("v")}},
		command.Command{ID: client, Request: lockcluster.Acquire{Key: leased, Owner: lockcluster.Owner{ID: "x"}, TTL: time.Minute}},
		command.Command{Request: lockcluster.LockCommand{Namespace: "default", Name: "apply", Value: []byte("c")}},
		command.Command{Request: lockcluster.PutDocument{Namespace: "db1", Key: "k", Value: []byte("d"), TTL: time.Hour}},
		command.Command{Request: lockcluster.RegisterNode{NodeID: "n1", RaftAddr: "a:1", Version: "v1"}},
	)
	return f
}

func mustApply(tb testing.TB, f *fsm.FSM, at history.Position, commands ...command.Command) fsm.Applied {
	tb.Helper()
	l, err := entryLog(at, commands)
	if err != nil {
		tb.Fatal(err)
	}
	return f.Apply(l).(fsm.Applied)
}

// TestRestoreRefusesDamage: no snapshot with a flipped byte, cut short or with
// more behind it is restored, and after each attempt the state that was there
// stands as before.
func TestRestoreRefusesDamage(t *testing.T) {
	snapshot := mustPersist(t, smallState(t))
	node := randomLog(t, testutil.Rand(t), 20).fsm
	view := node.Store().View()
	refuse := func(bad []byte, what string, at int) {
		t.Helper()
		if err := node.Restore(io.NopCloser(bytes.NewReader(bad))); !errors.Is(err, fsm.ErrCorruptSnapshot) {
			t.Fatalf("%s %d: %v", what, at, err)
		}
		if hashes, index := node.Store().Hashes(); hashes != view.Hashes() || index != view.Index() {
			t.Fatalf("%s %d: the old state has changed", what, at)
		}
	}
	for i := range snapshot {
		for _, mask := range []byte{0x01, 0x80, 0xff} {
			bad := bytes.Clone(snapshot)
			bad[i] ^= mask
			refuse(bad, "flipped byte", i)
		}
		refuse(snapshot[:i], "cut at", i)
	}
	refuse(append(bytes.Clone(snapshot), 0), "appended byte", len(snapshot))
	refuse(append(bytes.Clone(snapshot), snapshot...), "two snapshots in one", len(snapshot))
	if err := state.CheckInvariants(node.Store().View()); err != nil {
		t.Error(err)
	}
	mustRestore(t, node, snapshot)
}

// TestRestoreReportsSourceErrors: a source that fails, be it while it is read
// or closed, leaves the old state.
func TestRestoreReportsSourceErrors(t *testing.T) {
	node := smallState(t)
	before, _ := node.Store().Hashes()
	snapshot := mustPersist(t, randomLog(t, testutil.Rand(t), 20).fsm)
	source := io.MultiReader(bytes.NewReader(snapshot[:len(snapshot)/2]), failingReader{})
	if err := node.Restore(io.NopCloser(source)); err == nil {
		t.Fatal("a source that fails was restored")
	}
	if err := node.Restore(failingCloser{bytes.NewReader(snapshot)}); !errors.Is(err, io.ErrClosedPipe) {
		t.Fatalf("a source that cannot be closed: %v", err)
	}
	if after, _ := node.Store().Hashes(); after != before {
		t.Error("the old state has changed")
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

type failingCloser struct{ io.Reader }

func (failingCloser) Close() error { return io.ErrClosedPipe }

// TestPersistCancelsOnError: a snapshot that cannot be written whole is
// cancelled, never closed as if it were good.
func TestPersistCancelsOnError(t *testing.T) {
	f := smallState(t)
	size := len(mustPersist(t, f))
	s, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	sink := memorySink{room: size - 1}
	if err := s.Persist(&sink); err == nil || sink.closed || !sink.cancelled {
		t.Errorf("err %v, closed %t, cancelled %t", err, sink.closed, sink.cancelled)
	}
}

// TestSnapshotIsOfItsMoment: what is applied after Snapshot and before or while
// Persist runs is not in it.
func TestSnapshotIsOfItsMoment(t *testing.T) {
	p := randomLog(t, testutil.Rand(t), 60)
	want, _ := p.fsm.Store().Hashes()
	index, _ := p.fsm.Store().Position()
	s, err := p.fsm.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	var sink memorySink
	go func() { done <- s.Persist(&sink) }()
	for range 100 {
		if err := p.step(p.gen.entry()); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	mem, err := fsm.ReadSnapshot(&sink.Buffer)
	if err != nil {
		t.Fatal(err)
	}
	if got, at := mem.Hashes(); got != want || at != index {
		t.Errorf("snapshot is of %d %v, want %d %v", at, got, index, want)
	}
}

// FuzzReadSnapshot: whatever the bytes, reading ends in a store or an error; a
// store that was read is written as the bytes it was read from, and no byte of
// them may be flipped.
func FuzzReadSnapshot(f *testing.F) {
	f.Add(goldenSnapshot(f), uint32(77))
	f.Add(mustPersist(f, fsm.New(fsm.Hooks{})), uint32(8))
	f.Fuzz(func(t *testing.T, b []byte, flip uint32) {
		mem, err := fsm.ReadSnapshot(bytes.NewReader(b))
		if err != nil {
			if !errors.Is(err, fsm.ErrCorruptSnapshot) {
				t.Fatalf("not ErrCorruptSnapshot: %v", err)
			}
			return
		}
		var again bytes.Buffer
		if err := fsm.WriteSnapshot(&again, mem.View()); err != nil {
			t.Fatal(err)
		}
		second, err := fsm.ReadSnapshot(bytes.NewReader(again.Bytes()))
		if err != nil || second.View().Hashes() != mem.View().Hashes() {
			t.Fatalf("written and read again it differs: %v", err)
		}
		_ = state.CheckInvariants(mem.View()) // must not panic
		bad := bytes.Clone(b)
		bad[int(flip>>8)%len(bad)] ^= byte(flip) | 1
		if _, err := fsm.ReadSnapshot(bytes.NewReader(bad)); err == nil {
			t.Fatal("a flipped byte was accepted")
		}
	})
}
