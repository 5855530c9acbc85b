package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// clockTick is the unit of times in /proc: 100 a second on every architecture
// that Go runs on.
const clockTick = 10 * time.Millisecond

// CPUTime returns the processor time that the child has used.
func (p *Process) CPUTime() (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("read the processor time of %s: %w", p.Name, err)
	}
	// The second field, the command's name in parentheses, may hold anything.
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	var ticks uint64
	for _, at := range []int{11, 12} { // utime, stime; the first field here is the third
		n, err := strconv.ParseUint(string(fields[at]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the processor time of %s: %w", p.Name, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil //nolint:gosec // not for 3 billion years
}

// ResidentBytes returns how much of the child is in memory.
func (p *Process) ResidentBytes() (uint64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("read the memory of %s: %w", p.Name, err)
	}
	var size, resident uint64
	if _, err := fmt.Sscan(string(raw), &size, &resident); err != nil {
		return 0, fmt.Errorf("read the memory of %s: %w", p.Name, err)
	}
	return resident * uint64(os.Getpagesize()), nil //nolint:gosec // a page size is positive
}
