package backends_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// marked returns the backend of a store with an id and the lock of pull 1, and
// the context of who knows that id.
func marked(t *testing.T, url string, f backends.Fence) (b backends.Backend, known context.Context, id string) {
	t.Helper()
	b, id = mustOpen(t, backends.Options{Backend: "redis", URL: url}), backends.NewStoreID()
	if err := b.(backends.Identified).Adopt(t.Context(), f, backends.Claim{ID: id, Over: []string{backends.NoStore}}); err != nil {
		t.Fatal(err)
	}
	known = backends.WithStore(t.Context(), id)
	if res, err := b.Do(known, f, time.Now(), acquirePull(lockKey("a"), 1)); err != nil || res.Status != lockcluster.StatusGranted {
		t.Fatalf("%s, %v", res.Status, err)
	}
	return b, known, id
}

// wantRefused asks for everything of a store that has lost what it held.
func wantRefused(known context.Context, t *testing.T, when string, b backends.Backend, f backends.Fence) {
	t.Helper()
	_, doErr := b.Do(known, f, time.Now(), acquirePull(lockKey("a"), 2))
	_, viewErr := b.View(known)
	for use, err := range map[string]error{
		"do": doErr, "view": viewErr, "raise": b.Raise(known, f), "check": b.Check(known),
		"read": b.Read(known, func(r state.Reader) { state.GetLock(r, lockcluster.DefaultNamespace, lockKey("a").Text()) }),
	} {
		if !errors.Is(err, backends.ErrOtherStore) {
			t.Errorf("%s, %s: %v", when, use, err)
		}
	}
}

// A Redis that was emptied under the backend that writes to it is refused, by
// the very next call: a lock that was lost is not granted again. So is one from
// which only our marks were removed.
func TestRedisEmptied(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, raw *redis.Client){
		"all":   func(t *testing.T, raw *redis.Client) { flush(t, raw) },
		"fence": func(t *testing.T, raw *redis.Client) { raw.Del(t.Context(), "lockcluster:fence") },
		"side":  func(t *testing.T, raw *redis.Client) { raw.Del(t.Context(), "lockcluster:side") },
		"id":    func(t *testing.T, raw *redis.Client) { raw.HDel(t.Context(), "lockcluster:side", "id") },
	} {
		t.Run(name, func(t *testing.T) {
			s, f := plain(t), backends.Fence{Term: 3, Epoch: 1}
			raw := s.client()
			defer raw.Close()
			b, known, id := marked(t, "redis://"+s.addr, f)
			harm(t, raw)
			wantRefused(known, t, "under way", b, f)
			other := mustOpen(t, backends.Options{Backend: "redis", URL: "redis://" + s.addr})
			wantRefused(known, t, "opened anew", other, backends.Fence{Term: 4, Epoch: 1})
			if n := raw.Exists(t.Context(), "pr/"+lockKey("a").Text()).Val(); name != "all" && n != 1 {
				t.Error("the lock is gone")
			}
			// Who accepts what is there says so.
			f.Term = 5
			if err := b.(backends.Identified).Adopt(t.Context(), f, backends.Claim{ID: id, Over: []string{backends.NoStore}}); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Do(known, f, time.Now(), acquirePull(lockKey("b"), 2)); err != nil {
				t.Error(err)
			}
		})
	}
}

// A part of a Redis Cluster that was emptied is noticed by who needs it, and by
// who lists everything, even though the other parts are well.
func TestRedisClusterPartEmptied(t *testing.T) {
	nodes := startRedisCluster(t)
	f := backends.Fence{Term: 1, Epoch: 1}
	b, known, id := marked(t, "redis+cluster://"+nodes[0].addr, f)
	for i := range 30 { // a lock in every part
		if res, err := b.Do(known, f, time.Now(), acquirePull(lockKey(fmt.Sprintf("d%d", i)), 1)); err != nil || res.Status != lockcluster.StatusGranted {
			t.Fatalf("%s, %v", res.Status, err)
		}
	}
	for _, node := range nodes { // that which has the lock
		raw := node.client()
		defer raw.Close()
		if raw.Exists(t.Context(), "pr/"+lockKey("a").Text()).Val() == 1 {
			flush(t, raw)
		}
	}
	wantRefused(known, t, "a part emptied", b, f)
	ids, err := b.(backends.Identified).Identity(t.Context())
	if err != nil || len(ids.IDs) != 2 {
		t.Errorf("the ids are %q, %v", ids.IDs, err)
	}
	f.Term++
	if err := b.(backends.Identified).Adopt(t.Context(), f, backends.Claim{ID: id, Over: ids.IDs}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.View(known); err != nil {
		t.Error(err)
	}
}

// A store that is emptied or replaced between the reading of what a request
// needs and its commit gets nothing of that commit.
func TestRedisReplacedBeforeCommit(t *testing.T) {
	for _, now := range []string{"", backends.NewStoreID()} {
		s := plain(t)
		raw := s.client()
		defer raw.Close()
		b, _, id := marked(t, "redis://"+s.addr, backends.Fence{Term: 3, Epoch: 1})
		if err := raw.HSet(t.Context(), "lockcluster:side", "id", now).Err(); err != nil {
			t.Fatal(err)
		}
		err := backends.CommitTo(t.Context(), b, id, lockKey("b").Text(), []byte("x"))
		if !errors.Is(err, backends.ErrOtherStore) || !errors.Is(err, lockcluster.ErrOutcomeUnknown) {
			t.Errorf("the commit: %v", err)
		}
		if n := raw.Exists(t.Context(), "pr/"+lockKey("b").Text()).Val(); n != 0 {
			t.Error("it was carried out")
		}
	}
}

// Whoever reads while a Redis is emptied is told what it held, or nothing: never
// that a lock is free.
func TestRedisReadWhileEmptied(t *testing.T) {
	s := plain(t)
	raw := s.client()
	defer raw.Close()
	url := "redis://" + s.addr
	for round := range uint64(100) {
		_, known, _ := marked(t, url, backends.Fence{Term: round + 1})
		reader := mustOpen(t, backends.Options{Backend: "redis", URL: url})
		began, done := make(chan struct{}), make(chan error, 1)
		go func() {
			for first := true; ; first = false {
				view, err := reader.View(known)
				if err != nil {
					done <- err
					return
				}
				var there bool
				if err := reader.Read(known, func(r state.Reader) {
					there = state.GetLock(r, lockcluster.DefaultNamespace, lockKey("a").Text()) != nil
				}); err == nil && !there || state.GetLock(view, lockcluster.DefaultNamespace, lockKey("a").Text()) == nil {
					done <- errors.New("the lock was shown to be free")
					return
				}
				if first {
					close(began)
				}
			}
		}()
		<-began
		flush(t, raw)
		if err := <-done; !errors.Is(err, backends.ErrOtherStore) {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}
