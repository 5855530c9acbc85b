package state_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// TestValidateRoad: bad input of each kind in the requests of a migration is
// ErrInvalid with a reason, at the door and in the rules, and changes nothing
// there; what each of them was made from is good.
func TestValidateRoad(t *testing.T) {
	long := strings.Repeat("x", 600)
	good := map[string]lockcluster.Request{}
	bad := map[string]lockcluster.Request{}
	migration := func(name string, change func(*lockcluster.Migration)) {
		m := lockcluster.Migration{Mode: lockcluster.ModeGradual, Active: lockcluster.SystemEnhanced, Legacy: "boltdb", Namespace: "default", Percentage: 100}
		good["migration"] = lockcluster.SetMigration{ExpectedEpoch: 1, Next: m}
		change(&m)
		bad["migration: "+name] = lockcluster.SetMigration{ExpectedEpoch: 1, Next: m}
	}
	migration("no mode", func(m *lockcluster.Migration) { m.Mode = 0 })
	migration("unknown mode", func(m *lockcluster.Migration) { m.Mode = 6 })
	migration("no active system", func(m *lockcluster.Migration) { m.Active = 0 })
	migration("unknown system", func(m *lockcluster.Migration) { m.Active = 3 })
	migration("enhanced but legacy", func(m *lockcluster.Migration) { m.Mode, m.Active = lockcluster.ModeEnhanced, lockcluster.SystemLegacy })
	migration("legacy but enhanced", func(m *lockcluster.Migration) { m.Mode = lockcluster.ModeLegacy })
	migration("shadow but enhanced", func(m *lockcluster.Migration) { m.Mode = lockcluster.ModeShadow })
	migration("unknown legacy system", func(m *lockcluster.Migration) { m.Legacy = "etcd" })
	migration("no legacy system", func(m *lockcluster.Migration) { m.Legacy = "" })
	migration("no namespace", func(m *lockcluster.Migration) { m.Namespace = "" })
	migration("bad namespace", func(m *lockcluster.Migration) { m.Mode, m.Namespace = lockcluster.ModeEnhanced, "a b" })
	migration("percentage", func(m *lockcluster.Migration) { m.Percentage = 101 })
	migration("long host", func(m *lockcluster.Migration) { m.LegacyHost = long })
	migration("reason not UTF-8", func(m *lockcluster.Migration) { m.Reason = "\xff" })
	migration("many rules", func(m *lockcluster.Migration) {
		m.Canary = make([]lockcluster.CanaryRule, 201)
		for i := range m.Canary {
			m.Canary[i].Workspace = fmt.Sprint(i)
		}
	})
	migration("rule for all", func(m *lockcluster.Migration) { m.Canary = make([]lockcluster.CanaryRule, 1) })
	migration("long rule", func(m *lockcluster.Migration) { m.Canary = []lockcluster.CanaryRule{{UserGroup: long}} })

	setting := func(name string, settings ...lockcluster.Setting) {
		bad["setting: "+name] = lockcluster.SetConfig{Settings: settings}
	}
	good["settings"] = lockcluster.SetConfig{Settings: []lockcluster.Setting{{Name: strings.Repeat("n", 128), Value: strings.Repeat("v", 4096)}}}
	setting("no name", lockcluster.Setting{Value: "v"})
	setting("long name", lockcluster.Setting{Name: strings.Repeat("n", 129)})
	setting("name not UTF-8", lockcluster.Setting{Name: "\xff"})
	setting("long value", lockcluster.Setting{Name: "n", Value: strings.Repeat("v", 4097)})
	setting("value not UTF-8", lockcluster.Setting{Name: "n", Value: "\xff"})
	setting("many", make([]lockcluster.Setting, 201)...)

	mirror := func(name string, change func(*lockcluster.Mirror)) {
		l := copied("p", 7, lockcluster.Token{Epoch: 1, Counter: 1})
		m := lockcluster.Mirror{
			Namespace: "default", Epoch: 1, Locks: []lockcluster.Lock{l},
			CommandLocks: []lockcluster.CommandLock{{Namespace: "default", Name: "apply", Value: []byte("v"), Token: lockcluster.Token{Epoch: 1, Counter: 2}, Revision: 1}},
			Documents:    []lockcluster.Document{{Namespace: "default", Key: "k", Revision: 1}},
			Deletes:      []lockcluster.RecordRef{{Namespace: "default", Space: lockcluster.SpaceLock, Key: "k"}},
		}
		if name == "" {
			good["mirror"] = m
			return
		}
		change(&m)
		bad["mirror: "+name] = m
	}
	mirror("", nil)
	mirror("no namespace", func(m *lockcluster.Mirror) { m.Namespace = "" })
	mirror("many records", func(m *lockcluster.Mirror) { m.Deletes = make([]lockcluster.RecordRef, 998) })
	mirror("delete of no space", func(m *lockcluster.Mirror) { m.Deletes[0].Space = 0 })
	mirror("delete elsewhere", func(m *lockcluster.Mirror) { m.Deletes[0].Namespace = "db1" })
	mirror("lock elsewhere", func(m *lockcluster.Mirror) { m.Locks[0].Key.Namespace = "db1" })
	mirror("lock without a key", func(m *lockcluster.Mirror) { m.Locks[0].Key.Path = "" })
	mirror("lock without an owner", func(m *lockcluster.Mirror) { m.Locks[0].Owner = lockcluster.Owner{} })
	mirror("lock without a priority", func(m *lockcluster.Mirror) { m.Locks[0].Priority = 0 })
	mirror("lock of another kind", func(m *lockcluster.Mirror) { m.Locks[0].Kind = lockcluster.KindHeld })
	mirror("lock without a token", func(m *lockcluster.Mirror) { m.Locks[0].Token = lockcluster.Token{Epoch: 1} })
	mirror("lock without a revision", func(m *lockcluster.Mirror) { m.Locks[0].Revision = 0 })
	mirror("lock of unknown home", func(m *lockcluster.Mirror) { m.Locks[0].Home.System = 3 })
	mirror("command elsewhere", func(m *lockcluster.Mirror) { m.CommandLocks[0].Namespace = "db1" })
	mirror("command without a value", func(m *lockcluster.Mirror) { m.CommandLocks[0].Value = nil })
	mirror("command without a token", func(m *lockcluster.Mirror) { m.CommandLocks[0].Token = lockcluster.Token{} })
	mirror("document elsewhere", func(m *lockcluster.Mirror) { m.Documents[0].Namespace = "db1" })
	mirror("document without a revision", func(m *lockcluster.Mirror) { m.Documents[0].Revision = 0 })
	mirror("document with a bad TTL", func(m *lockcluster.Mirror) { m.Documents[0].TTL = -1 })

	put := lockcluster.PutDocument{Namespace: "default", Key: "k"}
	away := lockcluster.PutDocument{Namespace: "db1", Key: "k"}
	shadow := func(ns string, requests ...lockcluster.Request) lockcluster.Shadow {
		return lockcluster.Shadow{Namespace: ns, Epoch: 1, Requests: requests}
	}
	mixed := lockcluster.Txn{Namespace: "default", Requests: []lockcluster.Request{away}}
	good["shadow"] = shadow("default", put, lockcluster.Import{Namespace: "default"}, lockcluster.Txn{Namespace: "default", Requests: []lockcluster.Request{put}})
	bad["shadow: namespace"] = shadow("")
	bad["shadow: another namespace"] = shadow("default", away)
	bad["shadow: two namespaces"] = shadow("default", mixed)
	bad["shadow: transaction of another namespace"] = shadow("db1", mixed)
	bad["shadow: bad request"] = shadow("default", lockcluster.PutDocument{Namespace: "default", TTL: -1})
	bad["shadow: expiry"] = shadow("default", lockcluster.Expire{Namespace: "default", Space: lockcluster.SpaceLock})
	bad["shadow: shadow"] = shadow("default", shadow("default"))
	bad["shadow: nil"] = shadow("default", nil)
	bad["shadow: many"] = shadow("default", make([]lockcluster.Request, 1001)...)

	route := func(name string, change func(*lockcluster.Routed)) {
		q := routed(put)
		good["routed"] = q
		change(&q)
		bad["routed: "+name] = q
	}
	route("no base", func(q *lockcluster.Routed) { q.Base = 0 })
	route("unknown home", func(q *lockcluster.Routed) { q.Home = 3 })
	route("no epoch", func(q *lockcluster.Routed) { q.GradualEpoch = 0 })
	route("import", func(q *lockcluster.Routed) { q.Request = lockcluster.Import{Namespace: "default"} })
	route("nil", func(q *lockcluster.Routed) { q.Request = nil })
	route("routed", func(q *lockcluster.Routed) { q.Request = routed(put) })
	route("two namespaces", func(q *lockcluster.Routed) { q.Request = mixed })
	route("bad request", func(q *lockcluster.Routed) { q.Request = lockcluster.PutDocument{Namespace: "default", TTL: -1} })

	for name, req := range good {
		if err := state.Validate(req); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	mem := stateOf(t, acquire("default", "org/app", ".", "default", "", 1))
	before, _ := mem.Hashes()
	for name, req := range bad {
		if err := state.Validate(req); !errors.Is(err, lockcluster.ErrInvalid) || len(err.Error()) < 25 {
			t.Errorf("%s: %v", name, err)
		}
		mem.Update(9, 1, func(tx state.Tx) {
			a := state.Begin(tx, state.Env{Index: 9, Term: 1})
			if res := a.Do(command.Command{Request: req}); res.Status != lockcluster.StatusInvalid || res.Index != 9 || res.Text == "" {
				t.Errorf("%s: the rules answer %s %q", name, res.Status, res.Text)
			}
			a.End()
		})
	}
	if after, _ := mem.Hashes(); after != before {
		t.Error("bad input has changed the state")
	}
}
