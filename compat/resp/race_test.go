package resp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// tryLock is what Atlantis does: GET, and SET when there is nothing.
func tryLock(ctx context.Context, c redis.Cmdable, key, value string) (granted bool, holder string, err error) {
	holder, err = c.Get(ctx, key).Result()
	if !errors.Is(err, redis.Nil) {
		return false, holder, err
	}
	if err := c.Set(ctx, key, value, 0).Err(); err != nil {
		return false, "", err
	}
	return true, value, nil
}

// hearsay is a table as every door sees the leader's: not the door that sets
// tells it, but whoever applies the log.
type hearsay struct{ *IntentTable }

func (hearsay) Settle(string, string) {}

// shareIntents returns the leader's table for the doors of one system.
func shareIntents(sys *memorySystem) Intents {
	table := NewIntentTable(holds(sys), 0)
	sys.granted = func(ns string, n name) { table.Settle(ns, n.text()) }
	return hearsay{table}
}

// holds is the lookup that a node gives its table.
func holds(sys *memorySystem) func(ns, key string) bool {
	return func(ns, key string) (held bool) {
		n := nameOf([]byte(key))
		sys.mem.Read(func(r state.Reader, _ uint64) { held = state.Revision(r, ns, n.space, n.key) != 0 })
		return held
	}
}

// raceOutcome counts what contenders were told.
type raceOutcome struct{ doubleGrants, noGrant, toldHolder, toldError, toldWrong atomic.Int64 }

// race lets the clients take each key at the same moment.
func race(t *testing.T, clients []*redis.Client, keys int, keyOf func(i, who int) (key, value string)) *raceOutcome {
	t.Helper()
	out := &raceOutcome{}
	for i := range keys {
		var start, wg sync.WaitGroup
		start.Add(1)
		var grants atomic.Int64
		told := make([]string, len(clients))
		for who, c := range clients {
			key, value := keyOf(i, who)
			wg.Go(func() {
				start.Wait()
				granted, holder, err := tryLock(t.Context(), c, key, value)
				switch {
				case granted:
					grants.Add(1)
				case err != nil && strings.HasPrefix(err.Error(), "LOCKED "):
					out.toldError.Add(1)
				case err != nil:
					t.Errorf("contender %d of key %d: %v", who, i, err)
				default:
					told[who] = holder
				}
			})
		}
		start.Done()
		wg.Wait()
		switch grants.Load() {
		case 0:
			out.noGrant.Add(1)
		case 1:
		default:
			out.doubleGrants.Add(1)
		}
		key, _ := keyOf(i, 0)
		stored := clients[0].Get(t.Context(), key).Val()
		for _, h := range told {
			switch {
			case h == "":
			case h == stored:
				out.toldHolder.Add(1)
			default:
				out.toldWrong.Add(1)
			}
		}
	}
	return out
}

func (o *raceOutcome) check(t *testing.T, losers int64) {
	t.Helper()
	share := float64(o.toldHolder.Load()) / float64(losers)
	t.Logf("double grants %d, no grant %d, wrong holder %d; of %d losers %d were told the holder (%.2f %%), %d an error",
		o.doubleGrants.Load(), o.noGrant.Load(), o.toldWrong.Load(), losers, o.toldHolder.Load(), 100*share, o.toldError.Load())
	if o.doubleGrants.Load()+o.noGrant.Load()+o.toldWrong.Load() > 0 {
		t.Error("a key had not exactly one holder, or somebody was told a wrong one")
	}
	if share < 0.99 {
		t.Error("less than 99 % of the losers were told the holder")
	}
}

// Contenders for one lock on two nodes: exactly one wins, and the others see
// the holder.
func TestRaceForLocks(t *testing.T) {
	for _, c := range []struct{ contenders, keys int }{{2, 2000}, {8, 300}} {
		t.Run(fmt.Sprint(c.contenders), func(t *testing.T) {
			sys := newSystem(t)
			table := shareIntents(sys)
			doors := []*Server{
				mustOpen(t, sys, func(c *Config) { c.Intents = table }),
				mustOpen(t, sys, func(c *Config) { c.Intents = table }),
			}
			var clients []*redis.Client
			for i := range c.contenders {
				clients = append(clients, newClient(t, doors[i%2]))
			}
			out := race(t, clients, c.keys, func(i, who int) (string, string) {
				return testLock("acme/app", fmt.Sprintf("d%d", i), who+1)
			})
			out.check(t, int64((c.contenders-1)*c.keys))
		})
	}
}

// Contenders for a command lock: exactly one wins.
func TestRaceForCommandLocks(t *testing.T) {
	sys := newSystem(t)
	table := shareIntents(sys)
	clients := []*redis.Client{
		newClient(t, mustOpen(t, sys, func(c *Config) { c.Intents = table })),
		newClient(t, mustOpen(t, sys, func(c *Config) { c.Intents = table })),
	}
	const key = "global/apply/lock"
	for i := range 300 {
		out := race(t, clients, 1, func(_, who int) (string, string) {
			return key, fmt.Sprintf(`{"LockMetadata":{"UnixTime":%d},"CommandName":0}`, 1795403363+who+2*i)
		})
		if out.doubleGrants.Load()+out.noGrant.Load()+out.toldWrong.Load() > 0 {
			t.Fatal("the command lock had not exactly one holder")
		}
		if n, err := clients[0].Del(t.Context(), key).Result(); n != 1 || err != nil {
			t.Fatalf("del: %d, %v", n, err)
		}
	}
}

// A DEL deletes only what its sender's pool of connections has read last,
// whichever of them carried the GET: of two pull requests that unlock and lock
// one key in turns, none loses a lock to a late DEL, and none keeps one because
// of an old reading. A client that is no pool deletes plainly.
func TestDelOfWhatWasRead(t *testing.T) {
	sys := newSystem(t)
	c := newClient(t, mustOpen(t, sys))
	ctx := t.Context()
	conn, other := c.Conn(), c.Conn()
	defer conn.Close()
	defer other.Close()
	plain := redis.NewClient(&redis.Options{Addr: c.Options().Addr, DisableIdentity: true})
	defer plain.Close()
	for i := range 500 {
		key, first := testLock("acme/app", fmt.Sprintf("d%d", i), 1)
		_, second := testLock("acme/app", fmt.Sprintf("d%d", i), 2)
		if err := conn.Set(ctx, key, first, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if err := conn.Get(ctx, key).Err(); err != nil {
			t.Fatal(err)
		}
		// Another process releases it, and pull 2 takes it.
		sys.mustDo(t, lockcluster.Release{Namespace: "default", Text: key[3:]})
		acquire, err := compat.AcquireFromValue("default", []byte(second))
		if err != nil {
			t.Fatal(err)
		}
		sys.mustDo(t, acquire)
		if n := conn.Del(ctx, key).Val(); n != 0 {
			t.Fatal("a lock was deleted that its sender had not read")
		}
		if got := plain.Get(ctx, key).Val(); got != second {
			t.Fatalf("pull 2 lost its lock: %q", got)
		}
		if n := conn.Del(ctx, key).Val(); n != 0 {
			t.Fatal("a repeated DEL counted")
		}
		if i%2 == 0 {
			if n := other.Get(ctx, key).Err(); n != nil {
				t.Fatal(n)
			}
			if n := conn.Del(ctx, key).Val(); n != 1 {
				t.Fatal("an old reading of the connection kept what its pool has read")
			}
		} else if n := plain.Do(ctx, "del", key).Val(); n != int64(1) {
			t.Fatalf("a plain DEL counted %v", n)
		}
	}
}
