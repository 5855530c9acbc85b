package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// A backup reaches its file whole, and never much of it is unsynced.
func TestSyncingFileBoundsWhatIsUnsynced(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "backup"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &syncingFile{File: f}
	chunk := bytes.Repeat([]byte("0123456789abcdef"), 16<<10) // 256 KiB, as a node sends
	var want []byte
	for i := range 40 {
		part := chunk[:len(chunk)-i]
		if n, err := w.Write(part); n != len(part) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		if want = append(want, part...); w.unsynced >= syncEvery {
			t.Fatalf("%d bytes are unsynced", w.unsynced)
		}
	}
	if w.unsynced == len(want) {
		t.Error("nothing was synced")
	}
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file has %d bytes, want %d: %v", len(got), len(want), err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(chunk); err == nil {
		t.Error("a write that failed was not reported")
	}
}
