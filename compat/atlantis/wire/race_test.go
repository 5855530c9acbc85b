package wire

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/runatlantis/atlantis/server/core/redis"
)

// raceKeys is how many keys the largest race has; the others have a tenth.
func raceKeys(t *testing.T) int {
	t.Helper()
	s := os.Getenv("LOCKCLUSTER_RACE_KEYS")
	if s == "" {
		return 2000
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 10 {
		t.Fatalf("LOCKCLUSTER_RACE_KEYS=%q: want a number of at least 10", s)
	}
	return n
}

// inFlight is how many contenders of one process are under way at the same
// time. It is below the ten connections for each processor that go-redis has:
// contenders that wait for a connection do not race.
const inFlight = 8

// tally is what came of one kind of race.
type tally struct {
	mu                                          sync.Mutex
	keys, double, none, wrong, lost, told, errs int
	firstErr                                    string
}

func (ta *tally) String() string {
	return fmt.Sprintf("%d keys: %d double grants, %d granted to nobody, %d wrong holder told, %d locks lost; losers: %d told the holder, %d got an error (%.2f %% told)",
		ta.keys, ta.double, ta.none, ta.wrong, ta.lost, ta.told, ta.errs, 100*float64(ta.told)/float64(max(1, ta.told+ta.errs)))
}

// mustBeSafe fails the test on anything that plain Redis does wrong.
func (ta *tally) mustBeSafe(t *testing.T) {
	t.Helper()
	t.Log(ta)
	if ta.double+ta.none+ta.wrong+ta.lost > 0 {
		t.Errorf("unsafe: %s", ta)
	}
	if ta.told < 99*(ta.told+ta.errs)/100 {
		t.Errorf("fewer than 99 %% of the losers were told the holder; first error: %s", ta.firstErr)
	}
}

// raceTryLock lets contenders try each key at the same moment, checks who won,
// and reads the lock back through another node.
func raceTryLock(t *testing.T, tg target, keys, contenders int) *tally {
	t.Helper()
	workers := []*worker{startWorker(t, tg.config(t, 0)), startWorker(t, tg.config(t, 1))}
	witness := startWorker(t, tg.config(t, 2))
	ta := &tally{keys: keys}
	forEach(keys, inFlight*2/contenders, func(k int) {
		repo, path := "acme/race", fmt.Sprintf("c%d/k%d", contenders, k)
		var reports []<-chan report
		for c := range contenders {
			reports = append(reports, workers[c%2].send(order{Op: "trylock", Repo: repo, Path: path, Pull: c + 1}))
		}
		ta.judge(reports, witness.call, order{Op: "get", Repo: repo, Path: path})
	})
	return ta
}

// judge collects what the contenders of one key were told.
func (ta *tally) judge(reports []<-chan report, ask func(order) report, get order) {
	var winners []int
	var losers []report
	for i, c := range reports {
		if rep := <-c; rep.Acquired {
			winners = append(winners, i+1)
		} else {
			losers = append(losers, rep)
		}
	}
	held := ask(get)
	ta.mu.Lock()
	defer ta.mu.Unlock()
	switch {
	case len(winners) > 1:
		ta.double++
		return
	case len(winners) == 0:
		ta.none++
		return
	}
	if held.Pull != winners[0] {
		ta.lost++
	}
	for _, l := range losers {
		switch {
		case l.Err != "":
			ta.errs++
			if ta.firstErr == "" {
				ta.firstErr = l.Err
			}
		case l.Pull != winners[0]:
			ta.wrong++
		default:
			ta.told++
		}
	}
}

// forEach calls f(0) to f(n-1), some at a time.
func forEach(n, atATime int, f func(k int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range atATime {
		wg.Go(func() {
			for k := range next {
				f(k)
			}
		})
	}
	for k := range n {
		next <- k
	}
	close(next)
	wg.Wait()
}

// Two Atlantis processes on two nodes that try one lock at the same moment
// never both get it; the loser is told the winner.
func TestRaceTryLock(t *testing.T) {
	tg := startCluster(t)
	t.Run("2 contenders", func(t *testing.T) { raceTryLock(t, tg, raceKeys(t), 2).mustBeSafe(t) })
	t.Run("8 contenders", func(t *testing.T) { raceTryLock(t, tg, raceKeys(t)/10, 8).mustBeSafe(t) })
	t.Run("LockCommand", func(t *testing.T) { raceLockCommand(t, tg, raceKeys(t)/10).mustBeSafe(t) })
	t.Run("stale unlock", func(t *testing.T) { raceUnlock(t, tg, raceKeys(t)/10).mustBeSafe(t) })
}

// The same races on plain Redis grant locks twice: the races do race, and this
// is what the cluster is for.
func TestRaceBaselineRedis(t *testing.T) {
	tg := startRedis(t)
	keys := raceKeys(t)
	for name, ta := range map[string]*tally{
		"2 contenders": raceTryLock(t, tg, keys, 2),
		"8 contenders": raceTryLock(t, tg, keys/10, 8),
		"LockCommand":  raceLockCommand(t, tg, keys/10),
		"stale unlock": raceUnlock(t, tg, keys/10),
	} {
		t.Logf("plain Redis, %s: %s (%.0f %% granted twice)", name, ta, 100*float64(ta.double)/float64(ta.keys))
		if name == "2 contenders" && ta.double*10 < ta.keys {
			t.Errorf("only %d of %d keys were granted twice: the race does not race", ta.double, ta.keys)
		}
	}
}

// raceLockCommand lets two processes take the global apply lock at the same
// moment, with different seconds in the record (within one second Atlantis
// writes equal bytes, which cannot be told from a retry).
func raceLockCommand(t *testing.T, tg target, rounds int) *tally {
	t.Helper()
	workers := []*worker{startWorker(t, tg.config(t, 0)), startWorker(t, tg.config(t, 1))}
	witness := startWorker(t, tg.config(t, 2))
	ta := &tally{keys: rounds}
	for round := range rounds { // there is one apply lock: one round at a time
		base := int64(1_700_000_000 + 10*round)
		a := workers[0].send(order{Op: "lockcommand", UnixTime: base})
		b := workers[1].send(order{Op: "lockcommand", UnixTime: base + 5})
		ra, rb := <-a, <-b
		held := witness.call(order{Op: "checkcommand"})
		switch {
		case ra.Acquired && rb.Acquired:
			ta.double++
		case !ra.Acquired && !rb.Acquired:
			ta.none++
		default:
			want, loser := base, rb
			if rb.Acquired {
				want, loser = base+5, ra
			}
			if held.Pull != int(want) {
				ta.lost++
			}
			ta.tell(loser)
		}
		if rep := witness.call(order{Op: "unlockcommand"}); rep.Err != "" && held.Acquired {
			ta.lost++
		}
	}
	return ta
}

// tell counts a LockCommand loser: Atlantis has no holder to show there, its
// ordinary answer is that the lock already exists.
func (ta *tally) tell(loser report) {
	if strings.Contains(loser.Err, "lock already exists") {
		ta.told++
		return
	}
	ta.errs++
	if ta.firstErr == "" {
		ta.firstErr = loser.Err
	}
}

// raceUnlock: pull 1 holds a lock. One process discards it, while the other
// discards it too and takes it for pull 2. Whatever the order, once pull 2 was
// granted only an unlock that returns pull 2's lock may have removed it.
func raceUnlock(t *testing.T, tg target, keys int) *tally {
	t.Helper()
	first, second := startWorker(t, tg.config(t, 0)), startWorker(t, tg.config(t, 1))
	witness := startWorker(t, tg.config(t, 2))
	ta := &tally{keys: keys}
	forEach(keys, inFlight, func(k int) {
		repo, path := "acme/stale", fmt.Sprintf("k%d", k)
		if rep := first.call(order{Op: "trylock", Repo: repo, Path: path, Pull: 1}); !rep.Acquired {
			ta.note(func() { ta.none++ })
			return
		}
		late := first.send(order{Op: "unlock", Repo: repo, Path: path})
		second.call(order{Op: "unlock", Repo: repo, Path: path})
		won := second.call(order{Op: "trylock", Repo: repo, Path: path, Pull: 2})
		removed := <-late
		held := witness.call(order{Op: "get", Repo: repo, Path: path})
		ta.note(func() {
			switch {
			case won.Acquired && removed.Pull != 2 && held.Pull != 2:
				ta.lost++
			case !won.Acquired && won.Err == "" && won.Pull != 1:
				ta.wrong++
			}
		})
	})
	return ta
}

func (ta *tally) note(f func()) {
	ta.mu.Lock()
	defer ta.mu.Unlock()
	f()
}

// Atlantis's cluster-mode client sees every lock in its List, and UnlockByPull
// frees exactly the locks of its own pull request: not those of a repository
// whose name begins alike. (On a real Redis Cluster, Atlantis v0.47.1 sees one
// shard.)
func TestClusterMode(t *testing.T) {
	tg := startCluster(t)
	w := startWorker(t, redis.Config{ClusterAddresses: tg.doors})
	const locks = 300
	for i := range locks {
		repo := []string{"org/app", "org/app-infra"}[i%2]
		if rep := w.call(order{Op: "trylock", Repo: repo, Path: fmt.Sprintf("d%d", i), Pull: 7 + i%3}); !rep.Acquired {
			t.Fatalf("lock %d: %+v", i, rep)
		}
	}
	listed := w.call(order{Op: "list"})
	if listed.Err != "" || len(listed.Pulls) != locks {
		t.Fatalf("List saw %d of %d locks: %s", len(listed.Pulls), locks, listed.Err)
	}
	freed := w.call(order{Op: "unlockbypull", Repo: "org/app", Pull: 7})
	if freed.Err != "" || len(freed.Pulls) != 50 || slices.ContainsFunc(freed.Repos, func(r string) bool { return r != "org/app" }) {
		t.Fatalf("UnlockByPull freed %d locks of %v: %s", len(freed.Pulls), slices.Compact(freed.Repos), freed.Err)
	}
	left := w.call(order{Op: "list"})
	if len(left.Pulls) != locks-50 {
		t.Fatalf("%d locks left, want %d", len(left.Pulls), locks-50)
	}
	t.Logf("List saw %d of %d; UnlockByPull(org/app, 7) freed %d, all of org/app; %d left", len(listed.Pulls), locks, len(freed.Pulls), len(left.Pulls))
}
