package controller

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"

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
