package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeSource is a source whose readings a test makes up.
type fakeSource struct {
	version func(ctx context.Context) (string, error)
	read    func(ctx context.Context) error
}

func (s *fakeSource) Interval() time.Duration { return time.Second }

func (s *fakeSource) Version(ctx context.Context) (string, error) {
	if s.version == nil {
		return "1", nil
	}
	return s.version(ctx)
}

func (s *fakeSource) Read(ctx context.Context) (*Source, string, error) {
	return &Source{}, "1", s.read(ctx)
}

// waiter is a follower that notes what it tells of waits, in whole seconds.
type waiter struct {
	*Follower
	mu   sync.Mutex // guards told
	told []string
}

func (w *waiter) tell(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, text)
}

func newWaiter(source FollowSource, limit time.Duration) *waiter {
	w := &waiter{}
	w.Follower = &Follower{
		Source: source, WaitMax: limit, Apply: func(context.Context, *Plan, Diff) error { return nil },
		Started: func(FollowStats) { w.tell("started") },
		Waiting: func(d time.Duration, why error) { w.tell(fmt.Sprintf("%.0f %v", d.Seconds(), why)) },
	}
	return w
}

func (w *waiter) want(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(w.told, want) {
		t.Errorf("told %q, want %q", w.told, want)
	}
}

// busyFor is a reading as of a file that is written without end: it fails after its
// own limit, or ends with ctx.
func busyFor(d time.Duration) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		if err := sleep(ctx, d); err != nil {
			return err
		}
		return ErrBusy
	}
}

// A source that changes without end is waited for: that is told, with the time so
// far and the reason, less and less often, and ends with an error at the limit.
func TestWaitForABusySource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWaiter(&fakeSource{read: busyFor(7 * time.Second)}, 150*time.Second)
		begun := time.Now()
		_, err := w.Run(t.Context())
		if took := time.Since(begun).Round(time.Second); !errors.Is(err, ErrGivenUp) || !errors.Is(err, ErrBusy) || took != 150*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		w.want(t, "5 no reading of it has succeeded yet", "10 the file keeps changing", "20 the file keeps changing", "40 the file keeps changing",
			"80 the file keeps changing", "140 the file keeps changing")
	})
}

// A wait that ends before the limit ends nothing, and that it is over is told; with
// no limit it may take as long as it likes. A short one is not told at all.
func TestWaitThatEnds(t *testing.T) {
	for _, limit := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			first := 30 * time.Second
			if limit == 0 {
				first = 2 * time.Hour
			}
			var looks int
			w := newWaiter(&fakeSource{
				read: func(ctx context.Context) error { return sleep(ctx, first) },
				version: func(ctx context.Context) (string, error) {
					if looks++; looks == 3 { // once, for a moment
						return "1", sleep(ctx, 4*time.Second)
					}
					return "1", nil
				},
			}, limit)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour)
			defer cancel()
			if stats, err := w.Run(ctx); err != nil || stats.Applied != 1 {
				t.Errorf("%v, %+v", err, stats)
			}
			if limit > 0 {
				w.want(t, "5 no reading of it has succeeded yet", "10 no reading of it has succeeded yet", "20 no reading of it has succeeded yet", "started", "0 <nil>")
			} else if n := len(w.told); n < 100 || n > 130 {
				t.Errorf("told %d times in two hours", n)
			}
		})
	}
}

// A source that goes away later, although nothing had to be read, is waited for no
// longer than the limit either.
func TestWaitForASourceThatWentAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("gone")
		begun := time.Now()
		w := newWaiter(&fakeSource{
			read: func(context.Context) error { return nil },
			version: func(context.Context) (string, error) {
				if time.Since(begun) > time.Hour {
					return "", gone
				}
				return "1", nil
			},
		}, 30*time.Second)
		_, err := w.Run(t.Context())
		if took := time.Since(begun); !errors.Is(err, ErrGivenUp) || !errors.Is(err, gone) || took < time.Hour || took > time.Hour+35*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		w.want(t, "started", "5 gone", "10 gone", "20 gone")
	})
}

// Ctrl-C ends a wait at once, without an error.
func TestWaitIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWaiter(&fakeSource{read: busyFor(time.Hour)}, 0)
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		begun := time.Now()
		if _, err := w.Run(ctx); err != nil || time.Since(begun) != 7*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

// What is asked before anything is applied is asked once, and its refusal ends the
// following with nothing applied.
func TestFollowBefore(t *testing.T) {
	refused := errors.New("refused")
	for _, refusal := range []error{nil, refused} {
		synctest.Test(t, func(t *testing.T) {
			asked, applied := 0, 0
			w := newWaiter(&fakeSource{read: func(context.Context) error { return nil }}, 0)
			w.Before = func(context.Context, *Source, *Plan) error {
				asked++
				return refusal
			}
			w.Apply = func(context.Context, *Plan, Diff) error {
				if applied++; applied == 1 {
					return errors.New("the target is away")
				}
				return nil
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := w.Run(ctx)
			if asked != 1 || !errors.Is(err, refusal) || applied != 2 && refusal == nil || applied != 0 && refusal != nil {
				t.Errorf("asked %d times, applied %d times, %v", asked, applied, err)
			}
		})
	}
}
