//go:build lockcluster_broken

package state_test

import (
	"fmt"
	"testing"

	"github.com/lockcluster/lockcluster"
)

// TestBrokenShadow: in a build with this tag the answers for about half of the
// keys are wrong in a shadow, in both directions, and nowhere else.
func TestBrokenShadow(t *testing.T) {
	r := newRules(t)
	m := r.set(lockcluster.Migration{Mode: lockcluster.ModeShadow})
	wrong := 0
	for i := range 100 {
		first := acquire("default", "org/app", ".", "default", fmt.Sprint(i), 1)
		second := first
		second.Owner.Pull = 2
		res := r.want(lockcluster.StatusApplied, lockcluster.Shadow{Namespace: "default", Epoch: m.Epoch, Requests: []lockcluster.Request{first, second}})
		if got := res.Results; got[0].Status == lockcluster.StatusHeld && got[1].Status == lockcluster.StatusGranted {
			wrong++
		} else if got[0].Status != lockcluster.StatusGranted || got[1].Status != lockcluster.StatusHeld {
			t.Errorf("%d: %s and %s", i, got[0].Status, got[1].Status)
		}
		first.Key.Namespace = "db1"
		r.want(lockcluster.StatusGranted, first)
	}
	if wrong < 25 || wrong > 75 {
		t.Errorf("%d of 100 keys are wrong", wrong)
	}
}
