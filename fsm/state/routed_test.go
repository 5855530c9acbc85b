package state_test

import (
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
)

var (
	atLegacy   = lockcluster.Home{System: lockcluster.SystemLegacy, Epoch: 2}
	atEnhanced = lockcluster.Home{System: lockcluster.SystemEnhanced, Epoch: 2}
)

// gradual is a state in gradual mode since epoch 2, whose records before were
// the legacy system's, with a lock, a command lock and a document of each home.
func gradual(t *testing.T) *rules {
	r := newRules(t)
	next := lockcluster.Migration{Mode: lockcluster.ModeGradual, Active: lockcluster.SystemLegacy, Legacy: "redis", Namespace: "default"}
	r.want(lockcluster.StatusApplied, lockcluster.SetMigration{ExpectedEpoch: 1, IfEmpty: true, Next: next})
	var m lockcluster.Mirror
	for i, home := range []lockcluster.Home{atLegacy, atEnhanced, {}, {System: lockcluster.SystemEnhanced, Epoch: 1}} {
		name := []string{"legacy", "enhanced", "base", "stale"}[i]
		token := lockcluster.Token{Epoch: 2, Counter: uint64(2*i + 1)}
		l := copied(name, 7, token)
		l.Home = home
		m.Locks = append(m.Locks, l)
		token.Counter++
		m.CommandLocks = append(m.CommandLocks, lockcluster.CommandLock{
			Namespace: "default", Name: name, LockedAt: copyTime, Token: token, Revision: 5, Home: home, Value: []byte("v"),
		})
		m.Documents = append(m.Documents, lockcluster.Document{Namespace: "default", Key: name, Value: []byte("v"), Revision: 6, Home: home})
	}
	m.Namespace, m.Epoch = "default", 2
	r.want(lockcluster.StatusApplied, m)
	return r
}

func routed(req lockcluster.Request) lockcluster.Routed {
	return lockcluster.Routed{Epoch: 2, GradualEpoch: 2, Base: lockcluster.SystemLegacy, Home: lockcluster.SystemEnhanced, Request: req}
}

// TestRoutedOnlyAtHome: each request is decided if the record that it names is
// at home here or not there; if it is the other system's, by its own mark or
// because it was there before the mode, nothing changes, also not when it
// stands in a transaction among others.
func TestRoutedOnlyAtHome(t *testing.T) {
	put := func(key string) lockcluster.Request {
		return lockcluster.PutDocument{Namespace: "default", Key: key, Value: []byte("w")}
	}
	kinds := map[string]func(name string) lockcluster.Request{
		"acquire": func(name string) lockcluster.Request { return acquire("default", "org/app", ".", "default", name, 7) },
		"release": func(name string) lockcluster.Request {
			return lockcluster.Release{Namespace: "default", Text: "org/app/./default/" + name}
		},
		"lock command": func(name string) lockcluster.Request {
			return lockcluster.LockCommand{Namespace: "default", Name: name, Value: []byte("v")}
		},
		"unlock command": func(name string) lockcluster.Request {
			return lockcluster.UnlockCommand{Namespace: "default", Name: name}
		},
		"put": put,
		"delete": func(name string) lockcluster.Request {
			return lockcluster.DeleteDocument{Namespace: "default", Key: name}
		},
		"set TTL": func(name string) lockcluster.Request {
			return lockcluster.SetTTL{Namespace: "default", Key: name, TTL: time.Hour}
		},
		"txn": func(name string) lockcluster.Request {
			return lockcluster.Txn{Namespace: "default", Requests: []lockcluster.Request{put("new"), put(name)}}
		},
	}
	for kind, req := range kinds {
		for name, active := range map[string]bool{"legacy": false, "base": false, "stale": false, "enhanced": true, "none": true} {
			r := gradual(t)
			before, _ := r.mem.Hashes()
			res := r.do(routed(req(name)))
			if (res.Status != lockcluster.StatusNotActive) != active || res.Status == lockcluster.StatusInvalid || res.Index != r.index {
				t.Errorf("%s of %s: %s %q", kind, name, res.Status, res.Text)
			}
			if after, _ := r.mem.Hashes(); !active && after != before {
				t.Errorf("%s of %s: the state has changed", kind, name)
			}
		}
	}
}

// TestRoutedHomes: a record that a routed request makes is at home here, also
// one of a transaction; one that it changes keeps its home, and so does a
// document that is put over another.
func TestRoutedHomes(t *testing.T) {
	r := gradual(t)
	leased := acquire("default", "org/app", ".", "default", "new", 0)
	leased.Owner, leased.TTL = lockcluster.Owner{ID: "x"}, time.Minute
	lock := r.want(lockcluster.StatusGranted, routed(leased)).Lock
	if renewed := r.want(lockcluster.StatusAlreadyHeld, routed(leased)).Lock; lock.Home != atEnhanced || renewed.Home != atEnhanced {
		t.Errorf("granted at %+v, renewed at %+v", lock.Home, renewed.Home)
	}
	put := lockcluster.PutDocument{Namespace: "default", Key: "doc", TTL: time.Minute}
	r.want(lockcluster.StatusApplied, routed(lockcluster.Txn{Namespace: "default", Requests: []lockcluster.Request{
		lockcluster.LockCommand{Namespace: "default", Name: "new", Value: []byte("v")},
		put, put,
		lockcluster.SetTTL{Namespace: "default", Key: "enhanced", TTL: time.Hour},
	}}))
	view := r.mem.View()
	for what, home := range map[string]lockcluster.Home{
		"command lock": state.GetCommandLock(view, "default", "new").Home, "document": state.GetDocument(view, "default", "doc").Home,
		"changed document": state.GetDocument(view, "default", "enhanced").Home,
	} {
		if home != atEnhanced {
			t.Errorf("%s at %+v", what, home)
		}
	}
	for status, key := range map[lockcluster.Status]string{lockcluster.StatusExpired: leased.Key.Text(), lockcluster.StatusIgnored: "org/app/./default/legacy"} {
		epoch := uint64(1)
		if l := state.GetLock(view, "default", key); l.TTL > 0 {
			epoch = l.LeaseEpoch
		}
		r.want(status, lockcluster.Expire{Namespace: "default", Space: lockcluster.SpaceLock, Key: key, LeaseEpoch: epoch, Term: 1})
	}
	plain := lockcluster.PutDocument{Namespace: "default", Key: "enhanced"}
	r.set(lockcluster.Migration{Mode: lockcluster.ModeBlueGreen, Active: lockcluster.SystemEnhanced})
	r.want(lockcluster.StatusStored, plain)
	if home := state.GetDocument(r.mem.View(), "default", "enhanced").Home; home != atEnhanced {
		t.Errorf("put over another it is at %+v", home)
	}
	if home := r.want(lockcluster.StatusGranted, acquire("default", "org/app", ".", "default", "plain", 7)).Lock.Home; home != (lockcluster.Home{}) {
		t.Errorf("outside of gradual mode a lock is at %+v", home)
	}
}

// TestRoutedReleaseByPull: the locks of another home stay.
func TestRoutedReleaseByPull(t *testing.T) {
	for home, want := range map[lockcluster.System]string{lockcluster.SystemEnhanced: "enhanced", lockcluster.SystemLegacy: "base legacy stale"} {
		r := gradual(t)
		req := routed(lockcluster.ReleaseByPull{Namespace: "default", Repo: "org/app", Pull: 7})
		req.Home = home
		env := state.Env{}
		if home == lockcluster.SystemLegacy {
			env.System = home
		}
		_, results, _ := r.entry(env, req)
		got := ""
		for i, l := range results[0].Locks {
			if i > 0 {
				got += " "
			}
			got += l.Key.Project
		}
		if results[0].Status != lockcluster.StatusReleased || got != want {
			t.Errorf("%s: released %q, want %q", home, got, want)
		}
	}
}

// TestRoutedIsChecked: a routed request that was made for another state of the
// migration, for another system or another namespace, or while the gate is
// closed, changes nothing.
func TestRoutedIsChecked(t *testing.T) {
	req := acquire("default", "org/app", ".", "default", "new", 7)
	for name, change := range map[string]func(*lockcluster.Routed){
		"epoch":         func(q *lockcluster.Routed) { q.Epoch = 1 },
		"gradual epoch": func(q *lockcluster.Routed) { q.GradualEpoch = 1 },
		"base":          func(q *lockcluster.Routed) { q.Base = lockcluster.SystemEnhanced },
		"home":          func(q *lockcluster.Routed) { q.Home = lockcluster.SystemLegacy },
		"namespace":     func(q *lockcluster.Routed) { q.Request = acquire("db1", "org/app", ".", "default", "new", 7) },
	} {
		r := gradual(t)
		q := routed(req)
		change(&q)
		if res := r.want(lockcluster.StatusNotActive, q); res.Text == "" {
			t.Errorf("%s: no reason", name)
		}
	}
	r := gradual(t)
	next := lockcluster.Migration{Mode: lockcluster.ModeGradual, Active: lockcluster.SystemLegacy, GateClosed: true}
	q := routed(req)
	q.Epoch = r.set(next).Epoch
	r.want(lockcluster.StatusNotActive, q)
	q.Epoch = r.set(lockcluster.Migration{Mode: lockcluster.ModeBlueGreen, Active: lockcluster.SystemEnhanced}).Epoch
	r.want(lockcluster.StatusNotActive, q)
	next.Active, next.GateClosed = lockcluster.SystemEnhanced, false
	q.Epoch = r.set(next).Epoch
	q.GradualEpoch, q.Base = q.Epoch, lockcluster.SystemEnhanced
	r.want(lockcluster.StatusGranted, q)
	r.want(lockcluster.StatusNotActive, acquire("default", "org/app", ".", "default", "other", 7)) // not routed
}

// TestLegacyDecides: the rules over a legacy system's image consult no
// migration, refuse whatever asks for a lease or a TTL, keep those that a
// mirror brings, arm nothing, and check only the home of a routed request.
func TestLegacyDecides(t *testing.T) {
	r := gradual(t) // as if the image had a state of the migration
	legacy := state.Env{System: lockcluster.SystemLegacy}
	do := func(want lockcluster.Status, req lockcluster.Request) {
		t.Helper()
		_, results, changes := r.entry(legacy, req)
		if results[0].Status != want || len(changes) != 0 {
			t.Errorf("%T: %s %q, %d leases changed, want %s", req, results[0].Status, results[0].Text, len(changes), want)
		}
		if err := state.CheckImage(r.mem.View()); err != nil {
			t.Fatal(err)
		}
	}
	do(lockcluster.StatusGranted, acquire("default", "org/app", ".", "default", "plain", 7))
	leased := acquire("default", "org/app", ".", "default", "lease", 0)
	leased.Owner, leased.TTL = lockcluster.Owner{ID: "x"}, time.Minute
	put := lockcluster.PutDocument{Namespace: "default", Key: "ttl", TTL: time.Minute}
	for _, req := range []lockcluster.Request{
		leased, put,
		lockcluster.SetTTL{Namespace: "default", Key: "legacy", TTL: 1},
		lockcluster.Txn{Namespace: "default", Requests: []lockcluster.Request{put}},
		lockcluster.Import{Namespace: "default", Locks: []lockcluster.Acquire{leased}},
		lockcluster.Import{Namespace: "default", Documents: []lockcluster.PutDocument{put}},
		lockcluster.SetMigration{ExpectedEpoch: 2, Next: lockcluster.Migration{Mode: lockcluster.ModeEnhanced}},
		lockcluster.SetConfig{},
		lockcluster.Shadow{Namespace: "default"},
		lockcluster.BumpEpoch{},
		lockcluster.Checkpoint{},
		lockcluster.RegisterNode{NodeID: "n"},
	} {
		do(lockcluster.StatusInvalid, req)
	}
	overlay := state.NewOverlay(r.mem.View())
	if res := state.Trial(overlay, legacy, put); res.Status != lockcluster.StatusInvalid {
		t.Errorf("in a script: %s", res.Status)
	}
	lease := leasedCopy("lease")
	doc := lockcluster.Document{Namespace: "default", Key: "ttl", TTL: time.Minute, ArmedAt: copyTime, LeaseEpoch: 1 << 59, Revision: 5}
	do(lockcluster.StatusApplied, lockcluster.Mirror{Namespace: "default", Epoch: 99, Locks: []lockcluster.Lock{lease}, Documents: []lockcluster.Document{doc}})
	if l := state.GetLock(r.mem.View(), "default", lease.Key.Text()); l.LeaseEpoch != 1<<60 || l.TTL != time.Minute {
		t.Errorf("lease %+v", l)
	}
	do(lockcluster.StatusAlreadyHeld, func() lockcluster.Acquire { l := leased; l.TTL = 0; return l }())
	do(lockcluster.StatusStored, lockcluster.PutDocument{Namespace: "default", Key: "ttl", KeepTTL: true})
	do(lockcluster.StatusStored, lockcluster.SetTTL{Namespace: "default", Key: "ttl"})
	do(lockcluster.StatusReleased, lockcluster.Release{Namespace: "default", Text: lease.Key.Text()})
	q := routed(acquire("default", "org/app", ".", "default", "new", 7))
	do(lockcluster.StatusNotActive, q)
	q.Home, q.Epoch = lockcluster.SystemLegacy, 77
	do(lockcluster.StatusGranted, q)
	if home := state.GetLock(r.mem.View(), "default", "org/app/./default/new").Home; home != atLegacy {
		t.Errorf("granted at %+v", home)
	}
	q.Request = put
	do(lockcluster.StatusInvalid, q)
	q.Request = lockcluster.DeleteDocument{Namespace: "default", Key: "enhanced"}
	do(lockcluster.StatusNotActive, q)
	q.Request = lockcluster.DeleteDocument{Namespace: "default", Key: "base"}
	do(lockcluster.StatusDeleted, q)
}

// TestInstall: an image is filled with records as they are, with their index
// records; one that is there already, is not valid or is of another host is an
// error and changes nothing; a later grant has a greater token and epoch.
func TestInstall(t *testing.T) {
	mem := state.NewMem()
	hosted := copied("", 7, lockcluster.Token{Epoch: 3, Counter: 8})
	hosted.Owner.Host = "a.example"
	other := copied("p", 8, lockcluster.Token{Epoch: 1, Counter: 2})
	other.Owner.Host = "b.example"
	zero := copied("z", 8, lockcluster.Token{})
	mem.Update(1, 1, func(tx state.Tx) {
		if err := state.InstallLock(tx, hosted); err != nil {
			t.Fatal(err)
		}
	})
	before, _ := mem.Hashes()
	for _, bad := range []lockcluster.Lock{hosted, other, zero} {
		mem.Update(2, 1, func(tx state.Tx) {
			if err := state.InstallLock(tx, bad); err == nil {
				t.Errorf("installed %s of %s", bad.Key.Text(), bad.Owner.Host)
			}
		})
	}
	if after, _ := mem.Hashes(); after != before {
		t.Error("an error has changed the image")
	}
	mem.Update(3, 1, func(tx state.Tx) {
		state.RaiseTokens(tx, 2) // below what is there
		a := state.Begin(tx, state.Env{Index: 1 << 53, System: lockcluster.SystemLegacy})
		if res := a.Apply(lockcluster.ReleaseByPull{Namespace: "default", Repo: "org/app", Pull: 7, Host: "a.example"}); len(res.Locks) != 1 || res.Index != 1<<53 {
			t.Errorf("released %+v", res)
		}
		if res := a.Do(command.Command{Request: acquire("default", "org/app", ".", "default", "", 1)}); res.Token != (lockcluster.Token{Epoch: 3, Counter: 9}) {
			t.Errorf("granted %s", res.Token)
		}
		a.End()
		state.RaiseTokens(tx, 9)
	})
	if err := state.CheckImage(mem.View()); err != nil {
		t.Error(err)
	}
	if got := state.GetStats(mem.View()).LastToken; got != (lockcluster.Token{Epoch: 9, Counter: 9}) {
		t.Errorf("last token %s", got)
	}
}
