package controller

import (
	"reflect"
	"testing"

	"github.com/lockcluster/lockcluster"
)

// What the enhanced system is asked goes by no token and no revision of the
// legacy system, and is refused where that refused by one.
func TestShadowOf(t *testing.T) {
	token := lockcluster.Token{Epoch: 3, Counter: 7}
	release := lockcluster.Release{Namespace: "default", Text: "a/b/c/d/", Guard: lockcluster.Guard{Pull: 4, Token: token, Revision: 9}}
	open, shut := release, release
	open.Guard = lockcluster.Guard{Pull: 4}
	shut.Guard = lockcluster.Guard{Pull: 4, Token: tokenOfNothing}
	there := lockcluster.Condition{Space: lockcluster.SpaceLock, Key: "a/b/c/d/", Revision: 9}
	absent := lockcluster.Condition{Space: lockcluster.SpaceLock, Key: "x"}
	txn := func(reqs []lockcluster.Request, conditions ...lockcluster.Condition) lockcluster.Txn {
		return lockcluster.Txn{Namespace: "default", Conditions: conditions, Requests: reqs}
	}
	part := lockcluster.Result{Status: lockcluster.StatusReleased}
	applied := lockcluster.Result{Status: lockcluster.StatusApplied, Results: []lockcluster.Result{part}}
	for name, c := range map[string]struct {
		req  lockcluster.Request
		res  lockcluster.Result
		want lockcluster.Request // nil: not compared
	}{
		"released":      {release, part, open},
		"nothing there": {release, lockcluster.Result{Status: lockcluster.StatusNotFound}, open},
		"refused":       {release, lockcluster.Result{Status: lockcluster.StatusNotHolder}, shut},
		"refused by the pull alone": {
			open, lockcluster.Result{Status: lockcluster.StatusNotHolder}, open,
		},
		"command": {
			lockcluster.UnlockCommand{Name: "apply", Token: token}, part, lockcluster.UnlockCommand{Name: "apply"},
		},
		"document": {
			lockcluster.DeleteDocument{Key: "k", Revision: 3},
			lockcluster.Result{Status: lockcluster.StatusNotHolder},
			lockcluster.DeleteDocument{Key: "k", Revision: revisionOfNothing},
		},
		"applied":  {txn([]lockcluster.Request{release}, there, absent), applied, txn([]lockcluster.Request{open}, absent)},
		"conflict": {txn([]lockcluster.Request{release}, there), lockcluster.Result{Status: lockcluster.StatusConflict}, nil},
		"conflict over an absent record": {
			txn([]lockcluster.Request{open}, absent), lockcluster.Result{Status: lockcluster.StatusConflict}, txn([]lockcluster.Request{open}, absent),
		},
	} {
		got, ok := shadowOf(c.req, &c.res)
		if ok != (c.want != nil) || ok && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, ok, c.want)
		}
	}
}
