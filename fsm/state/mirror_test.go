package state_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

var copyTime = time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)

// copied is a lock as the other system holds it.
func copied(project string, pull int, token lockcluster.Token) lockcluster.Lock {
	a := acquire("default", "org/app", ".", "default", project, pull)
	return lockcluster.Lock{
		Key: a.Key, Kind: lockcluster.KindPull, Owner: a.Owner, User: "jane", Priority: lockcluster.PriorityHigh, Token: token,
		AcquiredAt: copyTime.In(time.FixedZone("", 3600)), Revision: 1<<52 + 7, Value: []byte("raw " + project),
		Home: lockcluster.Home{System: lockcluster.SystemLegacy, Epoch: 9},
	}
}

func leasedCopy(project string) lockcluster.Lock {
	l := copied(project, 0, lockcluster.Token{Epoch: 1, Counter: 3})
	l.Kind, l.Owner, l.TTL, l.RenewedAt, l.LeaseEpoch = lockcluster.KindLeased, lockcluster.Owner{ID: "x"}, time.Minute, copyTime, 1<<60
	return l
}

// TestMirrorTakesRecordsOver: a mirror deletes, replaces and adds records with
// their tokens, revisions and times; only the lease epochs are this system's
// own, and the timers hear of them. What it names and is not there is no error.
func TestMirrorTakesRecordsOver(t *testing.T) {
	r := newRules(t)
	r.do(acquire("default", "org/app", ".", "default", "old", 4))
	r.do(acquire("default", "org/app", ".", "default", "p", 4))
	r.do(lockcluster.LockCommand{Namespace: "default", Name: "apply", Value: []byte("old")})
	r.do(lockcluster.PutDocument{Namespace: "default", Key: "k", Value: []byte("old"), TTL: time.Hour})
	command := lockcluster.CommandLock{
		Namespace: "default", Name: "apply", LockedAt: copyTime.Truncate(time.Second), Token: lockcluster.Token{Epoch: 1, Counter: 90}, Revision: 5, Value: []byte("v"),
	}
	doc := lockcluster.Document{Namespace: "default", Key: "k", Value: []byte("d"), TTL: time.Minute, ArmedAt: copyTime, LeaseEpoch: 1 << 60, Revision: 6}
	lock, lease := copied("p", 7, lockcluster.Token{Epoch: 1, Counter: 80}), leasedCopy("lease")
	_, results, changes := r.entry(state.Env{}, lockcluster.Mirror{
		Namespace: "default", Epoch: 1, Locks: []lockcluster.Lock{lock, lease}, CommandLocks: []lockcluster.CommandLock{command},
		Documents: []lockcluster.Document{doc},
		Deletes: []lockcluster.RecordRef{
			{Namespace: "default", Space: lockcluster.SpaceLock, Key: "org/app/./default/old"},
			{Namespace: "default", Space: lockcluster.SpaceLock, Key: "none"},
			{Namespace: "default", Space: lockcluster.SpaceCommand, Key: "none"},
			{Namespace: "default", Space: lockcluster.SpaceDocument, Key: "none"},
		},
	})
	if results[0].Status != lockcluster.StatusApplied {
		t.Fatalf("%+v", results[0])
	}
	view := r.mem.View()
	if err := state.CheckInvariants(view); err != nil {
		t.Fatal(err)
	}
	if got := listed(view, "default", state.LockFilter{}); got != "org/app/./default/lease org/app/./default/p" {
		t.Errorf("locks %s", got)
	}
	if got := listed(view, "default", state.LockFilter{Repo: "org/app", Pull: 7}); got != "org/app/./default/p" {
		t.Errorf("locks of the pull %s", got)
	}
	gotLease := state.GetLock(view, "default", lease.Key.Text())
	lease.LeaseEpoch = gotLease.LeaseEpoch
	gotDoc := state.GetDocument(view, "default", "k")
	doc.LeaseEpoch = gotDoc.LeaseEpoch
	for what, pair := range map[string][2]any{
		"lock": {lock, *state.GetLock(view, "default", lock.Key.Text())}, "lease": {lease, *gotLease},
		"command lock": {command, *state.GetCommandLock(view, "default", "apply")}, "document": {doc, *gotDoc},
	} {
		if fmt.Sprintf("%+v", pair[0]) != fmt.Sprintf("%+v", pair[1]) {
			t.Errorf("%s: got %+v, want %+v", what, pair[1], pair[0])
		}
	}
	armed := map[string]uint64{}
	for _, c := range changes {
		if c.Armed {
			armed[c.Key] = c.Epoch
		}
	}
	if len(armed) != 2 || armed[lease.Key.Text()] != gotLease.LeaseEpoch || armed["k"] != gotDoc.LeaseEpoch || gotDoc.LeaseEpoch > 9 {
		t.Errorf("armed %v, lease epochs %d and %d", armed, gotLease.LeaseEpoch, gotDoc.LeaseEpoch)
	}
}

// TestMirrorOfAnotherEpoch: a mirror for another epoch is ignored.
func TestMirrorOfAnotherEpoch(t *testing.T) {
	r := newRules(t)
	for _, epoch := range []uint64{0, 2} {
		r.want(lockcluster.StatusIgnored, lockcluster.Mirror{Namespace: "default", Epoch: epoch, Locks: []lockcluster.Lock{copied("", 1, lockcluster.Token{Epoch: 1, Counter: 1})}})
	}
	if n := state.GetStats(r.mem.View()).Locks; n != 0 {
		t.Errorf("%d locks", n)
	}
}

// TestTokensRiseAboveMirrored: a grant after a mirror has a greater token than
// every record that came with it, also where that raises the epoch.
func TestTokensRiseAboveMirrored(t *testing.T) {
	for _, token := range []lockcluster.Token{{Epoch: 1, Counter: 1}, {Epoch: 1, Counter: 50}, {Epoch: 2, Counter: 1}, {Epoch: 2, Counter: 50}, {Epoch: 3, Counter: 1}, {Epoch: 3, Counter: 50}} {
		r := newRules(t)
		r.do(lockcluster.BumpEpoch{})
		last := r.do(acquire("db1", "org/app", ".", "default", "", 1)).Token
		a, results, _ := r.entry(state.Env{}, lockcluster.Mirror{Namespace: "default", Epoch: 2, Locks: []lockcluster.Lock{copied("", 1, token)}})
		m, moved := a.MigrationChanged()
		if results[0].Status != lockcluster.StatusApplied || moved != (token.Epoch > 2) || m.Epoch != max(2, token.Epoch) {
			t.Fatalf("%s: %s, epoch %d, moved %v", token, results[0].Status, m.Epoch, moved)
		}
		if res := r.do(acquire("db1", "org/app", ".", "default", "p", 1)); !token.Less(res.Token) || !last.Less(res.Token) {
			t.Errorf("granted %s after %s and %s", res.Token, token, last)
		}
	}
}

// TestMirrorIsWholeOrNothing: two records of one key, or two hosts of one
// repository, are invalid and change nothing; a repository that has moved to
// another host with all its locks is not.
func TestMirrorIsWholeOrNothing(t *testing.T) {
	at := func(host, project string, pull int) lockcluster.Lock {
		l := copied(project, pull, lockcluster.Token{Epoch: 1, Counter: uint64(100 + pull)})
		l.Owner.Host = host
		return l
	}
	r := newRules(t)
	r.want(lockcluster.StatusApplied, lockcluster.Mirror{Namespace: "default", Epoch: 1, Locks: []lockcluster.Lock{at("a.example", "", 1), at("a.example", "p", 2)}})
	bad := map[string]lockcluster.Mirror{
		"another host":      {Locks: []lockcluster.Lock{at("b.example", "q", 3)}},
		"two hosts":         {Locks: []lockcluster.Lock{at("a.example", "q", 3), at("b.example", "p", 4)}},
		"one lock twice":    {Locks: []lockcluster.Lock{at("a.example", "q", 3), at("a.example", "q", 4)}},
		"one command twice": {CommandLocks: []lockcluster.CommandLock{{Namespace: "default", Name: "c", Value: []byte("v"), Token: lockcluster.Token{Epoch: 1, Counter: 300}, Revision: 1}, {Namespace: "default", Name: "c", Value: []byte("v"), Token: lockcluster.Token{Epoch: 1, Counter: 301}, Revision: 1}}},
		"one doc twice":     {Documents: []lockcluster.Document{{Namespace: "default", Key: "k", Revision: 1}, {Namespace: "default", Key: "k", Revision: 2}}},
	}
	for name, m := range bad {
		m.Namespace, m.Epoch = "default", 1
		m.Deletes = []lockcluster.RecordRef{{Namespace: "default", Space: lockcluster.SpaceLock, Key: at("", "", 1).Key.Text()}}
		before, _ := r.mem.Hashes()
		a, results, changes := r.entry(state.Env{Track: true}, m)
		if after, _ := r.mem.Hashes(); results[0].Status != lockcluster.StatusInvalid || after != before || len(changes) != 0 || len(a.Touched()) != 0 {
			t.Errorf("%s: %s %q, changed %v, touched %v", name, results[0].Status, results[0].Text, after != before, a.Touched())
		}
	}
	moved := []lockcluster.Lock{at("b.example", "", 1), at("b.example", "p", 2)}
	r.want(lockcluster.StatusApplied, lockcluster.Mirror{Namespace: "default", Epoch: 1, Locks: moved})
}

// TestTouched: an entry tells of each lock, command lock and document that it
// has put or removed, once, those of a transaction too; not of what was refused.
func TestTouched(t *testing.T) {
	r := newRules(t)
	put := func(key string) lockcluster.PutDocument {
		return lockcluster.PutDocument{Namespace: "default", Key: key, TTL: time.Minute}
	}
	held := acquire("default", "org/app", ".", "default", "", 1)
	r.do(held)
	other := held
	other.Owner.Pull = 2
	a, _, _ := r.entry(state.Env{Track: true},
		put("a"), put("a"), other, lockcluster.LockCommand{Namespace: "db1", Name: "apply", Value: []byte("v")},
		lockcluster.Txn{Namespace: "default", Requests: []lockcluster.Request{put("b"), lockcluster.DeleteDocument{Namespace: "default", Key: "b"}}},
		lockcluster.Txn{Namespace: "default", Requests: []lockcluster.Request{put("refused"), other}},
		lockcluster.ReleaseByPull{Namespace: "default", Repo: "org/app", Pull: 1}, lockcluster.RegisterNode{NodeID: "n"},
	)
	want := "[{db1 2 apply} {default 3 a} {default 3 b} {default 1 org/app/./default/}]"
	if got := fmt.Sprint(a.Touched()); got != want {
		t.Errorf("touched %s, want %s", got, want)
	}
	if a, _, _ := r.entry(state.Env{}, put("c")); a.Touched() != nil {
		t.Errorf("not asked for: %v", a.Touched())
	}
}

// TestSideRecords: a record without its value comes back as it was with it, and
// bytes that do not fit are an error.
func TestSideRecords(t *testing.T) {
	lock, lease := copied("p", 7, lockcluster.Token{Epoch: 2, Counter: 8}), leasedCopy("")
	for _, l := range []lockcluster.Lock{lock, lease} {
		side := state.EncodeSide(l)
		if bytes.Contains(side, []byte("raw")) {
			t.Error("the side record holds the value")
		}
		got, err := state.DecodeSideLock("default", l.Key.Text(), side, l.Value)
		if err != nil || fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", l) {
			t.Errorf("got %+v, %v; want %+v", got, err, l)
		}
		for _, text := range []string{"", "x", "org/apq/x", strings.ReplaceAll(l.Key.Text(), "/", "-"), "other/repo/./default/pppp"} {
			if l, err := state.DecodeSideLock("default", text, side, nil); err == nil && l.Key.Text() != text {
				t.Errorf("fits %q as %+v", text, l.Key)
			}
		}
	}
	command := lockcluster.CommandLock{Namespace: "default", Name: "apply", LockedAt: copyTime.Truncate(time.Second), Token: lock.Token, Revision: 4, Home: lock.Home, Value: []byte("raw")}
	doc := lockcluster.Document{Namespace: "default", Key: "k", TTL: time.Minute, ArmedAt: copyTime, LeaseEpoch: 3, Revision: 5, Home: lock.Home, Value: []byte("raw")}
	gotCommand, err := state.DecodeSideCommandLock("default", "apply", state.EncodeSide(command), command.Value)
	if err != nil || fmt.Sprintf("%+v", *gotCommand) != fmt.Sprintf("%+v", command) {
		t.Errorf("got %+v, %v; want %+v", gotCommand, err, command)
	}
	gotDoc, err := state.DecodeSideDocument("default", "k", state.EncodeSide(doc), doc.Value)
	if err != nil || fmt.Sprintf("%+v", *gotDoc) != fmt.Sprintf("%+v", doc) {
		t.Errorf("got %+v, %v; want %+v", gotDoc, err, doc)
	}
	for _, bad := range [][]byte{nil, {0xff}, {0x08, 0x7f}} { // no token, unreadable, a long part
		if l, err := state.DecodeSideLock("default", lock.Key.Text(), bad, nil); err == nil {
			t.Errorf("%x: %+v", bad, l)
		}
		if c, err := state.DecodeSideCommandLock("default", "apply", bad, []byte("v")); err == nil {
			t.Errorf("%x: %+v", bad, c)
		}
		if d, err := state.DecodeSideDocument("default", "k", bad, nil); err == nil {
			t.Errorf("%x: %+v", bad, d)
		}
	}
}

// TestContentDigest: two systems that hold the same records have one digest,
// whatever each keeps for itself; any other difference changes it.
func TestContentDigest(t *testing.T) {
	image := func(change func(*lockcluster.Lock, *lockcluster.CommandLock, *lockcluster.Document)) []byte {
		mem := state.NewMem()
		l, c := leasedCopy("p"), lockcluster.CommandLock{Namespace: "default", Name: "apply", LockedAt: copyTime, Token: lockcluster.Token{Epoch: 1, Counter: 9}, Revision: 4, Value: []byte("v")}
		d := lockcluster.Document{Namespace: "default", Key: "k", Value: []byte("v"), TTL: time.Minute, ArmedAt: copyTime, LeaseEpoch: 3, Revision: 5}
		change(&l, &c, &d)
		mem.Update(1, 1, func(tx state.Tx) {
			if err := errors.Join(state.InstallLock(tx, l), state.InstallCommandLock(tx, c), state.InstallDocument(tx, d)); err != nil {
				t.Fatal(err)
			}
		})
		digest, n := state.ContentDigest(mem.View(), "default")
		if n != 3 {
			t.Errorf("%d records", n)
		}
		return digest
	}
	want := image(func(*lockcluster.Lock, *lockcluster.CommandLock, *lockcluster.Document) {})
	home := lockcluster.Home{System: lockcluster.SystemEnhanced, Epoch: 77}
	if !bytes.Equal(want, image(func(l *lockcluster.Lock, c *lockcluster.CommandLock, d *lockcluster.Document) {
		l.Home, l.LeaseEpoch, l.RenewedAt = home, 55, copyTime.Add(time.Hour)
		c.Home, d.Home, d.LeaseEpoch, d.ArmedAt = home, home, 66, copyTime.Add(time.Hour)
	})) {
		t.Error("the digest depends on what each system keeps for itself")
	}
	for name, change := range map[string]func(*lockcluster.Lock, *lockcluster.CommandLock, *lockcluster.Document){
		"token":    func(l *lockcluster.Lock, _ *lockcluster.CommandLock, _ *lockcluster.Document) { l.Token.Counter++ },
		"revision": func(_ *lockcluster.Lock, c *lockcluster.CommandLock, _ *lockcluster.Document) { c.Revision++ },
		"value":    func(_ *lockcluster.Lock, _ *lockcluster.CommandLock, d *lockcluster.Document) { d.Value = []byte("w") },
		"key":      func(_ *lockcluster.Lock, _ *lockcluster.CommandLock, d *lockcluster.Document) { d.Key = "l" },
		"TTL":      func(l *lockcluster.Lock, _ *lockcluster.CommandLock, _ *lockcluster.Document) { l.TTL++ },
	} {
		if bytes.Equal(want, image(change)) {
			t.Errorf("another %s has the same digest", name)
		}
	}
}
