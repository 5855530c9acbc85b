package migration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

var (
	// ErrSilent means that a Redis does not answer, or not yet.
	ErrSilent = errors.New("it does not answer")
	// ErrGivenUp means that a source could not be read for [Follower.WaitMax].
	ErrGivenUp = errors.New("the source could not be read")

	errNotRead = errors.New("no reading of it has succeeded yet")
)

const (
	// waitTold is after how long a wait is told first; then at twice the time each.
	waitTold = 5 * time.Second
	// waitToldMax is the longest time between two tellings of one wait.
	waitToldMax = time.Minute
	// waitLook is how late a wait may be told.
	waitLook = time.Second
)

// mayPass reports whether an error of a source that was never read is no reason to
// end: it is there, and only cannot be read just now.
func mayPass(err error) bool { return errors.Is(err, ErrBusy) || errors.Is(err, ErrSilent) }

// waits knows since when a source was not read that should have been. It is looked
// at while a call is under way, because a call may take long.
type waits struct {
	mu    sync.Mutex // guards calls
	calls [2]wait    // by what is asked of the source
}

// wait is one kind of call to a source that has not succeeded yet.
type wait struct {
	since time.Time // zero: nothing is waited for
	why   error     // of the last call, nil while the first is under way
}

// What is asked of a source.
const (
	askVersion = iota
	askContent
)

// begin notes that a call begins; its end must follow.
func (w *waits) begin(what int) (end func(err error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := &w.calls[what]; c.since.IsZero() {
		*c = wait{since: time.Now()}
	}
	return func(err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if err == nil {
			w.calls[what] = wait{}
		} else {
			w.calls[what].why = err
		}
	}
}

// longest returns the wait that has lasted longest.
func (w *waits) longest() wait {
	w.mu.Lock()
	defer w.mu.Unlock()
	a, b := w.calls[askVersion], w.calls[askContent]
	if a.since.IsZero() || !b.since.IsZero() && b.since.Before(a.since) {
		return b
	}
	return a
}

// tellWaits tells of waits, and gives up on one that is too long.
func (f *Follower) tellWaits(ctx context.Context, giveUp context.CancelCauseFunc) {
	next := waitTold
	told := false
	for sleep(ctx, waitLook) == nil {
		now := f.waits.longest()
		lasted := time.Since(now.since).Round(waitLook)
		switch {
		case now.since.IsZero() || lasted < waitTold:
			if told && f.Waiting != nil {
				f.Waiting(0, nil)
			}
			next, told = waitTold, false
			continue
		case f.WaitMax > 0 && lasted >= f.WaitMax:
			giveUp(fmt.Errorf("%w for %s: %w", ErrGivenUp, lasted, whyWaited(now.why)))
			return
		case lasted < next:
			continue
		}
		next, told = lasted+min(lasted, waitToldMax), true
		if f.Waiting != nil {
			f.Waiting(lasted, whyWaited(now.why))
		}
	}
}

// whyWaited is why a source was not read.
func whyWaited(err error) error {
	if err == nil {
		return errNotRead // the first one is under way
	}
	return err
}
