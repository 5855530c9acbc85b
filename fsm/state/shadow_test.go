//go:build !lockcluster_broken

package state_test

import (
	"strings"
	"testing"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// TestShadow: in shadow mode the enhanced system decides by its ordinary rules
// and its answers hold no stored value; in any other mode, at another epoch or
// in another namespace it leaves the requests alone.
func TestShadow(t *testing.T) {
	r := newRules(t)
	m := r.set(lockcluster.Migration{Mode: lockcluster.ModeShadow})
	held := acquire("default", "org/app", ".", "default", "", 1)
	held.Value = []byte("secret")
	other := held
	other.Owner.Pull = 2
	doc := lockcluster.PutDocument{Namespace: "default", Key: "k", Value: []byte("secret")}
	requests := []lockcluster.Request{
		held, other, doc, doc,
		lockcluster.LockCommand{Namespace: "default", Name: "apply", Value: []byte("secret")},
		lockcluster.Txn{Namespace: "default", Requests: []lockcluster.Request{doc, lockcluster.LockCommand{Namespace: "default", Name: "apply", Value: []byte("x")}}},
		lockcluster.ReleaseByPull{Namespace: "default", Repo: "org/app", Pull: 1},
		lockcluster.Import{Namespace: "default", Locks: []lockcluster.Acquire{held}},
	}
	for name, bad := range map[string]lockcluster.Shadow{
		"another epoch":     {Namespace: "default", Epoch: m.Epoch - 1, Requests: requests},
		"another namespace": {Namespace: "db1", Epoch: m.Epoch},
	} {
		if res := r.do(bad); res.Status != lockcluster.StatusIgnored || res.Results != nil {
			t.Errorf("%s: %+v", name, res)
		}
	}
	res := r.want(lockcluster.StatusApplied, lockcluster.Shadow{Namespace: "default", Epoch: m.Epoch, Requests: requests})
	var got []string
	for _, one := range res.Results {
		got = append(got, one.Status.String())
		if one.Index != r.index {
			t.Errorf("%s: index %d", one.Status, one.Index)
		}
	}
	want := "granted, held, stored, stored, granted, conflict, released, applied"
	if strings.Join(got, ", ") != want {
		t.Errorf("answers %s, want %s", strings.Join(got, ", "), want)
	}
	if b, err := command.EncodeResult(res); err != nil || strings.Contains(string(b), "secret") {
		t.Errorf("an answer holds a stored value, or %v", err)
	}
	if l := state.GetLock(r.mem.View(), "default", held.Key.Text()); l == nil || string(l.Value) != "secret" {
		t.Errorf("the shadow holds %+v", l)
	}
	m = r.set(lockcluster.Migration{Mode: lockcluster.ModeLegacy})
	r.want(lockcluster.StatusIgnored, lockcluster.Shadow{Namespace: "default", Epoch: m.Epoch, Requests: requests})
}
