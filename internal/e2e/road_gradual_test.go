package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// homes returns which system decides about each held lock: as the command line
// shows it, which must be what the stored records say.
func (r *road) homes(t testing.TB) map[string]string {
	t.Helper()
	out, err := r.Run(t.Context(), "locks", "list", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var locks []struct{ Key, System string }
	if err := json.Unmarshal(out, &locks); err != nil {
		t.Fatal(err)
	}
	view := r.view(t)
	m := state.GetMigration(view)
	homes := map[string]string{}
	for _, l := range locks {
		homes[compat.LockKeyPrefix+l.Key] = l.System
		stored := state.GetLock(view, lockcluster.DefaultNamespace, l.Key)
		if stored == nil {
			t.Errorf("%s is listed and the enhanced system has neither original nor copy", l.Key)
		} else if home := m.HomeOf(stored.Home).String(); m.Mode == lockcluster.ModeGradual && home != l.System {
			t.Errorf("%s is shown in the %s system; its record says %s", l.Key, l.System, home)
		}
	}
	return homes
}

// V18: the share goes 0 -> 10 -> 50 -> 100 -> 0 while locks are held and
// clients are busy: nothing is held twice, both stores agree, and the system of
// a held lock stays until it is released.
func TestV18GradualPercentages(t *testing.T) {
	held := times(t, "LOCKCLUSTER_GRADUAL_LOCKS", 60)
	onBoth(t, func(t *testing.T, kind string) {
		seed := uint64(testutil.Seed(t))
		r := startRoad(t, kind, "")
		f := startFleet(t, r, 16, seed)
		f.hold(t, held)
		owner := f.client(100, seed)
		known := map[string]string{} // of every lock that stays held
		counts := map[string]int{}
		for step, percentage := range []int{0, 10, 50, 100, 0} {
			r.mode(t, "gradual", "--percentage", strconv.Itoa(percentage))
			// More locks, held from here on.
			f.paused(func() {
				for i := range held {
					key, value := lockRecord(fmt.Sprintf("acme/step-%d", step), fmt.Sprintf("d%d", i), owner.pull)
					if !owner.take(t.Context(), key, value, owner.me()) {
						t.Errorf("%s was refused", key)
					}
				}
			})
			now := f.done()
			testutil.WaitFor(t, answerIn, func() bool { return f.done() > now+200 })
			f.paused(func() {
				if !r.audit(t, f.ledger) {
					t.Fatalf("at %d %%", percentage)
				}
				homes, enhanced := r.homes(t), 0
				for key, before := range known {
					if homes[key] != before {
						t.Errorf("at %d %%: %s is held since before and went from the %s to the %s system", percentage, key, before, homes[key])
					}
				}
				for key := range f.fixed {
					if home := homes[key]; home != "" {
						known[key] = home
					}
				}
				for i := range held {
					key, _ := lockRecord(fmt.Sprintf("acme/step-%d", step), fmt.Sprintf("d%d", i), owner.pull)
					if known[key] = homes[key]; homes[key] == "enhanced" {
						enhanced++
					}
				}
				counts[fmt.Sprintf("step %d, %d %%", step+1, percentage)] = enhanced
				if percentage == 0 && enhanced > 0 || percentage == 100 && enhanced < held || percentage == 50 && (enhanced == 0 || enhanced == held) {
					t.Errorf("at %d %% %d of %d new locks went to the enhanced system", percentage, enhanced, held)
				}
			})
		}
		// Released and taken again, a lock goes where the share sends it now.
		key, value := lockRecord("acme/step-3", "d0", owner.pull)
		owner.unlock(t.Context(), key, owner.me())
		if !owner.take(t.Context(), key, value, owner.me()) {
			t.Errorf("%s was refused", key)
		}
		f.close()
		if home := r.homes(t)[key]; known[key] != "enhanced" || home != "legacy" {
			t.Errorf("%s went from the %s to the %s system when it was free", key, known[key], home)
		}
		f.report(t, false)
		r.audit(t, f.ledger)
		r.switchTo(t, "legacy") // and out of the mode
		r.audit(t, f.ledger)
		t.Logf("%s: new locks in the enhanced system, of %d at each step: %v; %d held locks stayed where they were", kind, held, counts, len(known))
	})
}

// A canary rule by user group, and users of two groups who race for one key:
// never two holders, in whichever system the winner's lock is.
func TestGradualCanaryRace(t *testing.T) {
	keys := times(t, "LOCKCLUSTER_GRADUAL_RACES", 40)
	onBoth(t, func(t *testing.T, kind string) {
		seed := uint64(testutil.Seed(t))
		r := startRoad(t, kind, "")
		f := startFleet(t, r, crashClients, seed)
		r.mode(t, "gradual", "--percentage", "0", "--canary", "[{user-group: platform}]")
		canary, plain := f.client(101, seed), f.client(102, seed)
		won := map[string]int{}
		homes := map[string]string{}
		for i := range keys {
			path := fmt.Sprintf("d%d", i)
			var wg sync.WaitGroup
			var got [2]bool
			for n, one := range []*atlantis{canary, plain} {
				wg.Go(func() { got[n] = one.takeAs(t.Context(), path, [][]string{{"platform"}, {"network"}}[n]) })
			}
			wg.Wait()
			if got[0] == got[1] {
				t.Fatalf("%s: the canary user got it: %v, the other one: %v", path, got[0], got[1])
			}
			winner, loser, teams := canary, plain, []string{"network"}
			if got[1] {
				winner, loser, teams = plain, canary, []string{"platform"}
			}
			// Held is held, whatever the group of who asks.
			if loser.takeAs(t.Context(), path, teams) {
				t.Errorf("%s has two holders", path)
			}
			key, _ := lockRecord("acme/canary", path, 1)
			won[winner.me()]++
			homes[key] = map[bool]string{true: "enhanced", false: "legacy"}[winner == canary]
			if i%2 == 0 { // half of them change hands
				winner.unlockIfOwned(t.Context(), key)
				if !loser.takeAs(t.Context(), path, teams) {
					t.Errorf("%s was free and refused", path)
				}
				homes[key] = map[bool]string{true: "enhanced", false: "legacy"}[loser == canary]
			}
		}
		f.paused(func() {
			r.audit(t, f.ledger)
			now := r.homes(t)
			for key, want := range homes {
				if now[key] != want {
					t.Errorf("%s is in the %s system, want %s", key, now[key], want)
				}
			}
		})
		f.close()
		f.report(t, false)
		t.Logf("%s: %d races; winners %v", kind, keys, won)
	})
}

// takeAs is TryLock by a user of groups, with nobody's GET before: both SETs
// are under way at one moment.
func (a *atlantis) takeAs(ctx context.Context, path string, teams []string) bool {
	key, value := lockRecord("acme/canary", path, a.pull, teams...)
	err := a.door.Set(ctx, key, value, 0).Err()
	if !a.ended("set "+key, err) {
		a.f.unanswered(key, a.me())
		return false
	}
	if err != nil {
		return false
	}
	a.f.granted(key, a.me())
	return true
}

// V19: at 50 %, two pull requests for one project are sent to the same system.
func TestV19TwoPullsOneProject(t *testing.T) {
	const keys = 24
	onBoth(t, func(t *testing.T, kind string) {
		seed := uint64(testutil.Seed(t))
		r := startRoad(t, kind, "")
		f := startFleet(t, r, 0, seed)
		r.mode(t, "gradual", "--percentage", "50")
		pulls := []*atlantis{f.client(0, seed), f.client(1, seed)}
		var homes []map[string]string
		for _, one := range pulls {
			for i := range keys {
				if !one.takeAs(t.Context(), fmt.Sprintf("d%d", i), nil) {
					t.Errorf("d%d was refused to %s", i, one.me())
				}
			}
			homes = append(homes, r.homes(t))
			for i := range keys {
				key, _ := lockRecord("acme/canary", fmt.Sprintf("d%d", i), one.pull)
				one.unlockIfOwned(t.Context(), key)
			}
		}
		counts := map[string]int{}
		for key, home := range homes[0] {
			counts[home]++
			if homes[1][key] != home {
				t.Errorf("%s: the first pull's lock went to the %s system, the second's to the %s one", key, home, homes[1][key])
			}
		}
		if counts["enhanced"] == 0 || counts["legacy"] == 0 || len(homes[0]) != keys || len(homes[1]) != keys {
			t.Errorf("%v, %d and %d locks", counts, len(homes[0]), len(homes[1]))
		}
		f.report(t, false)
	})
}
