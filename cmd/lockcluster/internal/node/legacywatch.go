package node

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	legacyLook    = time.Second // between two looks at the legacy system
	legacyTimeout = 2 * time.Second
)

// legacyWatch looks whether the legacy system answers while it decides, so that
// a probe need not wait for it.
type legacyWatch struct {
	check   func(ctx context.Context) error
	tell    func(away bool)
	problem atomic.Pointer[error]
}

// run looks until ctx ends.
func (l *legacyWatch) run(ctx context.Context) {
	tick := time.NewTicker(legacyLook)
	defer tick.Stop()
	for {
		l.look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (l *legacyWatch) look(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, legacyTimeout)
	defer cancel()
	err := l.check(limited)
	if ctx.Err() != nil {
		return // it was to end
	}
	l.problem.Store(&err)
	l.tell(err != nil)
}

// last is the check of a probe: what the last look found.
func (l *legacyWatch) last(context.Context) error {
	p := l.problem.Load()
	if p == nil || *p == nil {
		return nil
	}
	return fmt.Errorf("the legacy system decides about locks and cannot be used, so they wait or fail: %w", *p)
}
