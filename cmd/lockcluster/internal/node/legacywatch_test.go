package node

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// A probe hears what the last look at the legacy system found, and so does the
// metric; a look that the node's end has cut short counts for nothing.
func TestLegacyWatch(t *testing.T) {
	var found error
	away := false
	l := &legacyWatch{check: func(context.Context) error { return found }, tell: func(a bool) { away = a }}
	if err := l.last(t.Context()); err != nil {
		t.Errorf("before the first look: %v", err)
	}
	found = errors.New("connection refused")
	l.look(t.Context())
	if err := l.last(t.Context()); err == nil || !strings.Contains(err.Error(), "connection refused") || !away {
		t.Errorf("away: %v, %v", err, away)
	}
	found = nil
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	l.look(ended)
	if l.last(t.Context()) == nil {
		t.Error("a look that was cut short was believed")
	}
	l.look(t.Context())
	if err := l.last(t.Context()); err != nil || away {
		t.Errorf("back: %v, %v", err, away)
	}
}
