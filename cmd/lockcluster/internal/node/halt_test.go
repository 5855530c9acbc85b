package node

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// A node that replaces itself counts it, gives up when it happens too often in
// a short time, and begins anew after a long one.
func TestNextRestart(t *testing.T) {
	now := time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)
	env := []string{"HOME=/root"}
	for i := range restartsMax {
		next, err := nextRestart(env, now.Add(time.Duration(i)*time.Second))
		if err != nil {
			t.Fatalf("restart %d: %v", i+1, err)
		}
		if len(next) != 2 || next[0] != "HOME=/root" {
			t.Fatalf("restart %d: environment %q", i+1, next)
		}
		env = next
	}
	if _, err := nextRestart(env, now.Add(time.Minute)); err == nil || !strings.Contains(err.Error(), "2026-11-01T10:00:00Z") {
		t.Errorf("one restart too many: %v", err)
	}
	next, err := nextRestart(env, now.Add(restartsWindow))
	if err != nil || !slices.Contains(next, RestartsEnv+"=1@1793527800") {
		t.Errorf("after the window: %q, %v", next, err)
	}
	if next, err := nextRestart([]string{RestartsEnv + "=nonsense"}, now); err != nil || len(next) != 1 {
		t.Errorf("a damaged count: %q, %v", next, err)
	}
}
