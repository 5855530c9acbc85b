//go:build !linux

package proc

import (
	"errors"
	"time"
)

var errNoUsage = errors.New("what a process uses is only known on Linux")

// CPUTime is not known here.
func (p *Process) CPUTime() (time.Duration, error) { return 0, errNoUsage }

// ResidentBytes is not known here.
func (p *Process) ResidentBytes() (uint64, error) { return 0, errNoUsage }
