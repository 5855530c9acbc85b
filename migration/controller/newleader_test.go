package controller

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
)

// logHook calls f with each message that is logged.
type logHook struct{ f func(msg string) }

func (h logHook) Enabled(context.Context, slog.Level) bool { return true }
func (h logHook) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h logHook) WithGroup(string) slog.Handler            { return h }

func (h logHook) Handle(_ context.Context, r slog.Record) error {
	h.f(r.Message)
	return nil
}

// A leader that comes to doubt what it knows just when it has begun anew begins
// once more; it does not wait for ever for somebody to do it.
func TestDoubtsWhenItHasBegunAnew(t *testing.T) {
	var term atomic.Pointer[term]
	hook := func(cfg *Config) {
		cfg.Logger = slog.New(logHook{func(msg string) {
			if msg != "this node decides" {
				return
			}
			if t := term.Swap(nil); t != nil {
				t.takeOverAgain()
			}
		}})
	}
	s := newSite(t, map[string]func(*Config){"n1": hook, "n2": hook, "n3": hook})
	s.inMode(lockcluster.ModeLegacy)
	_, c := s.leader()
	now := c.currentTerm()
	term.Store(now)
	now.takeOverAgain()
	s.Eventually("the leader has doubted twice", func() bool { return term.Load() == nil })
	s.want("n3", acquire("acme/app", 7), lockcluster.StatusGranted)
}

// A switch that is asked of a leader which has not taken over yet waits a
// moment for it, and is refused when that does not help.
func TestSwitchWaitsForANewLeader(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.mustMode(lockcluster.ModeBlueGreen, nil)
	_, c := s.leader()
	term := c.currentTerm()
	s.Eventually("the leader has taken over", term.ready.Load)
	term.ready.Store(false)
	asked := time.Now()
	if _, err := s.switchTo(lockcluster.SystemEnhanced); !errors.Is(err, errNotUp) || !errors.Is(err, ErrRefused) {
		t.Errorf("a leader that never takes over answered %v after %v, want %v", err, time.Since(asked), errNotUp)
	}
	term.ready.Store(true)
	for _, to := range []lockcluster.System{lockcluster.SystemEnhanced, lockcluster.SystemLegacy, lockcluster.SystemEnhanced} {
		// The switch and the take-over wait for the same: either may be the first.
		release, err := term.alone(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		term.takeOverAgain()
		done := make(chan error, 1)
		go func() {
			_, err := s.switchTo(to)
			done <- err
		}()
		s.Eventually("both wait for their turn", func() bool { return term.turns.Load() == 3 })
		release()
		if err := <-done; err != nil {
			t.Errorf("the switch to %s was not carried out by a leader that took over: %v", to, err)
		}
	}
}
