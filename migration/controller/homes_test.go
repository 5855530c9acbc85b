package controller

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/fsm/state"
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

// A grant of the enhanced system that its client no longer waits for, and that
// is still on its way into the log, does not meet a grant of the legacy system
// to a user of another group.
func TestLateGrantMeetsNoOther(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.lead("n1")
	s.gradually(0, lockcluster.CanaryRule{UserGroup: "platform"})
	mine, theirs := acquire("acme/app", 7), acquire("acme/app", 8)
	mine.Value, theirs.Value = valueOf(mine, "platform"), valueOf(theirs, "others")
	ctx, cancel := context.WithCancel(t.Context())
	var late func() (lockcluster.Result, error)
	s.setHooks(func(node string, req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		if r, ok := req.(lockcluster.Routed); ok && late == nil {
			late = func() (lockcluster.Result, error) {
				return s.Node(node).Do(context.Background(), lockcluster.RequestID{}, r)
			}
			cancel()
			return lockcluster.Result{}, lockcluster.ErrOutcomeUnknown
		}
		return next()
	}, nil, func(req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		if r, ok := req.(lockcluster.Routed); ok {
			if _, ok := r.Request.(lockcluster.Acquire); ok {
				if res, err := late(); err != nil || res.Status != lockcluster.StatusNotActive {
					t.Errorf("the late grant: %s, %v", res.Status, err)
				}
			}
		}
		return next()
	})
	if _, err := s.ctl("n1").Do(ctx, lockcluster.RequestID{}, mine); err == nil {
		t.Error("the client was told an outcome that is not known")
	}
	s.want("n1", theirs, lockcluster.StatusGranted)
	s.want("n2", mine, lockcluster.StatusHeld)
}

// A transaction of the legacy system is decided by records of both, as they are;
// but the systems are not compared as a whole for it.
func TestTransactionIsDecidedByWhatItNames(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.lead("n1")
	s.gradually(100)
	s.want("n1", document("enhanced", "1"), lockcluster.StatusStored)
	s.gradually(0)
	before := s.views.Load()
	for i := range 20 {
		s.want("n1", document("enhanced", fmt.Sprint(i)), lockcluster.StatusStored)
		var revision uint64
		if err := s.ctl("n1").Read(t.Context(), func(r state.Reader, _ uint64) {
			revision = state.Revision(r, ns, lockcluster.SpaceDocument, "enhanced")
		}); err != nil {
			t.Fatal(err)
		}
		txn := lockcluster.Txn{Namespace: ns, Requests: []lockcluster.Request{document(fmt.Sprintf("legacy%d", i), "1")}}
		for _, c := range []struct {
			revision uint64
			want     lockcluster.Status
		}{{revision - 1, lockcluster.StatusConflict}, {revision, lockcluster.StatusApplied}} {
			txn.Conditions = []lockcluster.Condition{{Space: lockcluster.SpaceDocument, Key: "enhanced", Revision: c.revision}}
			s.want("n1", txn, c.want)
		}
	}
	if n := s.views.Load() - before; n > 2 {
		t.Errorf("the store was read as a whole %d times", n)
	}
}
