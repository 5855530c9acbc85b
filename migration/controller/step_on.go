//go:build lockcluster_steps

package controller

import (
	"os"
	"path/filepath"
	"time"
)

// step stops here if the folder TEST_LOCKCLUSTER_STEPS holds a file of that name: it
// renames it to NAME.reached and waits until that is removed, or the process is
// killed.
func step(name string) {
	dir := os.Getenv("TEST_LOCKCLUSTER_STEPS")
	if dir == "" {
		return
	}
	reached := filepath.Join(dir, name+".reached")
	if os.Rename(filepath.Join(dir, name), reached) != nil {
		return
	}
	for {
		if _, err := os.Stat(reached); err != nil {
			return
		}
		time.Sleep(5 * time.Millisecond) // the test's build only
	}
}
