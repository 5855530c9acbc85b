package history_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"

	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/internal/history"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// raftLogs are the entries of a sim as a node stores them, with an entry of
// raft's own in front and in each gap.
func raftLogs(t *testing.T, log history.Log) []*raft.Log {
	t.Helper()
	var all []*raft.Log
	for _, e := range log {
		for uint64(len(all))+1 < e.Index {
			all = append(all, &raft.Log{Index: uint64(len(all)) + 1, Term: 1, Type: raft.LogNoop})
		}
		var commands [][]byte
		for _, c := range e.Commands {
			b, err := command.EncodeCommand(c.ID, c.Request)
			if err != nil {
				t.Fatal(err)
			}
			commands = append(commands, b)
		}
		data, err := command.EncodeEntry(e.Time, commands)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &raft.Log{Index: e.Index, Term: 1, Type: raft.LogCommand, Data: data})
	}
	return all
}

// nodeDir writes a node's data directory with that log.
func nodeDir(t *testing.T, bolt bool, logs []*raft.Log) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "raft")
	if err := os.MkdirAll(filepath.Join(path, "wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	var store interface {
		raft.LogStore
		Close() error
	}
	var err error
	if bolt {
		store, err = raftboltdb.NewBoltStore(filepath.Join(path, "log.db"))
	} else {
		store, err = wal.Open(filepath.Join(path, "wal"), wal.WithLogger(hclog.NewNullLogger()))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := store.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestDump: the log of stopped nodes, of both log stores, reads back as it was
// applied, up to what a majority has, and judges the history.
func TestDump(t *testing.T) {
	s := newSim(testutil.Rand(t), true, 20)
	s.run(t, 400)
	logs := raftLogs(t, s.log)
	last := logs[len(logs)-1].Index
	tail := func(term uint64) []*raft.Log { // what a deposed leader alone has
		return append(logs[:len(logs):len(logs)], &raft.Log{Index: last + 1, Term: term, Type: raft.LogCommand, Data: []byte("never committed")})
	}
	dirs := []string{nodeDir(t, true, tail(7)), nodeDir(t, false, logs), nodeDir(t, false, logs[:len(logs)/2])}
	log, err := history.Dump(dirs...)
	if err != nil {
		t.Fatal(err)
	}
	if len(log) != len(s.log) {
		t.Fatalf("%d entries, want %d", len(log), len(s.log))
	}
	for i, e := range log {
		if e.Index != s.log[i].Index || e.Term != 1 || !e.Time.Equal(s.log[i].Time) || len(e.Commands) != len(s.log[i].Commands) {
			t.Fatalf("entry %d: %+v, want %+v", i, e.Position, s.log[i].Position)
		}
	}
	report := mustCheck(t, s.history(), history.Options{Log: log, Validate: state.Validate})
	if err := report.Err(); err != nil || report.Unknown == 0 || report.Happened == 0 {
		t.Errorf("%s\n%v", report, err)
	}
	if _, err := history.Dump(nodeDir(t, false, logs[10:])); !errors.Is(err, history.ErrCompacted) {
		t.Errorf("a compacted log: %v", err)
	}
	if _, err := history.Dump(t.TempDir()); err == nil {
		t.Error("an empty directory was dumped")
	}
	if log, err := history.Dump(nodeDir(t, true, nil)); err != nil || len(log) != 0 {
		t.Errorf("a node that has stored nothing: %d entries, %v", len(log), err)
	}
}

// TestDumpLeavesTheDirectoryAlone: dumping changes no file of the node.
func TestDumpLeavesTheDirectoryAlone(t *testing.T) {
	s := newSim(testutil.Rand(t), true, 0)
	s.run(t, 50)
	dir := nodeDir(t, false, raftLogs(t, s.log))
	before := filesOf(t, dir)
	if _, err := history.Dump(dir); err != nil {
		t.Fatal(err)
	}
	after := filesOf(t, dir)
	if len(before) == 0 || len(before) != len(after) {
		t.Fatalf("%d files, were %d", len(after), len(before))
	}
	for path, at := range before {
		if !after[path].Equal(at) {
			t.Errorf("%s was written", path)
		}
	}
}

func filesOf(t *testing.T, dir string) map[string]time.Time {
	t.Helper()
	files := map[string]time.Time{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		files[path] = info.ModTime()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
