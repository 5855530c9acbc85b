package cli

import (
	"os"
	"strconv"
	"syscall"
)

// yieldPriority is how much of the processor this program leaves to others
// that want it: a tenth of an equal share is enough for it.
const yieldPriority = 10

// yield lets a node on the same machine go first, for the rest of the
// program. What cannot be changed stays: it is a courtesy.
func yield() {
	// Linux keeps priorities for threads; new ones get that of their maker.
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range tasks {
		if id, err := strconv.Atoi(t.Name()); err == nil {
			_ = syscall.Setpriority(syscall.PRIO_PROCESS, id, yieldPriority)
		}
	}
}
