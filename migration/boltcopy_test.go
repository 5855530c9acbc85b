package migration

import (
	"os"
	"path/filepath"
	"testing"
)

// A file that is replaced by a smaller one while it is copied leaves nothing of
// itself in the copy.
func TestCopyOfAFileThatWasReplacedByASmallerOne(t *testing.T) {
	small := mustFixture(t, "atlantis-0.47.1").file
	info, err := os.Stat(small)
	if err != nil {
		t.Fatal(err)
	}
	path := copyFile(t, small)
	if err := os.Truncate(path, 4*info.Size()); err != nil { // as bbolt grows a file
		t.Fatal(err)
	}
	dst, err := os.Create(filepath.Join(t.TempDir(), "copy"))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	cp := copier{path: path, dst: dst, inMemory: info.Size(), hash: true}
	defer cp.close()
	if done, err := cp.try(); err != nil || !done {
		t.Fatal(done, err)
	}
	cp.close() // as when another file has taken its place
	if err := os.Rename(copyFile(t, small), path); err != nil {
		t.Fatal(err)
	}
	if done, err := cp.try(); err != nil || !done {
		t.Fatal(done, err)
	}
	if got := mustHash(t, dst.Name()); got != mustHash(t, path) || got != cp.sum {
		t.Errorf("the copy's hash is %s, noted is %s", got, cp.sum)
	}
}
