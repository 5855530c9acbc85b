package harness

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/lockcluster/lockcluster/bench/internal/proc"
)

// meter measures processor time from its start.
type meter struct {
	procs          []*proc.Process
	server, client time.Duration // at the start
}

func startMeter(procs []*proc.Process) (*meter, error) {
	m := &meter{procs: procs}
	var err error
	m.server, m.client, err = m.now()
	return m, err
}

// read returns what the servers and this process have used since the start.
func (m *meter) read() (server, client time.Duration, err error) {
	server, client, err = m.now()
	return server - m.server, client - m.client, err
}

func (m *meter) now() (server, client time.Duration, err error) {
	var errs []error
	for _, p := range m.procs {
		used, err := p.CPUTime()
		errs = append(errs, err)
		server += used
	}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		errs = append(errs, fmt.Errorf("read the processor time of this process: %w", err))
	}
	return server, time.Duration(own.Utime.Nano() + own.Stime.Nano()), errors.Join(errs...)
}
