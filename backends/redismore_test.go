package backends_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// A lock that somebody else takes in the Redis at the same moment, without
// asking us, has one holder: either they find it taken, or we do.
func TestRedisRaceWithWriter(t *testing.T) {
	s := plain(t)
	raw := s.client()
	defer raw.Close()
	b := mustOpen(t, backends.Options{Backend: "redis", URL: "redis://" + s.addr})
	ours, theirs := 0, 0
	for i := range 1000 {
		k := lockKey(fmt.Sprintf("d%d", i))
		value := compat.NewLockValue(lockcluster.Lock{Key: k, Owner: lockcluster.Owner{Host: "github.com", Repo: k.Repo, Pull: 2}, User: "bob", AcquiredAt: time.Now()})
		var wg sync.WaitGroup
		var set bool
		var setErr error
		wg.Go(func() { set, setErr = raw.SetNX(t.Context(), "pr/"+k.Text(), value, 0).Result() })
		res, err := b.Do(t.Context(), backends.Fence{Term: 1}, time.Now(), acquirePull(k, 1))
		wg.Wait()
		if err != nil || setErr != nil {
			t.Fatal(err, setErr)
		}
		won := res.Status == lockcluster.StatusGranted
		switch {
		case won == set:
			t.Fatalf("round %d: we have %s, they have it: %t", i, res.Status, set)
		case won:
			ours++
		case res.Lock.Owner.Pull != 2:
			t.Fatalf("round %d: told %s", i, res.Lock.Owner)
		default:
			theirs++
		}
	}
	t.Logf("%d rounds ours, %d theirs", ours, theirs)
}

// A Redis that stops answering is unavailable within the timeout; nothing is
// lost or done twice when it goes on.
func TestRedisPaused(t *testing.T) {
	s := plain(t)
	b := mustOpen(t, backends.Options{Backend: "redis", URL: "redis://" + s.addr, Timeout: 300 * time.Millisecond})
	f, k := backends.Fence{Term: 1}, lockKey("a")
	if _, err := b.Do(t.Context(), f, time.Now(), acquirePull(k, 1)); err != nil {
		t.Fatal(err)
	}
	s.pause(t)
	began := time.Now()
	for name, ask := range map[string]func() error{
		"do": func() error { _, err := b.Do(t.Context(), f, time.Now(), acquirePull(lockKey("b"), 1)); return err },
		"read": func() error {
			return b.Read(t.Context(), func(r state.Reader) { state.GetLock(r, k.Namespace, k.Text()) })
		},
		"view":  func() error { _, err := b.View(t.Context()); return err },
		"raise": func() error { return b.Raise(t.Context(), backends.Fence{Term: 2}) },
		"check": func() error { return b.Check(t.Context()) },
	} {
		if err := ask(); !errors.Is(err, backends.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
	}
	if d := time.Since(began); d > 15*time.Second {
		t.Errorf("it took %s to notice", d)
	}
	s.resume(t)
	f = backends.Fence{Term: 3} // whichever raise has arrived
	testutil.WaitFor(t, 10*time.Second, func() error { return b.Raise(t.Context(), f) })
	res, err := b.Do(t.Context(), f, time.Now(), acquirePull(lockKey("b"), 2))
	if err != nil || res.Status != lockcluster.StatusGranted {
		t.Errorf("after the pause: %s, %v", res.Status, err)
	}
	if got := holderOf(t, b, k); got != 1 {
		t.Errorf("pull %d holds the lock of pull 1", got)
	}
}

// A caller that does not wait long is told in time.
func TestRedisDeadline(t *testing.T) {
	s := plain(t)
	b := mustOpen(t, backends.Options{Backend: "redis", URL: "redis://" + s.addr, Timeout: 5 * time.Second})
	s.pause(t)
	defer s.resume(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := b.Do(ctx, backends.Fence{Term: 1}, time.Now(), acquirePull(lockKey("a"), 1))
	if !errors.Is(err, backends.ErrUnavailable) || time.Since(began) > 2*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

// After a failover to a replica that had everything, the locks are those that
// were answered, and the fence holds.
func TestRedisSentinelFailover(t *testing.T) {
	s := startSentinelSet(t)
	b := mustOpen(t, backends.Options{Backend: "redis", URL: "redis+sentinel://" + s.sentinel.addr + "/" + sentinelMaster, Timeout: time.Second})
	f := backends.Fence{Term: 5}
	res, err := b.Do(t.Context(), f, time.Now(), acquirePull(lockKey("a"), 1))
	if err != nil {
		t.Fatal(err)
	}
	raw := s.master.client()
	defer raw.Close()
	// Redis replicates after it has answered; what is lost by that is Redis's to
	// lose, so wait until nothing can be.
	testutil.WaitFor(t, 10*time.Second, func() error {
		n, err := raw.Wait(t.Context(), 1, time.Second).Result()
		if err == nil && n != 1 {
			err = errors.New("the replica lags behind")
		}
		return err
	})
	s.master.kill()
	testutil.WaitFor(t, 60*time.Second, func() error {
		_, err := b.Do(t.Context(), f, time.Now(), acquirePull(lockKey("b"), 2))
		return err
	})
	if got := holderOf(t, b, lockKey("a")); got != 1 {
		t.Errorf("pull %d holds the lock", got)
	}
	again, err := b.Do(t.Context(), f, time.Now(), acquirePull(lockKey("a"), 1))
	if err != nil || again.Status != lockcluster.StatusAlreadyHeld || again.Token != res.Token {
		t.Errorf("after the failover: %s with token %s, was %s, %v", again.Status, again.Token, res.Token, err)
	}
	other := mustOpen(t, backends.Options{Backend: "redis", URL: "redis+sentinel://" + s.sentinel.addr + "/" + sentinelMaster})
	if err := other.Raise(t.Context(), backends.Fence{Term: 4}); !errors.Is(err, backends.ErrFenced) {
		t.Errorf("a lower fence after the failover: %v", err)
	}
	if err := b.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// The namespace is that of the URL's database, and databases do not mix.
func TestRedisDatabases(t *testing.T) {
	s := plain(t)
	raw := redis.NewClient(&redis.Options{Addr: s.addr, DB: 3})
	defer raw.Close()
	b := mustOpen(t, backends.Options{Backend: "redis", URL: "redis://" + s.addr + "/3"})
	f, k := backends.Fence{Term: 1}, lockKey("a")
	if _, err := b.Do(t.Context(), f, time.Now(), acquirePull(k, 1)); !errors.Is(err, lockcluster.ErrInvalid) {
		t.Errorf("a request of another namespace: %v", err)
	}
	k.Namespace = "db3"
	if res, err := b.Do(t.Context(), f, time.Now(), acquirePull(k, 1)); err != nil || res.Status != lockcluster.StatusGranted {
		t.Fatalf("%s, %v", res.Status, err)
	}
	if n, err := raw.Exists(t.Context(), "pr/"+k.Text()).Result(); n != 1 || err != nil {
		t.Errorf("database 3 has %d such keys, %v", n, err)
	}
}

// Keys that are no strings, and keys of others, are left alone.
func TestRedisForeignKeys(t *testing.T) {
	s := plain(t)
	raw := s.client()
	defer raw.Close()
	ctx, f := t.Context(), backends.Fence{Term: 1}
	if err := errors.Join(raw.RPush(ctx, "queue", "x").Err(), raw.HSet(ctx, "pr/org/app/a/default/", "f", "v").Err()); err != nil {
		t.Fatal(err)
	}
	b := mustOpen(t, backends.Options{Backend: "redis", URL: "redis://" + s.addr})
	bad, err := b.(backends.Inspector).Unreadable(ctx)
	if err != nil || len(bad) != 2 || bad[0].Key != "queue" || bad[1].Key != "pr/org/app/a/default/" {
		t.Errorf("listed %+v, %v", bad, err)
	}
	for _, req := range []lockcluster.Request{
		acquirePull(lockKey("a"), 1), lockcluster.PutDocument{Namespace: lockcluster.DefaultNamespace, Key: "queue", Value: []byte("x")},
	} {
		if res, err := b.Do(ctx, f, time.Now(), req); err == nil && res.Status != lockcluster.StatusInvalid || err != nil && !errors.Is(err, backends.ErrUnavailable) {
			t.Errorf("%T: %s, %v", req, res.Status, err)
		}
	}
	if got := raw.Type(ctx, "queue").Val() + raw.Type(ctx, "pr/org/app/a/default/").Val(); got != "listhash" {
		t.Errorf("the keys are now %s", got)
	}
	if res, err := b.Do(ctx, f, time.Now(), acquirePull(lockKey("b"), 1)); err != nil || res.Status != lockcluster.StatusGranted {
		t.Errorf("another key: %s, %v", res.Status, err)
	}
}

// A Redis that throws keys away, or that is a replica, is no place for locks.
func TestRedisCheck(t *testing.T) {
	s := plain(t, "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
	host, port, _ := net.SplitHostPort(s.addr)
	replica := plain(t, "--replicaof", host+" "+port)
	for url, want := range map[string]string{s.addr: "noeviction", replica.addr: "name the master"} {
		b := mustOpen(t, backends.Options{Backend: "redis", URL: "redis://" + url})
		if err := b.Check(t.Context()); !errors.Is(err, backends.ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want a text with %q", err, want)
		}
	}
}

// No error shows the credentials of the address.
func TestRedisErrorsHideCredentials(t *testing.T) {
	s := plain(t, "--requirepass", "right")
	dead := testutil.FreeAddr(t)
	for _, url := range []string{
		"redis://user:CANARY@" + s.addr, "redis://:CANARY@" + s.addr, "redis://user:CANARY@" + dead, "rediss://user:CANARY@" + s.addr,
		"redis+cluster://user:CANARY@" + s.addr, "redis+sentinel://user:CANARY@" + s.addr + "/name",
		"redis://user:CANARY%zz@" + s.addr, "redis://user:CANARY@host:99999", "redis://user:CANARY@" + s.addr + "/x", "http://user:CANARY@" + s.addr,
		"redis://user:CANARY@a:1,b:2", "redis://user:CANARY@" + s.addr + "?cluster=CANARY", "user:CANARY@" + s.addr, "redis://user:CANARY@",
	} {
		err := func() error {
			b, err := backends.Open(t.Context(), backends.Options{Backend: "redis", URL: url, Timeout: 300 * time.Millisecond})
			if err != nil {
				return err
			}
			defer b.Close()
			_, doErr := b.Do(t.Context(), backends.Fence{Term: 1}, time.Now(), acquirePull(lockKey("a"), 1))
			return errors.Join(doErr, b.Check(t.Context()))
		}()
		if err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: %v", strings.ReplaceAll(url, "CANARY", "…"), err)
		}
	}
	b := mustOpen(t, backends.Options{Backend: "redis", URL: "redis://:right@" + s.addr})
	if err := b.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// A document cannot stand at a key that is a lock's, a command lock's or ours.
func TestRedisReservedKeys(t *testing.T) {
	s := plain(t)
	raw := s.client()
	defer raw.Close()
	b := mustOpen(t, backends.Options{Backend: "redis", URL: "redis://" + s.addr})
	f := backends.Fence{Term: 7}
	for _, key := range []string{"lockcluster:fence", "lockcluster:side", "lockcluster:x", "pr/org/app/a/default/", "global/apply/lock"} {
		for _, req := range []lockcluster.Request{
			lockcluster.PutDocument{Namespace: lockcluster.DefaultNamespace, Key: key, Value: []byte("x")},
			lockcluster.DeleteDocument{Namespace: lockcluster.DefaultNamespace, Key: key},
		} {
			if res, err := b.Do(t.Context(), f, time.Now(), req); err != nil || res.Status != lockcluster.StatusInvalid {
				t.Errorf("%T of %s: %s, %v", req, key, res.Status, err)
			}
		}
		err := b.Read(t.Context(), func(r state.Reader) {
			if d := state.GetDocument(r, lockcluster.DefaultNamespace, key); d != nil {
				t.Errorf("%s is read as a document", key)
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
	if got, err := raw.Get(t.Context(), "lockcluster:fence").Result(); err != nil || !strings.HasPrefix(got, "7 0 ") {
		t.Errorf("the fence is %q, %v", got, err)
	}
}

// Thousands of locks that only an Atlantis has written get their tokens once,
// and keep them under the next leader, while an Atlantis goes on.
func TestRedisAdopts(t *testing.T) {
	s := plain(t)
	raw := s.client()
	defer raw.Close()
	const n = 5000
	store := func(i, pull int) {
		k := lockKey(fmt.Sprintf("d%d", i))
		v := compat.NewLockValue(lockcluster.Lock{Key: k, Owner: lockcluster.Owner{Host: "github.com", Repo: k.Repo, Pull: pull}, User: "bob", AcquiredAt: time.Now()})
		if err := raw.Set(t.Context(), "pr/"+k.Text(), v, 0).Err(); err != nil {
			t.Error(err)
		}
	}
	for i := range n {
		store(i, i+1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			store(n+i%10, i+1)
		}
	})
	digestOf := func(term uint64) string {
		t.Helper()
		b := mustOpen(t, backends.Options{Backend: "redis", URL: "redis://" + s.addr})
		if err := b.Raise(t.Context(), backends.Fence{Term: term}); err != nil {
			t.Fatal(err)
		}
		view, err := b.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := state.CheckImage(view); err != nil {
			t.Fatal(err)
		}
		sum, count := state.ContentDigest(view, lockcluster.DefaultNamespace)
		return fmt.Sprintf("%x of %d", sum, count)
	}
	digestOf(1)
	cancel()
	wg.Wait()
	if a, b := digestOf(2), digestOf(3); a != b {
		t.Errorf("the second leader has %s, the third %s", a, b)
	}
}
