package backends_test

import (
	"errors"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
)

// A backend whose fence is over still gives a picture of what the store holds,
// also of records that it finds without a side record; it writes nothing.
func TestRedisDeposedStillReads(t *testing.T) {
	s := plain(t)
	raw := s.client()
	defer raw.Close()
	url := "redis://" + s.addr
	old, next := mustOpen(t, backends.Options{Backend: "redis", URL: url}), mustOpen(t, backends.Options{Backend: "redis", URL: url})
	low, high := backends.Fence{Term: 1, Epoch: 1}, backends.Fence{Term: 2, Epoch: 2}
	if err := old.Raise(t.Context(), low); err != nil {
		t.Fatal(err)
	}
	if _, err := next.Do(t.Context(), high, time.Now(), acquirePull(lockKey("a"), 1)); err != nil {
		t.Fatal(err)
	}
	// An Atlantis writes by itself.
	if err := raw.Set(t.Context(), "github.com::acme/app::7", `{"Projects":[]}`, 0).Err(); err != nil {
		t.Fatal(err)
	}
	view, err := old.View(t.Context())
	if err != nil {
		t.Fatalf("the picture of a deposed backend: %v", err)
	}
	if got := view.Len(); got < 2 {
		t.Errorf("it shows %d records", got)
	}
	if _, err := old.Do(t.Context(), low, time.Now(), acquirePull(lockKey("b"), 1)); !errors.Is(err, backends.ErrFenced) {
		t.Errorf("a write of a deposed backend: %v", err)
	}
	// With a new fence it is in charge again.
	res, err := old.Do(t.Context(), backends.Fence{Term: 3, Epoch: 3}, time.Now(), acquirePull(lockKey("b"), 1))
	if err != nil || res.Status != lockcluster.StatusGranted {
		t.Errorf("after it was elected again: %s, %v", res.Status, err)
	}
}
