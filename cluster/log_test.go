package cluster

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster/fsm/command"
)

func logOf(t *testing.T, term, from, to uint64) *raft.InmemStore {
	t.Helper()
	s := raft.NewInmemStore()
	for i := from; i <= to && to > 0; i++ {
		if err := s.StoreLog(&raft.Log{Index: i, Term: term, Type: raft.LogNoop}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// gapLog is a log as raft-boltdb leaves it after a snapshot was installed.
type gapLog struct{ *raft.InmemStore }

func (g gapLog) GetLog(index uint64, l *raft.Log) error {
	if index >= 8 && index <= 12 {
		return raft.ErrLogNotFound
	}
	return g.InmemStore.GetLog(index, l)
}

// How a log stands to a snapshot at index 10 of term 3.
func TestJudgeLog(t *testing.T) {
	cases := []struct {
		name string
		log  raft.LogStore
		want logVerdict
	}{
		{"empty", logOf(t, 3, 1, 0), logEmpty},
		{"ends before", logOf(t, 3, 1, 9), logBehind},
		{"ends there", logOf(t, 3, 1, 10), logAgrees},
		{"goes on", logOf(t, 3, 5, 20), logAgreesBeyond},
		{"other term", logOf(t, 2, 1, 20), logConflicts},
		{"begins after", logOf(t, 3, 11, 20), logAbove},
		{"begins too late", logOf(t, 3, 12, 20), logTooFarAbove},
		{"gap", gapLog{logOf(t, 3, 1, 20)}, logGap},
	}
	for _, tc := range cases {
		got, err := judgeLog(tc.log, 10, 3)
		if err != nil || got != tc.want {
			t.Errorf("%s: verdict %d, %v; want %d", tc.name, got, err, tc.want)
		}
	}
}

func newTestGuard(halt func(error)) *guard {
	g := &guard{halter: newHalter(halt), stall: 5 * time.Second}
	g.writesArmed.Store(true)
	g.readsArmed.Store(true)
	return g
}

// Starting repairs a log that does not fit the newest snapshot, as often as it
// is started, and leaves one alone that fits.
func TestRepairLogAtStart(t *testing.T) {
	for name, tc := range map[string]struct {
		log         *raft.InmemStore
		first, last uint64
	}{
		"fits":      {logOf(t, 3, 5, 20), 5, 20},
		"behind":    {logOf(t, 3, 1, 9), 0, 0},
		"conflicts": {logOf(t, 2, 1, 20), 0, 0},
	} {
		g := newTestGuard(func(err error) { t.Errorf("%s: %v", name, err) })
		store := &guardedSnapshots{SnapshotStore: raft.NewInmemSnapshotStore(), guard: g, log: newGuardedLog(tc.log, g)}
		_, trans := raft.NewInmemTransport("n1:1")
		sink, err := store.Create(1, 10, 3, raft.Configuration{}, 1, trans)
		if err != nil {
			t.Fatal(err)
		}
		sink.(*guardedSink).own()
		if err := sink.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := store.repairLog(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			first, _ := tc.log.FirstIndex()
			last, _ := tc.log.LastIndex()
			if first != tc.first || last != tc.last && tc.last != 0 {
				t.Errorf("%s: log holds %d to %d, want %d to %d", name, first, last, tc.first, tc.last)
			}
		}
	}
}

// onRaft runs f on a goroutine that a halt may end, and reports whether it did.
func onRaft(h *halter, f func()) (ended bool) {
	done := make(chan bool, 1)
	go func() {
		finished := false
		defer func() { done <- !finished }()
		f()
		finished = true
	}()
	select {
	case <-h.haltedC:
		close(h.releaseC)
	case ended := <-done:
		return ended
	}
	return <-done
}

// A store that fails stops the node, and what was told to it never returns.
func TestFailedWriteHalts(t *testing.T) {
	var halted error
	g := newTestGuard(func(err error) { halted = err })
	log := newGuardedLog(failingLog{logOf(t, 1, 1, 3)}, g)
	if !onRaft(g.halter, func() { _ = log.StoreLog(&raft.Log{Index: 4}) }) {
		t.Error("the write returned")
	}
	if !errors.Is(halted, ErrStorage) || ExitCode(halted) != ExitCodeStorage {
		t.Errorf("halted with %v", halted)
	}
}

type failingLog struct{ *raft.InmemStore }

func (failingLog) StoreLogs([]*raft.Log) error { return errors.New("input/output error") }

// A snapshot that raft installs again and again stops the node (C14).
func TestRepeatedInstallHalts(t *testing.T) {
	var halted error
	g := newTestGuard(func(err error) { halted = err })
	store := &guardedSnapshots{SnapshotStore: raft.NewInmemSnapshotStore(), guard: g, log: newGuardedLog(logOf(t, 3, 11, 12), g)}
	for range installsMax - 1 {
		if err := store.installed(10, 3); err != nil {
			t.Fatal(err)
		}
	}
	if !onRaft(g.halter, func() { _ = store.installed(10, 3) }) || !errors.Is(halted, ErrStuck) {
		t.Errorf("halted with %v", halted)
	}
}

// A monotonic store says so to raft through both wrappers (C13).
func TestMonotonicIsForwarded(t *testing.T) {
	dir := t.TempDir()
	for store, want := range map[string]bool{LogStoreWAL: true, LogStoreBoltDB: false} {
		cfg := testConfig(dir + "/" + store)
		cfg.LogStore = store
		n, err := openTestNode(cfg)
		if err != nil {
			t.Fatal(err)
		}
		m, ok := n.logs.(raft.MonotonicLogStore)
		if got := ok && m.IsMonotonic(); got != want {
			t.Errorf("%s: monotonic %v, want %v", store, got, want)
		}
		if err := n.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// The watchdog sees a log that is committed but not applied, and nothing else.
func TestProgress(t *testing.T) {
	var p progress
	for range 100 {
		if n := p.stands(true, 10, 10); n != 0 {
			t.Fatalf("idle counts as %d", n)
		}
	}
	p.stands(false, 10, 11)
	n := 0
	for range 60 {
		n = p.stands(false, 10, 12)
	}
	if n < 60 {
		t.Errorf("a minute without progress counts as %d", n)
	}
	if n := p.stands(false, 11, 12); n != 0 {
		t.Errorf("progress counts as %d", n)
	}
	var e progress // one entry
	for range 40 {
		n = e.stands(false, 7, 0)
	}
	if n != 39 {
		t.Errorf("an entry that hangs counts as %d", n)
	}
	if n := e.stands(false, 8, 0); n != 0 {
		t.Errorf("the next entry counts as %d", n)
	}
}

// A log entry that the disk has changed stops the node that reads it; it is
// not handed on to the others.
func TestDamagedEntryHalts(t *testing.T) {
	data, err := command.EncodeEntry(time.Unix(1, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	store := raft.NewInmemStore()
	var halted error
	g := newTestGuard(func(err error) { halted = err })
	log := newGuardedLog(store, g)
	if err := log.StoreLogs([]*raft.Log{{Index: 1, Term: 1, Data: data}, {Index: 2, Term: 1, Data: append(data[:len(data)-1:len(data)-1], 'x')}}); err != nil {
		t.Fatal(err)
	}
	var entry raft.Log
	if err := log.GetLog(1, &entry); err != nil {
		t.Fatalf("a good entry: %v", err)
	}
	if !onRaft(g.halter, func() { _ = log.GetLog(2, &entry) }) || !errors.Is(halted, command.ErrCorrupt) {
		t.Errorf("a damaged entry was read, halted with %v", halted)
	}
}
