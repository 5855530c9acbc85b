package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// onBoth runs a test with each legacy system, or with the one that
// LOCKCLUSTER_ROAD_LEGACY names.
func onBoth(t *testing.T, test func(t *testing.T, kind string)) {
	t.Helper()
	only := os.Getenv("LOCKCLUSTER_ROAD_LEGACY")
	for _, kind := range []string{kindBolt, kindRedis} {
		if only == "" || only == kind {
			t.Run(kind, func(t *testing.T) { test(t, kind) })
		}
	}
}

// Switches back and forth under 64 clients of the Redis doors grant nothing
// twice, lose and invent no lock, and fail no request: checked against what
// every client was told and, after every switch, against both stores.
// LOCKCLUSTER_SWITCHES says how many switches, LOCKCLUSTER_SWITCH_LOCKS how many
// locks are held meanwhile, LOCKCLUSTER_SWITCH_AUDIT after how many switches the
// stores are read.
func TestSwitchUnderLoad(t *testing.T) {
	switches, locks := times(t, "LOCKCLUSTER_SWITCHES", 6), times(t, "LOCKCLUSTER_SWITCH_LOCKS", 200)
	auditEvery := times(t, "LOCKCLUSTER_SWITCH_AUDIT", 1)
	onBoth(t, func(t *testing.T, kind string) {
		seed := uint64(testutil.Seed(t))
		r := startRoad(t, kind, "")
		f := startFleet(t, r, loadClients, seed)
		f.hold(t, locks)
		before := f.done()
		start := time.Now()
		var closed []time.Duration
		carried, read, again := 0, 0, 0
		for i := range switches {
			to := []string{"enhanced", "legacy"}[i%2]
			res, tries := r.switchAtLast(t, to)
			again += tries - 1
			if res.Epoch > 0 {
				closed = append(closed, time.Duration(res.GateClosedMS*float64(time.Millisecond)))
			}
			carried += res.Carried
			// Both systems are used between two switches.
			now := f.done()
			testutil.WaitFor(t, 30*time.Second, func() bool { return f.done() > now+loadClients })
			if (i+1)%auditEvery != 0 && i != switches-1 {
				continue
			}
			read++
			f.paused(func() {
				if !r.audit(t, f.ledger) {
					t.Fatalf("after switch %d, to %s", i+1, to)
				}
			})
		}
		f.close()
		f.report(t, false)
		t.Logf("%s: %d switches (%d given up for an election and repeated) with %d locks held and %d clients, %.0f requests a second; stores read %d times; "+
			"gate closed p50 %s, p99 %s, max %s; %d records carried with the gate closed",
			kind, switches, again, locks, loadClients, float64(f.done()-before)/time.Since(start).Seconds(), read,
			round(Percentile(closed, 50)), round(Percentile(closed, 99)), round(Percentile(closed, 100)), carried)
		// Speed is judged when it is measured, not whenever the tests run.
		if p99 := Percentile(closed, 99); p99 > gateTarget && os.Getenv("LOCKCLUSTER_SWITCHES") != "" {
			t.Errorf("the gate was closed for %s (p99), want at most %s", round(p99), gateTarget)
		}
	})
}

// switchAtLast switches, again if the leader changed in the middle of it: on a
// busy machine elections happen. The result is empty when that one has happened
// after all.
func (r *road) switchAtLast(t *testing.T, to string) (res lockcluster.SwitchResult, tries int) {
	t.Helper()
	for tries = 1; ; tries++ {
		before, _ := r.Status(t.Context())
		out, err := r.Run(t.Context(), "cluster", "switch", to, "-o", "json")
		if err == nil {
			if err := json.Unmarshal(out, &res); err != nil {
				t.Fatal(err)
			}
			return res, tries
		}
		testutil.WaitFor(t, 30*time.Second, func() error {
			m, err := r.migration(t.Context())
			if err == nil && (m.GateClosed || !m.Ready) {
				err = fmt.Errorf("gate closed %v, ready %v", m.GateClosed, m.Ready)
			}
			return err
		})
		if r.sameTerm(t, before.Term) || tries == 5 {
			t.Fatal(err)
		}
		if m := r.mustMigration(t); m.Active == to {
			return res, tries
		}
	}
}

// sameTerm reports whether the cluster is still in that term.
func (r *road) sameTerm(t testing.TB, term uint64) bool {
	t.Helper()
	s, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Term == term
}

// gateTarget is how long a switch may keep requests waiting, with 10,000 locks.
const gateTarget = time.Second

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// hold takes n locks that nobody releases, and waits until all are granted.
func (f *fleet) hold(t *testing.T, n int) {
	t.Helper()
	const atATime = 32
	var wg sync.WaitGroup
	next := make(chan int)
	for w := range atATime {
		wg.Go(func() {
			for i := range next {
				key, value := lockRecord(fmt.Sprintf("acme/held-%02d", i%50), fmt.Sprintf("d%d", i), 1+i)
				ctx, cancel := context.WithTimeout(t.Context(), answerIn)
				if err := f.doors[w%len(f.doors)].Set(ctx, key, value, 0).Err(); err != nil {
					t.Errorf("hold %s: %v", key, err)
				}
				cancel()
				f.note(key, value)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}
