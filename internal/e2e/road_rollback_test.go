package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/internal/testutil"
	"github.com/lockcluster/lockcluster/rpc"
)

const (
	checkEvery = 200 * time.Millisecond // of the rollback controller, in these tests
	minSamples = 100
	// shortPatience is less than the leader's lease: a request that nobody can
	// commit gives up before its leader does.
	shortPatience = 120 * time.Millisecond
	// slotWidth is that of the figures: what happens in the slot of a switch is
	// not the new system's. Nothing tells when one ends.
	slotWidth  = 2 * time.Second
	rolledBack = "rolled back to the legacy system"
)

// V16, V17: 6 % failed operations over the minimum sample bring exactly one
// rollback, with one count, one event and every lock carried over; one failed
// operation of one brings none.
func TestAutomaticRollback(t *testing.T) {
	onBoth(t, func(t *testing.T, kind string) {
		r := startRoad(t, kind, "")
		r.set(t, map[string]string{
			"automatic-rollback": "true", "rollback-threshold": "0.05", "rollback-min-samples": fmt.Sprint(minSamples),
			"rollback-check-interval": checkEvery.String(), "rollback-window": "1m", "rollback-cooldown": "1m",
		})
		t.Run("V17 one error of one call", func(t *testing.T) {
			r.attempt(t, 0, 1, func() bool {
				r.watch(t, func(s migrationStatus) error {
					if s.Active != "enhanced" || r.rollbacks(t) > 0 {
						return fmt.Errorf("active %s, %d rollbacks", s.Active, r.rollbacks(t))
					}
					return nil
				})
				return true
			})
		})
		t.Run("V16 6 errors of 100 calls", func(t *testing.T) {
			var epoch uint64
			r.attempt(t, minSamples-6, 6, func() bool {
				for until := time.Now().Add(20 * time.Second); time.Now().Before(until); <-time.After(checkEvery) {
					s, err := r.migration(t.Context())
					if epoch = s.Epoch; err == nil && s.Active == "legacy" && r.rollbacks(t) == 1 {
						return true
					}
				}
				return false
			})
			// One incident, one rollback.
			r.watch(t, func(s migrationStatus) error {
				if s.Active != "legacy" || s.Epoch != epoch || r.rollbacks(t) != 1 {
					return fmt.Errorf("active %s, epoch %d, %d rollbacks", s.Active, s.Epoch, r.rollbacks(t))
				}
				return nil
			})
			s, events := r.settleMirror(t), 0
			for _, n := range r.All {
				events += n.logged(t, rolledBack)
			}
			last := s.Switches[len(s.Switches)-1]
			if events != 1 || !strings.Contains(last.Reason, "automatic rollback: 6 of 100 operations") || last.To != "blue-green legacy" {
				t.Errorf("%d events; the last switch was to %s: %s", events, last.To, last.Reason)
			}
			legacy, enhanced := r.readLegacy(t), r.readEnhanced(t)
			for _, d := range differences("the legacy store", legacy, "the enhanced store", enhanced) {
				t.Error(d)
			}
			if len(legacy) < minSamples-6 {
				t.Errorf("the legacy store has %d of %d locks", len(legacy), minSamples-6)
			}
			t.Logf("%s: %s; gate closed %.1f ms; %d locks in both stores", kind, last.Reason, last.GateClosedMS, len(legacy))
		})
	})
}

// set changes settings of the migration.
func (r *road) set(t testing.TB, settings map[string]string) {
	t.Helper()
	full := map[string]string{}
	for name, value := range settings {
		full["enhanced-locking.migration."+name] = value
	}
	if _, err := r.client.SetSettings(t.Context(), full, "test"); err != nil {
		t.Fatal(err)
	}
	// A node takes new settings over within half a second; a check follows.
	testutil.WaitFor(t, 10*time.Second, func() error {
		have, err := r.client.Settings(t.Context())
		for name, value := range full {
			if err == nil && have[name] != value {
				err = fmt.Errorf("%s is %q", name, have[name])
			}
		}
		return err
	})
}

// attempt switches to the enhanced system, has its leader decide good requests
// and fail bad ones, and then calls judge. A busy machine may elect another
// leader meanwhile, whose figures are others, or be so slow that the window has
// not all of it: then it begins again.
func (r *road) attempt(t *testing.T, good, bad int, judge func() bool) {
	t.Helper()
	for try := 1; ; try++ {
		if s := r.mustMigration(t); s.Active == "enhanced" {
			r.switchTo(t, "legacy") // every attempt is an incident of its own
			<-time.After(5 * checkEvery)
		}
		r.switchTo(t, "enhanced")
		<-time.After(slotWidth + 2*checkEvery)
		before, err := r.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		leader := r.Node(t, before.Leader)
		ok := r.load(t, leader, fmt.Sprintf("acme/%s-try-%d", strings.ToLower(t.Name()[strings.LastIndex(t.Name(), "/")+1:][:3]), try), good)
		ok = ok && r.fail(t, leader, bad)
		after, err := r.Status(t.Context())
		if err == nil && ok && after.Term == before.Term && judge() {
			return
		}
		if n := r.rollbacks(t); n > 0 {
			t.Fatalf("%d rollbacks, but not as it was meant", n)
		}
		if try == 8 {
			t.Fatalf("the leader changed in each of %d attempts, or not all requests went as meant", try)
		}
		r.WaitServing(t)
	}
}

// load makes n requests that succeed, at one node.
func (r *road) load(t *testing.T, n *Node, repo string, count int) bool {
	t.Helper()
	c := r.dial(t, n.GRPC)
	for i := range count {
		key := lockcluster.Key{Namespace: lockcluster.DefaultNamespace, Repo: repo, Path: fmt.Sprintf("d%d", i), Workspace: "default"}
		if res := r.ask(t, c, acquireRequest(key, 1)); res.Status != lockcluster.StatusGranted {
			return false
		}
	}
	return true
}

// fail makes count requests that the enhanced system cannot decide in time: its
// followers stand still meanwhile. It reports whether all failed.
func (r *road) fail(t *testing.T, leader *Node, count int) bool {
	t.Helper()
	c := r.dial(t, leader.GRPC)
	if _, _, err := c.GetLock(t.Context(), lockcluster.DefaultNamespace, "acme/a/b/c/"); err != nil { // connected
		t.Fatal(err)
	}
	for _, n := range r.All {
		if n != leader {
			n.Signal(syscall.SIGSTOP)
			defer n.Signal(syscall.SIGCONT)
		}
	}
	var wg sync.WaitGroup
	failed := make([]bool, count)
	for i := range count {
		wg.Go(func() { failed[i] = r.failsSoon(c, i) })
	}
	wg.Wait()
	for _, f := range failed {
		if !f {
			return false
		}
	}
	return true
}

// failsSoon makes one request and hangs up on it. (A deadline would be known to
// the node, which answers a moment before, so that the client asks twice.)
func (r *road) failsSoon(c *rpc.Client, i int) bool {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer time.AfterFunc(shortPatience, cancel).Stop()
	key := lockcluster.Key{Namespace: lockcluster.DefaultNamespace, Repo: "acme/late", Path: fmt.Sprintf("d%d", i), Workspace: "default"}
	_, err := c.Do(ctx, lockcluster.RequestID{}, acquireRequest(key, 1))
	return err != nil
}

// watch wants something to stay true for many checks of the rollback
// controller. That nothing happens can only be seen by waiting.
func (r *road) watch(t *testing.T, f func(s migrationStatus) error) {
	t.Helper()
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for range 12 {
		if err := f(r.mustMigration(t)); err != nil {
			t.Fatal(err)
		}
		<-tick.C
	}
}

// rollbacks returns how many rollbacks all nodes count.
func (r *road) rollbacks(t testing.TB) int {
	t.Helper()
	total := 0
	for _, n := range r.All {
		text := n.metrics(t)
		const name = "\natlantis_migration_rollbacks_total "
		i := strings.Index(text, name)
		if i < 0 {
			t.Fatalf("%s has no metric%s", n.ID, name)
		}
		var count float64
		if _, err := fmt.Sscan(text[i+len(name):], &count); err != nil {
			t.Fatal(err)
		}
		total += int(count)
	}
	return total
}

func (n *Node) metrics(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.HTTP+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
