package cluster

import (
	"errors"
	"os"
	"syscall"
)

// syncData makes durable what was written to f, and as much about the file as
// is needed to read it. Unlike [os.File.Sync] it leaves out when it was written.
func syncData(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := c.Control(func(fd uintptr) {
		for {
			if failed = syscall.Fdatasync(int(fd)); !errors.Is(failed, syscall.EINTR) { //nolint:gosec // a file descriptor is an int
				return
			}
		}
	}); err != nil {
		return err
	}
	return os.NewSyscallError("fdatasync", failed)
}
