package resp

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Who finds a lock free first goes on at once; the next waits for its SET, or
// until the window ends and takes its place; nobody waits longer than two
// windows, however many there are.
func TestReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewIntentTable(nil, 100*time.Millisecond)
		ctx := t.Context()
		if table.Reserve(ctx, "default", "pr/a") {
			t.Error("the first was told to look again")
		}
		if table.Reserve(ctx, "db1", "pr/a") || table.Reserve(ctx, "default", "pr/b") {
			t.Error("another key had to wait")
		}
		begin := time.Now()
		time.AfterFunc(30*time.Millisecond, func() { table.Settle("default", "pr/a") })
		if !table.Reserve(ctx, "default", "pr/a") || time.Since(begin) != 30*time.Millisecond {
			t.Errorf("the second was not woken by the SET: %v", time.Since(begin))
		}
		// Nobody sets: three come and go.
		table.Reserve(ctx, "default", "pr/c")
		begin = time.Now()
		done := make(chan time.Duration, 3)
		for range 3 {
			go func() {
				if table.Reserve(ctx, "default", "pr/c") {
					t.Error("told to look again for nothing")
				}
				done <- time.Since(begin)
			}()
		}
		for _, want := range []time.Duration{100, 200, 200} {
			if got := <-done; got != want*time.Millisecond {
				t.Errorf("waited %v, want %v ms", got, int64(want))
			}
		}
		if table.waiting != 0 {
			t.Errorf("%d are said to wait", table.waiting)
		}
		time.Sleep(time.Second)
		table.Reserve(ctx, "default", "pr/d")
		if len(table.intents) != 1 || len(table.order) != 1 {
			t.Errorf("%d reservations are kept", len(table.intents))
		}
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		begin = time.Now()
		if table.Reserve(short, "default", "pr/d") || time.Since(begin) != 10*time.Millisecond {
			t.Error("a context that ends did not end the wait")
		}
	})
}

// A lock that is held by the time of the reservation is seen at once.
func TestReserveOfHeldLock(t *testing.T) {
	table := NewIntentTable(func(ns, key string) bool { return ns == "default" && key == "pr/a" }, time.Minute)
	for range 3 {
		if !table.Reserve(t.Context(), "default", "pr/a") {
			t.Error("a held lock was reserved")
		}
	}
	if len(table.intents) != 0 || table.waiting != 0 {
		t.Error("something was kept")
	}
}

// Past the bound of waiters nobody waits.
func TestReserveIsBounded(t *testing.T) {
	table := NewIntentTable(nil, time.Minute)
	table.Reserve(t.Context(), "default", "pr/a")
	table.waiting = intentWaitersMax
	if table.Reserve(t.Context(), "default", "pr/a") {
		t.Error("told to look again")
	}
}
