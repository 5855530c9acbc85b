package cluster

import (
	"errors"
	"log/slog"
	"os"
	"runtime"
	"sync"
)

// halter stops the node for good, once. After a halt nothing may touch the
// stores any more: [halter.stop] does not come back. In production nothing
// comes back, because the halt function ends the process.
type halter struct {
	halt     func(error)
	once     sync.Once
	haltedC  chan struct{} // closed when the node halts
	releaseC chan struct{} // closed by Close, after raft is down

	mu  sync.Mutex
	err error
}

func newHalter(halt func(error)) *halter {
	return &halter{halt: halt, haltedC: make(chan struct{}), releaseC: make(chan struct{})}
}

// fail records err and calls the halt function. It returns; callers on raft's
// goroutines use stop instead.
func (h *halter) fail(err error) {
	h.once.Do(func() {
		h.mu.Lock()
		h.err = err
		h.mu.Unlock()
		close(h.haltedC)
		h.halt(err)
	})
}

// stop records err, halts, and ends the calling goroutine: whatever it was
// about to tell raft is not true any more. It holds the goroutine until the
// node is closed, so that raft does not go on without it.
func (h *halter) stop(err error) {
	h.hold(err)
	runtime.Goexit()
}

// hold records err, halts, and holds the calling goroutine until the node is
// closed.
func (h *halter) hold(err error) {
	h.fail(err)
	<-h.releaseC
}

// halted reports whether the node has halted.
func (h *halter) halted() bool {
	select {
	case <-h.haltedC:
		return true
	default:
		return false
	}
}

// cause returns why the node halted, nil if it has not.
func (h *halter) cause() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// exitOnHalt is the default halt function: it says why, and ends the process
// with the code of the cause. For causes that need it, it writes all stacks.
func exitOnHalt(logger *slog.Logger) func(error) {
	return func(err error) {
		attrs := []any{"err", err, "exit_code", ExitCode(err)}
		if errors.Is(err, ErrStuck) {
			buf := make([]byte, 1<<20)
			attrs = append(attrs, "stacks", string(buf[:runtime.Stack(buf, true)]))
		}
		logger.Error("node halts", attrs...)
		os.Exit(ExitCode(err))
	}
}
