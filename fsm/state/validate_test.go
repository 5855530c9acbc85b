package state_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// TestValidate: bad input of each kind is ErrInvalid with a reason, at the door
// and in the rules, and changes nothing there.
func TestValidate(t *testing.T) {
	good := acquire("default", "org/app", ".", "default", "", 1)
	with := func(change func(*lockcluster.Acquire)) lockcluster.Acquire { r := good; change(&r); return r }
	long := strings.Repeat("x", 5000)
	big := make([]byte, lockcluster.ValueSizeMax+1)
	bad := map[string]lockcluster.Request{
		"nil":                   nil,
		"no namespace":          with(func(r *lockcluster.Acquire) { r.Key.Namespace = "" }),
		"bad namespace":         with(func(r *lockcluster.Acquire) { r.Key.Namespace = "a b" }),
		"long namespace":        with(func(r *lockcluster.Acquire) { r.Key.Namespace = strings.Repeat("n", 65) }),
		"no repo":               with(func(r *lockcluster.Acquire) { r.Key.Repo = "" }),
		"nul in repo":           with(func(r *lockcluster.Acquire) { r.Key.Repo = "a\x00b" }),
		"no path":               with(func(r *lockcluster.Acquire) { r.Key.Path = "" }),
		"no workspace":          with(func(r *lockcluster.Acquire) { r.Key.Workspace = "" }),
		"long key":              with(func(r *lockcluster.Acquire) { r.Key.Project = long }),
		"no owner":              with(func(r *lockcluster.Acquire) { r.Owner = lockcluster.Owner{} }),
		"pull of another repo":  with(func(r *lockcluster.Acquire) { r.Owner.Repo = "org/other" }),
		"two owners":            with(func(r *lockcluster.Acquire) { r.Owner.ID = "x" }),
		"pull of no repo":       with(func(r *lockcluster.Acquire) { r.Owner.Repo = "" }),
		"long owner":            with(func(r *lockcluster.Acquire) { r.Owner = lockcluster.Owner{ID: long} }),
		"owner not UTF-8":       with(func(r *lockcluster.Acquire) { r.Owner = lockcluster.Owner{ID: "\xff"} }),
		"TTL of a pull":         with(func(r *lockcluster.Acquire) { r.TTL = time.Second }),
		"negative TTL":          with(func(r *lockcluster.Acquire) { r.Owner, r.TTL = lockcluster.Owner{ID: "x"}, -1 }),
		"endless TTL":           with(func(r *lockcluster.Acquire) { r.Owner, r.TTL = lockcluster.Owner{ID: "x"}, 101*365*24*time.Hour }),
		"unknown priority":      with(func(r *lockcluster.Acquire) { r.Priority = 5 }),
		"long user":             with(func(r *lockcluster.Acquire) { r.User = long }),
		"big value":             with(func(r *lockcluster.Acquire) { r.Value = big }),
		"release of nothing":    lockcluster.Release{Namespace: "default"},
		"release of a long key": lockcluster.Release{Namespace: "default", Text: long},
		"release by nobody":     lockcluster.Release{Namespace: "default", Text: "k", Guard: lockcluster.Guard{Owner: &lockcluster.Owner{}}},
		"release of no repo":    lockcluster.ReleaseByPull{Namespace: "default", Pull: 1},
		"release of nul repo":   lockcluster.ReleaseByPull{Namespace: "default", Repo: "r\x00", Pull: 1},
		"command of no name":    lockcluster.LockCommand{Namespace: "default", Value: []byte("v")},
		"command with a slash":  lockcluster.LockCommand{Namespace: "default", Name: "a/b", Value: []byte("v")},
		"command of no value":   lockcluster.LockCommand{Namespace: "default", Name: "a"},
		"command's big value":   lockcluster.LockCommand{Namespace: "default", Name: "a", Value: big},
		"unlock of no name":     lockcluster.UnlockCommand{Namespace: "default"},
		"put condition":         lockcluster.PutDocument{Namespace: "default", Condition: 3},
		"put keeps and sets":    lockcluster.PutDocument{Namespace: "default", KeepTTL: true, TTL: 1},
		"put negative TTL":      lockcluster.PutDocument{Namespace: "default", TTL: -1},
		"put big value":         lockcluster.PutDocument{Namespace: "default", Value: big},
		"put long key":          lockcluster.PutDocument{Namespace: "default", Key: long},
		"delete long key":       lockcluster.DeleteDocument{Namespace: "default", Key: long},
		"TTL of a long key":     lockcluster.SetTTL{Namespace: "default", Key: long},
		"negative SetTTL":       lockcluster.SetTTL{Namespace: "default", TTL: -1},
		"condition's space":     lockcluster.Txn{Namespace: "default", Conditions: []lockcluster.Condition{{Space: 4}}},
		"range's space":         lockcluster.Txn{Namespace: "default", Ranges: []lockcluster.RangeCondition{{}}},
		"txn in txn":            lockcluster.Txn{Namespace: "default", Requests: []lockcluster.Request{lockcluster.Txn{}}},
		"txn of bad request":    lockcluster.Txn{Namespace: "default", Requests: []lockcluster.Request{lockcluster.SetTTL{TTL: -1}}},
		"txn of no namespace":   lockcluster.Txn{},
		"large txn":             lockcluster.Txn{Namespace: "default", Conditions: make([]lockcluster.Condition, 10_001)},
		"expiry of a command":   lockcluster.Expire{Namespace: "default", Space: lockcluster.SpaceCommand},
		"expiry of nowhere":     lockcluster.Expire{Space: lockcluster.SpaceLock},
		"import of bad lock":    lockcluster.Import{Namespace: "default", Locks: []lockcluster.Acquire{{}}},
		"import of bad command": lockcluster.Import{Namespace: "default", CommandLocks: []lockcluster.LockCommand{{}}},
		"import of bad doc":     lockcluster.Import{Namespace: "default", Documents: []lockcluster.PutDocument{{}}},
		"large import":          lockcluster.Import{Namespace: "default", Documents: make([]lockcluster.PutDocument, 10_001)},
		"node of no id":         lockcluster.RegisterNode{},
		"node of a long name":   lockcluster.RegisterNode{NodeID: "n", GRPCAddr: long},
		"node not UTF-8":        lockcluster.RegisterNode{NodeID: "n\xff"},
		"epoch reason":          lockcluster.BumpEpoch{Reason: "\xff"},
	}
	for name, req := range bad {
		if err := state.Validate(req); !errors.Is(err, lockcluster.ErrInvalid) || len(err.Error()) < 25 {
			t.Errorf("%s: %v", name, err)
		}
		mem := stateOf(t, good, lockcluster.Checkpoint{})
		before, _ := mem.Hashes()
		mem.Update(9, 1, func(tx state.Tx) {
			a := state.Begin(tx, state.Env{Index: 9, Term: 1})
			if res := a.Do(command.Command{Request: req}); res.Status != lockcluster.StatusInvalid || res.Index != 9 || res.Text == "" {
				t.Errorf("%s: the rules answer %s %q", name, res.Status, res.Text)
			}
			a.End()
		})
		if after, _ := mem.Hashes(); after != before {
			t.Errorf("%s: the state has changed", name)
		}
	}
	if err := state.Validate(good); err != nil {
		t.Error(err)
	}
}
