package state_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// set moves the migration of r to next and requires that it worked.
func (r *rules) set(next lockcluster.Migration) lockcluster.Migration {
	r.t.Helper()
	next.Legacy, next.Namespace = "redis", "default"
	res := r.do(lockcluster.SetMigration{ExpectedEpoch: state.GetMigration(r.mem.View()).Epoch, Next: next})
	if res.Status != lockcluster.StatusApplied {
		r.t.Fatalf("set migration: %s %s", res.Status, res.Text)
	}
	return state.GetMigration(r.mem.View())
}

func (r *rules) want(status lockcluster.Status, req lockcluster.Request) lockcluster.Result {
	r.t.Helper()
	before, _ := r.mem.Hashes()
	res := r.do(req)
	if res.Status != status {
		r.t.Fatalf("%T: %s %q, want %s", req, res.Status, res.Text, status)
	}
	if after, _ := r.mem.Hashes(); status == lockcluster.StatusNotActive && after != before {
		r.t.Fatalf("%T: not active, but the state has changed", req)
	}
	return res
}

// entry decides requests in one entry that is looked at from outside.
func (r *rules) entry(env state.Env, requests ...lockcluster.Request) (*state.Applier, []lockcluster.Result, []state.LeaseChange) {
	r.t.Helper()
	r.index++
	env.Index, env.Term = r.index, 1
	var a *state.Applier
	var results []lockcluster.Result
	var changes []state.LeaseChange
	r.mem.Update(r.index, 1, func(tx state.Tx) {
		a = state.Begin(tx, env)
		for _, req := range requests {
			results = append(results, a.Do(command.Command{Request: req}))
		}
		changes = a.End()
	})
	return a, results, changes
}

// TestGetMigration: without a record the enhanced system decides at the epoch
// of the tokens; every change raises the epoch and is stamped by the leader's
// clock, and so does a new token epoch.
func TestGetMigration(t *testing.T) {
	r := newRules(t)
	want := lockcluster.Migration{Epoch: 1, Mode: lockcluster.ModeEnhanced, Active: lockcluster.SystemEnhanced}
	if got := state.GetMigration(r.mem.View()); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("nothing was set: %+v", got)
	}
	now := time.UnixMilli(1_700_000_000_123).UTC()
	next := lockcluster.Migration{
		Epoch: 99, Mode: lockcluster.ModeLegacy, Legacy: "boltdb", LegacyHost: "n1", Namespace: "default", Percentage: 7,
		GradualEpoch: 99, Reason: "attach", Canary: []lockcluster.CanaryRule{{Workspace: "w"}}, GateClosed: true,
	}
	a, results, _ := r.entry(state.Env{Now: now}, lockcluster.SetMigration{ExpectedEpoch: 1, Next: next})
	if results[0].Status != lockcluster.StatusApplied || results[0].Token.Epoch != 2 {
		t.Fatalf("set: %+v", results[0])
	}
	want = next
	want.Epoch, want.Active, want.GradualEpoch, want.ChangedAt = 2, lockcluster.SystemLegacy, 0, now
	got := state.GetMigration(r.mem.View())
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if m, changed := a.MigrationChanged(); !changed || fmt.Sprint(m) != fmt.Sprint(want) {
		t.Errorf("told of %+v %v", m, changed)
	}
	r.want(lockcluster.StatusApplied, lockcluster.BumpEpoch{})
	if got := state.GetMigration(r.mem.View()); got.Epoch != 3 || got.Mode != lockcluster.ModeLegacy {
		t.Errorf("after a new token epoch: %+v", got)
	}
}

// TestSetMigrationConflicts: a change that was made for another epoch, or for
// an empty namespace that is not empty, changes nothing.
func TestSetMigrationConflicts(t *testing.T) {
	r := newRules(t)
	next := lockcluster.Migration{Mode: lockcluster.ModeLegacy, Legacy: "redis", Namespace: "default"}
	r.want(lockcluster.StatusConflict, lockcluster.SetMigration{ExpectedEpoch: 2, Next: next})
	for _, records := range []struct{ put, remove lockcluster.Request }{
		{acquire("default", "org/app", ".", "default", "", 1), lockcluster.ReleaseByPull{Namespace: "default", Repo: "org/app", Pull: 1}},
		{lockcluster.LockCommand{Namespace: "default", Name: "apply", Value: []byte("v")}, lockcluster.UnlockCommand{Namespace: "default", Name: "apply"}},
		{lockcluster.PutDocument{Namespace: "default", Key: "k"}, lockcluster.DeleteDocument{Namespace: "default", Key: "k"}},
	} {
		r.do(records.put)
		r.want(lockcluster.StatusConflict, lockcluster.SetMigration{ExpectedEpoch: 1, IfEmpty: true, Next: next})
		r.do(records.remove)
	}
	r.do(acquire("db1", "org/app", ".", "default", "", 1)) // of another namespace
	if got := state.GetMigration(r.mem.View()); got.Epoch != 1 || got.Mode != lockcluster.ModeEnhanced {
		t.Errorf("a conflict has changed it: %+v", got)
	}
	r.want(lockcluster.StatusApplied, lockcluster.SetMigration{ExpectedEpoch: 1, IfEmpty: true, Next: next})
}

// TestGradualKeepsItsBase: gradual mode begins at one epoch and has for base
// the system that decided before, until the mode ends.
func TestGradualKeepsItsBase(t *testing.T) {
	r := newRules(t)
	r.set(lockcluster.Migration{Mode: lockcluster.ModeShadow})
	gradual := lockcluster.Migration{Mode: lockcluster.ModeGradual, Active: lockcluster.SystemEnhanced, Legacy: "redis", Namespace: "default"}
	r.want(lockcluster.StatusInvalid, lockcluster.SetMigration{ExpectedEpoch: 2, Next: gradual})
	r.want(lockcluster.StatusInvalid, lockcluster.SetMigration{ExpectedEpoch: 2, IfEmpty: true, Next: gradual})
	gradual.Active = lockcluster.SystemLegacy
	if m := r.set(gradual); m.Epoch != 3 || m.GradualEpoch != 3 {
		t.Fatalf("began at %+v", m)
	}
	gradual.Percentage = 50
	if m := r.set(gradual); m.Epoch != 4 || m.GradualEpoch != 3 {
		t.Errorf("went on at %+v", m)
	}
	gradual.Active = lockcluster.SystemEnhanced
	r.want(lockcluster.StatusInvalid, lockcluster.SetMigration{ExpectedEpoch: 4, Next: gradual})
	if m := r.set(lockcluster.Migration{Mode: lockcluster.ModeBlueGreen, Active: lockcluster.SystemEnhanced}); m.GradualEpoch != 0 {
		t.Errorf("ended at %+v", m)
	}
	if m := r.set(gradual); m.GradualEpoch != m.Epoch {
		t.Errorf("began again at %+v", m)
	}
	fresh := newRules(t)
	gradual.Active = lockcluster.SystemLegacy
	fresh.want(lockcluster.StatusInvalid, lockcluster.SetMigration{ExpectedEpoch: 1, Next: gradual})
	fresh.want(lockcluster.StatusApplied, lockcluster.SetMigration{ExpectedEpoch: 1, IfEmpty: true, Next: gradual})
}

// TestWhoDecides: a request of the covered namespace is decided only where the
// enhanced system decides all of it and the gate is open; one of another
// namespace always; the cluster's own requests too.
func TestWhoDecides(t *testing.T) {
	plain := func(ns string) []lockcluster.Request {
		return []lockcluster.Request{
			acquire(ns, "org/app", ".", "default", "", 1),
			lockcluster.Release{Namespace: ns, Text: "org/app/./default/"},
			lockcluster.ReleaseByPull{Namespace: ns, Repo: "org/app", Pull: 1},
			lockcluster.LockCommand{Namespace: ns, Name: "apply", Value: []byte("v")},
			lockcluster.UnlockCommand{Namespace: ns, Name: "apply"},
			lockcluster.PutDocument{Namespace: ns, Key: "k"},
			lockcluster.SetTTL{Namespace: ns, Key: "k"},
			lockcluster.DeleteDocument{Namespace: ns, Key: "k"},
			lockcluster.Txn{Namespace: ns},
			lockcluster.Import{Namespace: ns},
			lockcluster.Txn{Namespace: "other", Requests: []lockcluster.Request{lockcluster.PutDocument{Namespace: ns, Key: "k"}}},
		}
	}
	for _, c := range []struct {
		next    lockcluster.Migration
		decides bool
	}{
		{lockcluster.Migration{Mode: lockcluster.ModeEnhanced}, true},
		{lockcluster.Migration{Mode: lockcluster.ModeEnhanced, GateClosed: true}, false},
		{lockcluster.Migration{Mode: lockcluster.ModeLegacy}, false},
		{lockcluster.Migration{Mode: lockcluster.ModeShadow}, false},
		{lockcluster.Migration{Mode: lockcluster.ModeGradual, Active: lockcluster.SystemEnhanced}, false},
		{lockcluster.Migration{Mode: lockcluster.ModeBlueGreen, Active: lockcluster.SystemEnhanced}, true},
		{lockcluster.Migration{Mode: lockcluster.ModeBlueGreen, Active: lockcluster.SystemEnhanced, GateClosed: true}, false},
		{lockcluster.Migration{Mode: lockcluster.ModeBlueGreen, Active: lockcluster.SystemLegacy}, false},
	} {
		t.Run(fmt.Sprintf("%s %s gate closed %v", c.next.Mode, c.next.Active, c.next.GateClosed), func(t *testing.T) {
			r := newRules(t)
			r.set(c.next)
			for _, req := range plain("default") {
				if res := r.do(req); (res.Status != lockcluster.StatusNotActive) != c.decides || !c.decides && res.Text == "" {
					t.Errorf("%T: %s %q", req, res.Status, res.Text)
				}
			}
			for _, req := range append(plain("db1"), lockcluster.BumpEpoch{}, lockcluster.Checkpoint{}, lockcluster.RegisterNode{NodeID: "n"},
				lockcluster.SetConfig{}) {
				if res := r.do(req); res.Status == lockcluster.StatusNotActive || res.Status == lockcluster.StatusInvalid {
					t.Errorf("%T: %s %q", req, res.Status, res.Text)
				}
			}
			r.set(lockcluster.Migration{Mode: lockcluster.ModeLegacy})
		})
	}
}

// TestNotActiveIsNotRemembered: a request that another system was to decide is
// judged anew under the same id; one that was decided keeps its answer.
func TestNotActiveIsNotRemembered(t *testing.T) {
	r := newRules(t)
	id := func(n uint64) lockcluster.RequestID {
		return lockcluster.RequestID{ClientID: "c", Sequence: n, AckedBelow: n}
	}
	first := r.doAs(id(40), acquire("default", "org/app", ".", "default", "", 1))
	closed := lockcluster.Migration{Mode: lockcluster.ModeBlueGreen, Active: lockcluster.SystemEnhanced, GateClosed: true}
	r.set(closed)
	next := acquire("default", "org/app", ".", "default", "p", 1)
	if res := r.doAs(id(80), next); res.Status != lockcluster.StatusNotActive || res.Index != r.index {
		t.Fatalf("while the gate is closed: %+v", res)
	}
	if again := r.doAs(id(40), acquire("default", "org/app", ".", "default", "", 1)); again.Status != lockcluster.StatusGranted || again.Index != first.Index {
		t.Errorf("the old answer was acknowledged by it: %+v", again)
	}
	closed.GateClosed = false
	r.set(closed)
	if res := r.doAs(id(80), next); res.Status != lockcluster.StatusGranted {
		t.Errorf("judged anew: %s", res.Status)
	}
}

// TestLeasesWaitForTheEnhancedSystem: while another system decides or the gate
// is closed no lease ends; when the enhanced system decides again every lease
// of the namespace is told to the timers in full, under the epoch that it has.
func TestLeasesWaitForTheEnhancedSystem(t *testing.T) {
	r := newRules(t)
	leased := acquire("default", "org/app", ".", "default", "", 0)
	leased.Owner, leased.TTL = lockcluster.Owner{ID: "x"}, time.Minute
	lock := r.want(lockcluster.StatusGranted, leased).Lock
	r.do(lockcluster.PutDocument{Namespace: "default", Key: "k", TTL: time.Hour})
	r.do(lockcluster.PutDocument{Namespace: "db1", Key: "k", TTL: time.Hour})
	expire := lockcluster.Expire{Namespace: "default", Space: lockcluster.SpaceLock, Key: leased.Key.Text(), LeaseEpoch: lock.LeaseEpoch, Term: 1}
	green := lockcluster.Migration{Mode: lockcluster.ModeBlueGreen, Active: lockcluster.SystemEnhanced, Legacy: "redis", Namespace: "default"}
	blue, closed := green, green
	blue.Active, closed.GateClosed = lockcluster.SystemLegacy, true
	step := func(next lockcluster.Migration, armed int) {
		t.Helper()
		epoch := state.GetMigration(r.mem.View()).Epoch
		_, results, changes := r.entry(state.Env{}, lockcluster.SetMigration{ExpectedEpoch: epoch, Next: next})
		if results[0].Status != lockcluster.StatusApplied || len(changes) != armed {
			t.Fatalf("to %s, gate closed %v: %s, %d leases armed, want %d", next.Active, next.GateClosed, results[0].Status, len(changes), armed)
		}
		for _, c := range changes {
			if !c.Armed || c.Namespace != "default" || c.Epoch == 0 || c.Space == lockcluster.SpaceLock && c.Lease != (state.Lease{
				Namespace: "default", Space: lockcluster.SpaceLock, Key: leased.Key.Text(), TTL: time.Minute, Epoch: lock.LeaseEpoch,
			}) {
				t.Errorf("armed %+v", c)
			}
		}
	}
	step(green, 0) // it decided before, too
	step(closed, 0)
	r.want(lockcluster.StatusIgnored, expire)
	step(green, 2)
	step(blue, 0)
	r.want(lockcluster.StatusIgnored, expire)
	gradual := blue
	gradual.Mode = lockcluster.ModeGradual
	step(gradual, 2)
	r.want(lockcluster.StatusIgnored, expire) // its home is the legacy system
	step(blue, 0)
	step(closed, 0)
	step(green, 2)
	gradual.Active = lockcluster.SystemEnhanced
	step(gradual, 0)
	r.want(lockcluster.StatusExpired, expire)
}

// TestSettings: settings are changed all or none, an empty value takes one
// away, and their number is bounded.
func TestSettings(t *testing.T) {
	r := newRules(t)
	r.want(lockcluster.StatusApplied, lockcluster.SetConfig{Settings: []lockcluster.Setting{{Name: "b", Value: "1"}, {Name: "a", Value: "2"}}})
	r.want(lockcluster.StatusApplied, lockcluster.SetConfig{Settings: []lockcluster.Setting{{Name: "b"}, {Name: "none"}, {Name: "c", Value: "3"}}})
	if got := fmt.Sprint(state.Settings(r.mem.View())); got != "[{a 2} {c 3}]" {
		t.Errorf("settings %s", got)
	}
	if a, b := state.GetSetting(r.mem.View(), "a"), state.GetSetting(r.mem.View(), "b"); a != "2" || b != "" {
		t.Errorf("a is %q, b is %q", a, b)
	}
	var all []lockcluster.Setting
	for i := range 200 {
		all = append(all, lockcluster.Setting{Name: fmt.Sprint(i), Value: "v"})
	}
	for batch := range 4 {
		for i := range all {
			all[i].Name = fmt.Sprint(batch*200 + i)
		}
		r.want(lockcluster.StatusApplied, lockcluster.SetConfig{Settings: all})
	}
	for i := range all {
		all[i].Name = "more" + fmt.Sprint(i)
	}
	before, _ := r.mem.Hashes()
	r.want(lockcluster.StatusInvalid, lockcluster.SetConfig{Settings: all})
	if after, _ := r.mem.Hashes(); after != before {
		t.Error("too many settings have changed the state")
	}
	r.want(lockcluster.StatusApplied, lockcluster.SetConfig{Settings: all[:198]})
}
