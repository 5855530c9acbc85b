package e2e

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/internal/testutil"
	"github.com/lockcluster/lockcluster/migration"
)

// stock is everything in a store as Atlantis would read it from its Redis:
// values by key.
type stock map[string]string

// readLegacy reads the legacy store past the cluster: the file through a copy
// and BoltDB's own code, the Redis with a client of its own.
func (r *road) readLegacy(t testing.TB) stock {
	t.Helper()
	if r.kind == kindRedis {
		return readRedis(t, r.redis.addr)
	}
	c, err := migration.CopyBolt(t.Context(), r.file, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	src, err := migration.ReadBolt(c)
	if err != nil {
		t.Fatal(err)
	}
	s := stock{}
	for _, rec := range src.Records {
		key := rec.Key
		switch rec.Bucket {
		case migration.BucketLocks:
			key = compat.LockKeyPrefix + key
		case migration.BucketCommandLocks:
			name, ok := compat.ParseCommandLockBoltKey(key)
			if !ok {
				t.Errorf("bucket %s has the key %q", rec.Bucket, key)
			}
			key = compat.CommandLockKey(name)
		}
		s[key] = string(rec.Value)
	}
	return s
}

func readRedis(t testing.TB, addr string) stock {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr})
	defer c.Close()
	var keys []string
	for it := c.Scan(t.Context(), 0, "*", 1000).Iterator(); it.Next(t.Context()); {
		if !strings.HasPrefix(it.Val(), "lockcluster:") {
			keys = append(keys, it.Val())
		}
	}
	slices.Sort(keys)
	s := stock{}
	for batch := range slices.Chunk(slices.Compact(keys), 1000) {
		values, err := c.MGet(t.Context(), batch...).Result()
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range values {
			if text, ok := v.(string); ok {
				s[batch[i]] = text
			}
		}
	}
	return s
}

// view reads the enhanced system past the controller: a backup of the
// replicated state.
func (r *road) view(t testing.TB) *state.View {
	t.Helper()
	var b bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := r.client.SnapshotSave(ctx, &b); err != nil {
		t.Fatal(err)
	}
	mem, err := fsm.ReadSnapshot(&b)
	if err != nil {
		t.Fatal(err)
	}
	return mem.View()
}

func (r *road) readEnhanced(t testing.TB) stock {
	t.Helper()
	view, s := r.view(t), stock{}
	ns := lockcluster.DefaultNamespace
	state.Keys(view, ns, lockcluster.SpaceLock, "", func(key string) bool {
		s[compat.LockKeyPrefix+key] = string(state.GetLock(view, ns, key).Value)
		return true
	})
	state.Keys(view, ns, lockcluster.SpaceCommand, "", func(key string) bool {
		s[compat.CommandLockKey(key)] = string(state.GetCommandLock(view, ns, key).Value)
		return true
	})
	state.Keys(view, ns, lockcluster.SpaceDocument, "", func(key string) bool {
		s[key] = string(state.GetDocument(view, ns, key).Value)
		return true
	})
	return s
}

// differences names the keys that two stores do not hold alike, some of them.
func differences(nameA string, a stock, nameB string, b stock) []string {
	var out []string
	keys := maps.Clone(a)
	maps.Copy(keys, b)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		x, inA := a[key]
		y, inB := b[key]
		switch {
		case !inB:
			out = append(out, fmt.Sprintf("%s: only %s has it, for %s", key, nameA, holderOf(x)))
		case !inA:
			out = append(out, fmt.Sprintf("%s: only %s has it, for %s", key, nameB, holderOf(y)))
		case x != y:
			out = append(out, fmt.Sprintf("%s: %s has it for %s, %s for %s", key, nameA, holderOf(x), nameB, holderOf(y)))
		}
		if len(out) == 20 {
			return append(out, "and more")
		}
	}
	return out
}

// settleMirror waits until the mirror has caught up: the status says so, and
// both digests are equal. (In mode shadow tokens are each system's own.) Nobody may be asking for anything.
func (r *road) settleMirror(t testing.TB) migrationStatus {
	t.Helper()
	var s migrationStatus
	testutil.WaitFor(t, 30*time.Second, func() (err error) {
		s, err = r.migration(t.Context())
		switch {
		case err != nil:
			return err
		case s.GateClosed || !s.Ready:
			return fmt.Errorf("gate closed %v, ready %v", s.GateClosed, s.Ready)
		case !s.Legacy.Reachable:
			return fmt.Errorf("the legacy system cannot be reached: %s", s.Legacy.Problem)
		case s.MirrorBehind > 0 || s.ShadowQueue > 0:
			return fmt.Errorf("the mirror is %d records behind, %d are queued", s.MirrorBehind, s.ShadowQueue)
		case s.Mode != "legacy" && s.Mode != "shadow" && s.Legacy.systemStatus != s.Enhanced:
			return fmt.Errorf("legacy %+v, enhanced %+v", s.Legacy.systemStatus, s.Enhanced)
		}
		return nil
	})
	return s
}

// audit compares both stores with each other and with what clients were told.
// The clients must be paused. It reports whether all is well.
func (r *road) audit(t testing.TB, l *ledger) bool {
	t.Helper()
	r.settleMirror(t)
	legacy, enhanced := r.readLegacy(t), r.readEnhanced(t)
	bad := differences("the legacy store", legacy, "the enhanced store", enhanced)
	bad = append(bad, l.compare("the legacy store", legacy)...)
	bad = append(bad, l.compare("the enhanced store", enhanced)...)
	for _, line := range bad {
		t.Error(line)
	}
	return len(bad) == 0
}
