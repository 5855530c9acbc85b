package cluster

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// walEntry is large, so that a test needs few to fill a segment.
func walEntry(index uint64) *raft.Log {
	return &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: bytes.Repeat([]byte{byte(index)}, 256<<10)}
}

func openTestWAL(t *testing.T, raftPath string) (*wal.WAL, *walFiles) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(raftPath, walDir), 0o700); err != nil {
		t.Fatal(err)
	}
	files := newWALFiles(raftPath)
	log, err := openWAL(filepath.Join(raftPath, walDir), files, newRaftLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	files.prepare(walSegmentSize)
	return log, files
}

func closeTestWAL(t *testing.T, log *wal.WAL, files *walFiles) {
	t.Helper()
	if err := errors.Join(log.Close(), files.Close()); err != nil {
		t.Fatal(err)
	}
}

// checkWAL wants the entries 1 to last, and no other.
func checkWAL(t *testing.T, log *wal.WAL, last uint64) {
	t.Helper()
	if got, err := log.LastIndex(); err != nil || got != last {
		t.Fatalf("the log ends at %d, %v, want %d", got, err, last)
	}
	for i := uint64(1); i <= last; i++ {
		var entry raft.Log
		if err := log.GetLog(i, &entry); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if !bytes.Equal(entry.Data, walEntry(i).Data) {
			t.Fatalf("entry %d is another one", i)
		}
	}
}

// A log over segments that were written in advance holds what was stored, also
// for a node that opens the files of one that was killed, spare and all.
func TestLogInSegmentsWrittenInAdvance(t *testing.T) {
	raftPath := t.TempDir()
	log, files := openTestWAL(t, raftPath)
	const entries = 4 * walSegmentSize / (256 << 10)
	for i := uint64(1); i <= entries; i++ {
		if i%20 == 0 { // so that every other segment or so is a spare
			testutil.WaitFor(t, time.Minute, func() bool { return files.ready.Load() == walSegmentSize })
		}
		if err := log.StoreLog(walEntry(i)); err != nil {
			t.Fatal(err)
		}
	}
	testutil.WaitFor(t, time.Minute, func() bool { return files.ready.Load() == walSegmentSize })
	checkWAL(t, log, entries)

	killed := t.TempDir()
	if err := os.CopyFS(killed, os.DirFS(raftPath)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(killed, walSpareFile), []byte("what a crash has left"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, filesAgain := openTestWAL(t, killed)
	checkWAL(t, again, entries)
	testutil.WaitFor(t, time.Minute, func() bool { return filesAgain.ready.Load() == walSegmentSize })
	if b, err := os.ReadFile(filesAgain.spare); err != nil || !bytes.Equal(b, make([]byte, walSegmentSize)) {
		t.Errorf("the spare segment after a crash is not all zeros: %v", err)
	}
	for i := uint64(entries + 1); i <= 2*entries; i++ {
		if err := again.StoreLog(walEntry(i)); err != nil {
			t.Fatal(err)
		}
	}
	checkWAL(t, again, 2*entries)
	closeTestWAL(t, again, filesAgain)
	closeTestWAL(t, log, files)
	if _, err := os.Stat(filepath.Join(raftPath, walSpareFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a closed log leaves its spare segment: %v", err)
	}
}

// A segment never takes the place of a file that is there.
func TestSegmentReplacesNoFile(t *testing.T) {
	dir := t.TempDir()
	files := newWALFiles(dir)
	defer files.Close()
	for range 2 { // without a spare, and with one
		if err := os.WriteFile(filepath.Join(dir, "s"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := files.Create(dir, "s", 1<<20); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Create over a file: %v, want %v", err, fs.ErrExist)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "s")); err != nil || string(b) != "x" {
			t.Errorf("the file holds %d bytes, %v", len(b), err)
		}
		testutil.WaitFor(t, time.Minute, func() bool { return files.ready.Load() == 1<<20 })
	}
}

// What cannot be written in advance is an error at the start, and leaves nothing.
func TestSegmentThatCannotBeWritten(t *testing.T) {
	files := newWALFiles(t.TempDir())
	defer files.Close()
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := files.Create(missing, "s", 1<<20); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Create in a directory that is not there: %v", err)
	}
}

// To cut a long log back does not wait for its segments to be deleted, and they
// are deleted, by the next that opens the log if need be.
func TestSegmentsAreDeletedInTheBackground(t *testing.T) {
	raftPath := t.TempDir()
	log, files := openTestWAL(t, raftPath)
	segments := func() int {
		names, err := filepath.Glob(filepath.Join(raftPath, walDir, "*.wal"))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	const entries = 4 * walSegmentSize / (256 << 10)
	for i := uint64(1); i <= entries; i++ {
		if err := log.StoreLog(walEntry(i)); err != nil {
			t.Fatal(err)
		}
	}
	before := segments()
	files.cancel() // as if it was killed before anything is deleted
	if err := log.DeleteRange(1, entries-1); err != nil {
		t.Fatal(err)
	}
	if n := segments(); n < before {
		t.Errorf("%d of %d segments were left by DeleteRange, want all", n, before)
	}
	closeTestWAL(t, log, files)

	log, files = openTestWAL(t, raftPath)
	testutil.WaitFor(t, time.Minute, func() bool { return segments() <= 2 }) // that of the last entry, and the next
	if first, err := log.FirstIndex(); err != nil || first != entries {
		t.Errorf("the log begins at %d, %v, want %d", first, err, entries)
	}
	closeTestWAL(t, log, files)
}
