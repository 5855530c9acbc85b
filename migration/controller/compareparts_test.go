package controller

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// mirrorOf is a system that holds what a mirror was told.
func mirrorOf(t *testing.T, m lockcluster.Mirror) state.Reader {
	t.Helper()
	mem := state.NewMem()
	mem.Update(1, 1, func(tx state.Tx) {
		a := state.Begin(tx, state.Env{Index: 1, Term: 1, Now: time.Now(), System: lockcluster.SystemLegacy})
		if res := a.Apply(m); res.Status != lockcluster.StatusApplied {
			t.Fatalf("%+v", res)
		}
		a.End()
	})
	return mem.View()
}

// Whatever two systems hold differently in a record that both have, the comparison
// names it, with what each has; of a stored value it shows nothing but the size. In
// mode shadow what is each system's own is no difference.
func TestCompareNamesWhatDiffers(t *testing.T) {
	const ns = lockcluster.DefaultNamespace
	at := time.Date(2026, 3, 1, 8, 50, 0, 0, time.UTC)
	lock := lockcluster.Lock{
		Key: acquire("acme/app", 7).Key, Kind: lockcluster.KindPull, Owner: lockcluster.Owner{Repo: "acme/app", Pull: 7}, User: "ada", Priority: lockcluster.PriorityNormal,
		Token: lockcluster.Token{Epoch: 1, Counter: 1}, AcquiredAt: at, Revision: 10, Value: []byte("CANARY1"),
	}
	command := lockcluster.CommandLock{
		Namespace: ns, Name: "apply", LockedAt: at, Token: lockcluster.Token{Epoch: 1, Counter: 2}, Revision: 11, Value: []byte("CANARY1"),
	}
	document := lockcluster.Document{Namespace: ns, Key: "github.com::acme/app::7", Revision: 12, Value: []byte("CANARY1")}
	for _, c := range []struct {
		part, legacy, enhanced string
		shadow                 bool // it is a difference in mode shadow, too
		change                 func(l *lockcluster.Lock, c *lockcluster.CommandLock, d *lockcluster.Document)
	}{
		{"token", "1:1", "1:9", false, func(l *lockcluster.Lock, _ *lockcluster.CommandLock, _ *lockcluster.Document) { l.Token.Counter = 9 }},
		{"revision", "10", "20", false, func(l *lockcluster.Lock, _ *lockcluster.CommandLock, _ *lockcluster.Document) { l.Revision = 20 }},
		{"acquired at", "2026-03-01T08:50:00Z", "2026-03-01T08:50:00.001Z", false, func(l *lockcluster.Lock, _ *lockcluster.CommandLock, _ *lockcluster.Document) {
			l.AcquiredAt = at.Add(time.Millisecond)
		}},
		{"user", "ada", "bob", false, func(l *lockcluster.Lock, _ *lockcluster.CommandLock, _ *lockcluster.Document) { l.User = "bob" }},
		{"owner", "pull request #7 of acme/app", "pull request #8 of acme/app", true, func(l *lockcluster.Lock, _ *lockcluster.CommandLock, _ *lockcluster.Document) {
			l.Owner.Pull = 8
		}},
		{"VCS host", "", "github.com", true, func(l *lockcluster.Lock, _ *lockcluster.CommandLock, _ *lockcluster.Document) {
			l.Owner.Host = "github.com"
		}},
		{"stored value", "7 bytes", "7 bytes", true, func(l *lockcluster.Lock, _ *lockcluster.CommandLock, _ *lockcluster.Document) {
			l.Value = []byte("CANARY2")
		}},
		{"token", "1:2", "1:9", false, func(_ *lockcluster.Lock, c *lockcluster.CommandLock, _ *lockcluster.Document) { c.Token.Counter = 9 }},
		{"revision", "11", "20", false, func(_ *lockcluster.Lock, c *lockcluster.CommandLock, _ *lockcluster.Document) { c.Revision = 20 }},
		{"locked at", "2026-03-01T08:50:00Z", "2026-03-01T08:51:00Z", false, func(_ *lockcluster.Lock, c *lockcluster.CommandLock, _ *lockcluster.Document) {
			c.LockedAt = at.Add(time.Minute)
		}},
		{"revision", "12", "20", false, func(_ *lockcluster.Lock, _ *lockcluster.CommandLock, d *lockcluster.Document) { d.Revision = 20 }},
		{"stored value", "7 bytes", "8 bytes", true, func(_ *lockcluster.Lock, _ *lockcluster.CommandLock, d *lockcluster.Document) {
			d.Value = []byte("CANARY22")
		}},
	} {
		l, k, d := lock, command, document
		c.change(&l, &k, &d)
		old := mirrorOf(t, mirrorFor(lock, command, document))
		mine := mirrorOf(t, mirrorFor(l, k, d))
		want := PartDifference{Part: c.part, Legacy: c.legacy, Enhanced: c.enhanced}
		got := compareViews(old, mine, ns, false)
		if got.Differ != 1 || got.Equal != 2 || len(got.Records) != 1 || len(got.Records[0].Parts) != 1 || got.Records[0].Parts[0] != want {
			t.Errorf("want %+v, got %+v", want, got)
		}
		b, err := json.Marshal(got)
		if err != nil || strings.Contains(string(b), "CANARY") || !strings.Contains(string(b), fmt.Sprintf(`"part":%q`, c.part)) {
			t.Errorf("%s, %v", b, err)
		}
		if got := compareViews(old, mine, ns, true); (got.Differ == 1) != c.shadow {
			t.Errorf("%s in mode shadow: %+v", c.part, got)
		}
	}
}

func mirrorFor(l lockcluster.Lock, c lockcluster.CommandLock, d lockcluster.Document) lockcluster.Mirror {
	return lockcluster.Mirror{
		Namespace: lockcluster.DefaultNamespace, Epoch: 1,
		Locks: []lockcluster.Lock{l}, CommandLocks: []lockcluster.CommandLock{c}, Documents: []lockcluster.Document{d},
	}
}
