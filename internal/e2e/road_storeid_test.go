package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// A Redis that somebody empties is refused at every door with a text that says
// what to do, and doing that brings the locks back.
func TestRoadEmptiedRedis(t *testing.T) {
	r := startRoad(t, kindRedis, "")
	r.mode(t, "blue-green")
	key := lockcluster.Key{Namespace: lockcluster.DefaultNamespace, Repo: "acme/app", Path: ".", Workspace: "default"}
	if res, err := r.client.Do(t.Context(), lockcluster.RequestID{}, acquireRequest(key, 7)); err != nil || res.Status != lockcluster.StatusGranted {
		t.Fatalf("%s, %v", res.Status, err)
	}
	r.settleMirror(t)
	raw := redis.NewClient(&redis.Options{Addr: r.redis.addr})
	defer raw.Close()
	if err := raw.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	_, err := r.client.Do(t.Context(), lockcluster.RequestID{}, acquireRequest(key, 8))
	if err == nil || !strings.Contains(err.Error(), "--authority enhanced") {
		t.Errorf("over gRPC: %v", err)
	}
	for _, n := range r.All {
		door := redis.NewClient(&redis.Options{Addr: n.RESP, MaxRetries: -1})
		defer door.Close()
		value := compat.NewLockValue(lockcluster.Lock{Key: key, Owner: lockcluster.Owner{Host: "github.com", Repo: key.Repo, Pull: 8}, User: "bob"})
		for name, err := range map[string]error{
			"get": door.Get(t.Context(), "pr/"+key.Text()).Err(), "set": door.Set(t.Context(), "pr/"+key.Text(), value, 0).Err(),
		} {
			if err == nil || !strings.Contains(err.Error(), "--authority enhanced") {
				t.Errorf("%s at the Redis door of %s: %v", name, n.ID, err)
			}
		}
	}
	out, err := r.Run(t.Context(), "migration", "status")
	if err != nil || !strings.Contains(string(out), "the legacy store is refused") {
		t.Errorf("%s, %v", out, err)
	}
	if m := r.Leader(t).metrics(t); !strings.Contains(m, "lockcluster_legacy_store_refused 1") {
		t.Error("the metric does not show it")
	}
	if res := r.mode(t, "blue-green", "--authority", "enhanced", "--dry-run"); res.Differences != 1 || !res.DryRun || len(res.Notes) != 1 {
		t.Errorf("dry run: %+v", res)
	}
	r.mode(t, "blue-green", "--authority", "enhanced", "--reason", "it was flushed")
	r.settleMirror(t)
	if s := r.mustMigration(t); !strings.Contains(s.Reason, "it was flushed") && !strings.Contains(s.Reason, "new leader") {
		t.Errorf("the reason is %q", s.Reason)
	}
	testutil.WaitFor(t, 10*time.Second, func() error {
		res, err := r.client.Do(t.Context(), lockcluster.RequestID{}, acquireRequest(key, 8))
		if err == nil && res.Status != lockcluster.StatusHeld {
			t.Fatalf("the lock of pull 7: %s", res.Status)
		}
		return err
	})
	if m := r.Leader(t).metrics(t); !strings.Contains(m, "lockcluster_legacy_store_refused 0") {
		t.Error("the metric still shows it")
	}
}
