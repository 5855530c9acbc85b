package controller

import (
	"reflect"
	"testing"

	"github.com/lockcluster/lockcluster"
)

// What the legacy system has found met about its own tokens and revisions is
// not asked of the enhanced system; everything else is.
func TestAsShadowed(t *testing.T) {
	token := lockcluster.Token{Epoch: 2, Counter: 7}
	owner := &lockcluster.Owner{ID: "me"}
	release := lockcluster.Release{Namespace: "default", Text: "o/r/./w/", Guard: lockcluster.Guard{Owner: owner, Pull: 3, Token: token, Revision: 9}}
	plain := lockcluster.Release{Namespace: "default", Text: "o/r/./w/", Guard: lockcluster.Guard{Owner: owner, Pull: 3}}
	unlock := lockcluster.UnlockCommand{Namespace: "default", Name: "apply", Token: token, Revision: 9}
	remove := lockcluster.DeleteDocument{Namespace: "default", Key: "k", Revision: 9}
	absent := lockcluster.Condition{Space: lockcluster.SpaceDocument, Key: "new"}
	txn := lockcluster.Txn{
		Namespace: "default", Conditions: []lockcluster.Condition{absent, {Space: lockcluster.SpaceDocument, Key: "k", Revision: 9}},
		Ranges: []lockcluster.RangeCondition{{Space: lockcluster.SpaceLock, Digest: []byte("x")}}, Requests: []lockcluster.Request{release, remove},
	}
	for name, c := range map[string]struct {
		req, want lockcluster.Request
		res       lockcluster.Result
	}{
		"released":     {release, plain, lockcluster.Result{Status: lockcluster.StatusReleased}},
		"not there":    {release, plain, lockcluster.Result{Status: lockcluster.StatusNotFound}},
		"another's":    {release, release, lockcluster.Result{Status: lockcluster.StatusNotHolder}},
		"unlocked":     {unlock, lockcluster.UnlockCommand{Namespace: "default", Name: "apply"}, lockcluster.Result{Status: lockcluster.StatusReleased}},
		"not unlocked": {unlock, unlock, lockcluster.Result{Status: lockcluster.StatusNotHolder}},
		"deleted":      {remove, lockcluster.DeleteDocument{Namespace: "default", Key: "k"}, lockcluster.Result{Status: lockcluster.StatusDeleted}},
		"a conflict":   {txn, txn, lockcluster.Result{Status: lockcluster.StatusConflict}},
		"a transaction": {
			txn,
			lockcluster.Txn{
				Namespace: "default", Conditions: []lockcluster.Condition{absent},
				Requests: []lockcluster.Request{plain, lockcluster.DeleteDocument{Namespace: "default", Key: "k"}},
			},
			lockcluster.Result{Status: lockcluster.StatusApplied, Results: []lockcluster.Result{{Status: lockcluster.StatusReleased}, {Status: lockcluster.StatusDeleted}}},
		},
	} {
		if got := asShadowed(c.req, &c.res); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	if release.Guard.Token != token || len(txn.Ranges) != 1 {
		t.Error("the request itself was changed")
	}
}
