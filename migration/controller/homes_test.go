package controller

import (
	"sync/atomic"
	"testing"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
)

// A transaction of mode gradual that ends a pull request frees its locks in
// both systems, and changes documents of both, whole; so it does when the node
// stops half-way through bringing the records together.
func TestTransactionAboutBothSystems(t *testing.T) {
	for _, fails := range []bool{false, true} {
		s := newSite(t, nil)
		s.inMode(lockcluster.ModeLegacy)
		s.lead("n1")
		in := func(path, group string, pull int) lockcluster.Acquire {
			a := acquire("acme/app", pull)
			a.Key.Path = path
			a.Value = valueOf(a, group)
			return a
		}
		s.gradually(0)
		s.want("n1", document("old", "1"), lockcluster.StatusStored)
		s.want("n1", in("a", "others", 7), lockcluster.StatusGranted)
		s.want("n1", in("other", "others", 8), lockcluster.StatusGranted)
		s.gradually(100)
		s.want("n1", document("new", "1"), lockcluster.StatusStored)
		s.want("n1", in("b", "platform", 7), lockcluster.StatusGranted)
		var failed atomic.Bool
		s.setHooks(nil, nil, func(req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
			r, ok := req.(lockcluster.Mirror)
			if ok && fails && len(r.Locks) > 0 && r.Locks[0].Key.Path == "a" && !failed.Swap(true) {
				return lockcluster.Result{}, backends.ErrUnavailable
			}
			return next()
		})
		s.want("n2", lockcluster.Txn{Namespace: ns, Requests: []lockcluster.Request{
			lockcluster.ReleaseByPull{Namespace: ns, Repo: "acme/app", Pull: 7}, document("old", "2"), document("new", "2"),
		}}, lockcluster.StatusApplied)
		if failed.Load() != fails {
			t.Errorf("failed: %v", failed.Load())
		}
		check := func(where string) {
			t.Helper()
			for path, want := range map[string]string{"a": "", "b": "", "other": "#8"} {
				if got := s.holder("n3", in(path, "", 0)); got != want {
					t.Errorf("%s: %s is held by %q, want %q", where, path, got, want)
				}
			}
			if a, b := s.contents("old"), s.contents("new"); a != "2" || b != "2" {
				t.Errorf("%s: documents %q and %q", where, a, b)
			}
		}
		check("gradual")
		s.want("n3", in("a", "others", 9), lockcluster.StatusGranted)
		s.want("n3", lockcluster.Release{Namespace: ns, Text: in("a", "", 0).Key.Text()}, lockcluster.StatusReleased)
		s.mustSwitch(lockcluster.SystemLegacy)
		check("legacy")
	}
}
