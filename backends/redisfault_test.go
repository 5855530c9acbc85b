package backends_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// cutter is a TCP proxy before a Redis that breaks some connections: those in
// which a script is on its way.
type cutter struct {
	addr, target string
	rnd          func() float64
	// How many of a hundred scripts lose their way there, or their answer.
	before, after atomic.Int64
	cuts          atomic.Int64
}

func startCutter(t testing.TB, target string, rnd *rand.Rand) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	c := &cutter{addr: l.Addr().String(), target: target, rnd: func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return 100 * rnd.Float64()
	}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { c.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return c
}

func (c *cutter) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", c.target)
	if err != nil {
		return
	}
	defer server.Close()
	var mute atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil || mute.Load() {
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 1<<20)
	for {
		n, err := client.Read(buf)
		if err != nil {
			break
		}
		if bytes.Contains(bytes.ToLower(buf[:n]), []byte("evalsha")) {
			if c.rnd() < float64(c.before.Load()) {
				c.cuts.Add(1)
				break
			}
			if c.rnd() < float64(c.after.Load()) {
				c.cuts.Add(1)
				mute.Store(true)
			}
		}
		if _, err := server.Write(buf[:n]); err != nil {
			break
		}
	}
	_ = server.Close()
	<-done
}

func random(t testing.TB) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewPCG(uint64(testutil.Seed(t)), 1))
}

func lockKey(path string) lockcluster.Key {
	return lockcluster.Key{Namespace: lockcluster.DefaultNamespace, Repo: "org/app", Path: path, Workspace: "default"}
}

func acquirePull(k lockcluster.Key, pull int) lockcluster.Acquire {
	return lockcluster.Acquire{Key: k, Owner: lockcluster.Owner{Host: "github.com", Repo: k.Repo, Pull: pull}, User: "ann"}
}

// holderOf returns which pull holds k, 0 for none, as b reads it.
func holderOf(t testing.TB, b backends.Backend, k lockcluster.Key) (pull int) {
	t.Helper()
	err := b.Read(t.Context(), func(r state.Reader) {
		if l := state.GetLock(r, k.Namespace, k.Text()); l != nil {
			pull = l.Owner.Pull
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return pull
}

// Where connections break before and after scripts, every answer is still the
// right one: what was answered was done exactly once, what is said not to be
// done was not done, and only "unknown" leaves both open.
func TestRedisLostAnswers(t *testing.T) {
	s := plain(t)
	rnd := random(t)
	cut := startCutter(t, s.addr, rnd)
	cut.before.Store(25)
	cut.after.Store(25)
	b := mustOpen(t, backends.Options{Backend: "redis", URL: "redis://" + cut.addr, Timeout: 2 * time.Second})
	direct := mustOpen(t, backends.Options{Backend: "redis", URL: "redis://" + s.addr})
	f := backends.Fence{Term: 1}
	const keys, steps = 3, 400
	var held [keys]int
	unknown := 0
	for i := range steps {
		n, pull := rnd.IntN(keys), 1+rnd.IntN(3)
		k := lockKey(fmt.Sprintf("d%d", n))
		var req lockcluster.Request = acquirePull(k, pull)
		want, next := lockcluster.StatusHeld, held[n]
		release := rnd.IntN(2) == 0
		switch {
		case release && held[n] == 0:
			want = lockcluster.StatusNotFound
		case release:
			want, next = lockcluster.StatusReleased, 0
		case held[n] == 0:
			want, next = lockcluster.StatusGranted, pull
		case held[n] == pull:
			want = lockcluster.StatusAlreadyHeld
		}
		if release {
			req = lockcluster.Release{Namespace: k.Namespace, Text: k.Text()}
		}
		res, err := b.Do(t.Context(), f, time.Now(), req)
		switch {
		case errors.Is(err, lockcluster.ErrOutcomeUnknown):
			unknown++
			// Whatever is still under way does not arrive behind this.
			testutil.WaitFor(t, 30*time.Second, func() error { return b.Raise(t.Context(), f) })
			got := holderOf(t, direct, k)
			if got != held[n] && got != next {
				t.Fatalf("step %d: pull %d holds it, want %d or %d", i, got, held[n], next)
			}
			held[n] = got
		case errors.Is(err, backends.ErrUnavailable):
			if got := holderOf(t, direct, k); got != held[n] {
				t.Fatalf("step %d: nothing was done, it says, and pull %d holds it instead of %d: %v", i, got, held[n], err)
			}
		case err != nil:
			t.Fatalf("step %d: %v", i, err)
		case res.Status != want:
			t.Fatalf("step %d: %T: %s, want %s", i, req, res.Status, want)
		default:
			held[n] = next
		}
	}
	if cut.cuts.Load() < steps/10 {
		t.Errorf("only %d connections were cut", cut.cuts.Load())
	}
	t.Logf("%d connections cut, %d of %d outcomes unknown", cut.cuts.Load(), unknown, steps)
}

// Two leaders take over from each other again and again while clients work and
// connections break: no lock ever has two holders, and the deposed leader
// changes nothing.
func TestRedisTakeover(t *testing.T) {
	s := plain(t)
	cut := startCutter(t, s.addr, random(t))
	cut.before.Store(2)
	cut.after.Store(2)
	var leaders [2]backends.Backend
	for i := range leaders {
		leaders[i] = mustOpen(t, backends.Options{Backend: "redis", URL: "redis://" + cut.addr, Timeout: time.Second})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	var term atomic.Uint64
	term.Store(1)
	var holders [3]atomic.Int64
	var grants, fenced atomic.Int64
	var wg sync.WaitGroup
	for c := range 16 {
		wg.Go(func() {
			for i := c; ctx.Err() == nil; i++ {
				n, now := i%len(holders), term.Load()
				b, f := leaders[now%2], backends.Fence{Term: now}
				k := lockKey(fmt.Sprintf("d%d", n))
				res, err := b.Do(t.Context(), f, time.Now(), acquirePull(k, c+1))
				switch {
				case errors.Is(err, backends.ErrFenced):
					fenced.Add(1)
				case err == nil && (res.Status == lockcluster.StatusGranted || res.Status == lockcluster.StatusAlreadyHeld):
					grants.Add(1)
					// Held already: by an earlier request whose outcome was unknown.
					if was := holders[n].Swap(int64(c + 1)); was != 0 && was != int64(c+1) {
						t.Errorf("%s is granted to pull %d while %d holds it", k.Text(), c+1, was)
					}
					letGo(t, leaders, &term, k, c+1, &holders[n])
				}
			}
		})
	}
	for ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond) // the pace of the takeovers; nothing is waited for
		next := term.Load() + 1
		if err := leaders[next%2].Raise(t.Context(), backends.Fence{Term: next}); err == nil {
			term.Store(next)
		}
	}
	wg.Wait()
	t.Logf("%d grants, %d refused by the fence, %d terms, %d cuts", grants.Load(), fenced.Load(), term.Load(), cut.cuts.Load())
	if grants.Load() < 100 || term.Load() < 5 {
		t.Error("too little happened")
	}
}

// letGo releases k, whoever leads, until it is certain.
func letGo(t *testing.T, leaders [2]backends.Backend, term *atomic.Uint64, k lockcluster.Key, pull int, holder *atomic.Int64) {
	holder.CompareAndSwap(int64(pull), 0) // from here on another may have it
	for {
		now := term.Load()
		res, err := leaders[now%2].Do(t.Context(), backends.Fence{Term: now}, time.Now(),
			lockcluster.Release{Namespace: k.Namespace, Text: k.Text(), Guard: lockcluster.Guard{Pull: pull}})
		if err == nil {
			if res.Status != lockcluster.StatusReleased && res.Status != lockcluster.StatusNotFound && res.Status != lockcluster.StatusNotHolder {
				t.Errorf("release: %s", res.Status)
			}
			return
		}
	}
}

// A commit that arrives after its sender has given up on it does nothing.
func TestRedisLateCommit(t *testing.T) {
	s := plain(t)
	raw := s.client()
	defer raw.Close()
	b := mustOpen(t, backends.Options{Backend: "redis", URL: "redis://" + s.addr})
	f := backends.Fence{Term: 1}
	for _, path := range []string{"a", "b"} {
		if _, err := b.Do(t.Context(), f, time.Now(), acquirePull(lockKey(path), 1)); err != nil {
			t.Fatal(err)
		}
		late := lockKey("late" + path)
		if err := backends.LateCommit(t.Context(), b, late.Text(), []byte("x")); err == nil {
			t.Error("the late commit was carried out, it says")
		}
		if n, err := raw.Exists(t.Context(), "pr/"+late.Text()).Result(); n != 0 || err != nil {
			t.Errorf("the late commit was carried out: %d, %v", n, err)
		}
	}
}
