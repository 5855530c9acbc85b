package testutil

import (
	"testing"
	"time"
)

// Pauses between two looks at a condition. The first looks come quickly, so
// that a fast condition costs nothing.
const (
	waitPauseFirst = time.Millisecond
	waitPauseMax   = 50 * time.Millisecond
)

// WaitFor looks at cond until it is true (or returns a nil error) and fails
// the test at once when that takes longer than timeout. An error says in the
// failure what was still missing, so prefer it where there is something to
// say. Inside a testing/synctest bubble the wait is in virtual time.
func WaitFor[C func() bool | func() error](tb testing.TB, timeout time.Duration, cond C) {
	tb.Helper()
	deadline := time.Now().Add(timeout)
	pause := waitPauseFirst
	for {
		ok, err := check(any(cond))
		switch {
		case ok:
			return
		case time.Now().Before(deadline):
		case err != nil:
			tb.Fatalf("not true within %v: %v", timeout, err)
		default:
			tb.Fatalf("not true within %v", timeout)
		}
		time.Sleep(pause)
		pause = min(2*pause, waitPauseMax)
	}
}

func check(cond any) (bool, error) {
	switch c := cond.(type) {
	case func() bool:
		return c(), nil
	case func() error:
		err := c()
		return err == nil, err
	}
	panic("unreachable: the type constraint of WaitFor allows nothing else")
}
