package cluster

import (
	"bytes"
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
)

func openSnapshotFiles(t *testing.T, dir string) *fileSnapshots {
	t.Helper()
	s, err := openFileSnapshots(dir, Config{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newSink(t *testing.T, s *fileSnapshots, index uint64) raft.SnapshotSink {
	t.Helper()
	_, trans := raft.NewInmemTransport("")
	sink, err := s.Create(raft.SnapshotVersionMax, index, 1, raft.Configuration{}, 0, trans)
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

func snapshotNames(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, snapDir))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A snapshot is read as it was written, across the places where it is synced,
// and the newest ones are kept, the others gone.
func TestSnapshotFilesKeepTheNewest(t *testing.T) {
	dir := t.TempDir()
	s := openSnapshotFiles(t, dir)
	content := map[uint64][]byte{}
	for index := uint64(1); index <= snapshotsKept+2; index++ {
		data := make([]byte, 2*syncEvery+int(index)*12345)
		_, _ = rand.Read(data)
		content[index] = data
		sink := newSink(t, s, index)
		for from := 0; from < len(data); from += 3 << 20 {
			part := data[from:min(from+3<<20, len(data))]
			if n, err := sink.Write(part); n != len(part) || err != nil {
				t.Fatalf("write: %d of %d, %v", n, len(part), err)
			}
		}
		for range 2 { // raft closes twice
			if err := sink.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := sink.Cancel(); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := openSnapshotFiles(t, dir).List()
	if err != nil || len(kept) != snapshotsKept || len(snapshotNames(t, dir)) != snapshotsKept {
		t.Fatalf("%d snapshots in %v, %v", len(kept), snapshotNames(t, dir), err)
	}
	for i, meta := range kept {
		if want := uint64(snapshotsKept + 2 - i); meta.Index != want {
			t.Errorf("snapshot %d is at index %d, want %d", i, meta.Index, want)
		}
		_, r, err := s.Open(meta.ID)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, content[meta.Index]) {
			t.Errorf("snapshot at index %d reads differently: %v", meta.Index, err)
		}
		r.Close()
	}
}

// A snapshot that was cancelled, or cut off by a crash, leaves nothing.
func TestSnapshotFilesLeaveNoRest(t *testing.T) {
	dir := t.TempDir()
	s := openSnapshotFiles(t, dir)
	cancelled := newSink(t, s, 1)
	if err := cancelled.Cancel(); err != nil {
		t.Fatal(err)
	}
	cut := newSink(t, s, 2)
	if _, err := cut.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if names := snapshotNames(t, dir); len(names) != 1 {
		t.Fatalf("there are %v, want the unfinished one", names)
	}
	openSnapshotFiles(t, dir)
	if names := snapshotNames(t, dir); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}
