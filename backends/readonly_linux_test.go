package backends_test

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// makeReadOnly makes this process's open descriptors of file ones that cannot
// be written to, so that the next write fails for real.
func makeReadOnly(t *testing.T, file string) {
	t.Helper()
	const fds = "/proc/self/fd"
	names, err := os.ReadDir(fds)
	if err != nil {
		t.Fatal(err)
	}
	done := 0
	for _, n := range names {
		if target, err := os.Readlink(filepath.Join(fds, n.Name())); err != nil || target != file {
			continue
		}
		fd, err := strconv.Atoi(n.Name())
		if err != nil {
			t.Fatal(err)
		}
		r, err := syscall.Open(file, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		if err == nil {
			err = syscall.Dup3(r, fd, syscall.O_CLOEXEC)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Close(r); err != nil {
			t.Fatal(err)
		}
		done++
	}
	if done == 0 {
		t.Fatalf("no open descriptor of %s", file)
	}
}
