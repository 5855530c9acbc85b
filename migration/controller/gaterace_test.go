package controller

import (
	"context"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
)

// A mirror that is at work while the gate closes must not send what it has read
// before the last request was decided: it would be applied after the two
// systems were compared, and the lock would be free in the system that decides.
func TestLateMirrorDoesNotUndoTheSwitch(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.mustMode(lockcluster.ModeBlueGreen, nil)
	s.lead("n1")
	s.want("n1", acquire("acme/app", 7), lockcluster.StatusGranted)
	s.Eventually("the mirror is whole", func() bool { return s.ctl("n1").currentTerm().toEnhanced.size() == 0 })

	// Pull 7's release and pull 8's request are in the store when the gate closes.
	// The mirror copies the release, slowly, while pull 8 gets the lock.
	closed, copied, verified := make(chan struct{}), make(chan struct{}), make(chan struct{})
	mirrored := make(chan struct{})
	inStore := make(chan struct{}, 2)
	late := false
	s.setHooks(func(_ string, req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		switch r := req.(type) {
		case lockcluster.Mirror:
			s.mu.Lock()
			first := !late && len(r.Deletes) > 0
			late = late || first
			s.mu.Unlock()
			if first {
				close(copied)
				waitFor(verified)
				defer close(mirrored)
			}
		case lockcluster.SetMigration:
			if r.Next.GateClosed {
				defer close(closed)
			} else {
				close(verified)
				s.mu.Lock()
				held := late
				s.mu.Unlock()
				if held { // the mirror is first
					waitFor(mirrored)
				}
			}
		}
		return next()
	}, nil, func(req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		switch req.(type) {
		case lockcluster.Release:
			inStore <- struct{}{}
			<-closed
		case lockcluster.Acquire:
			inStore <- struct{}{}
			<-closed
			waitFor(copied)
		}
		return next()
	})
	released, taken := make(chan string, 1), make(chan string, 1)
	go func() { released <- s.try("n1", release("acme/app", 7)) }()
	<-inStore
	go func() { taken <- s.try("n1", acquire("acme/app", 8)) }()
	<-inStore
	if _, err := s.switchTo(lockcluster.SystemEnhanced); err != nil {
		t.Fatalf("switch: %v", err)
	}
	if a, b := <-released, <-taken; a != "released" || b != "granted" {
		t.Fatalf("pull 7: %s, pull 8: %s", a, b)
	}
	s.Eventually("all that is under way has come", func() bool { return s.ctl("n1").changed.size() == 0 })
	s.setHooks(nil, nil, nil)
	if got := s.holder("n2", acquire("acme/app", 8)); got != "#8" {
		t.Errorf("after the switch the lock of pull 8 is held by %q", got)
	}
	s.want("n2", acquire("acme/app", 9), lockcluster.StatusHeld)
}

// waitFor waits for c, but not for ever: what is waited for may be what must not
// happen.
func waitFor(c <-chan struct{}) {
	select {
	case <-c:
	case <-time.After(time.Second):
	}
}

// A request of mode gradual that the legacy system decides while the gate
// closes is copied back under the new epoch, not tried for ever under the old.
func TestGradualRequestInFlightWhenTheGateCloses(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.mustMode(lockcluster.ModeGradual, nil) // 0 percent: the legacy system decides
	s.lead("n1")
	inStore, closed := make(chan struct{}), make(chan struct{})
	s.setHooks(func(_ string, req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		res, err := next()
		if isChange(req, func(m *lockcluster.Migration) bool { return m.GateClosed }) {
			close(closed)
		}
		return res, err
	}, nil, func(req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		if r, ok := req.(lockcluster.Routed); ok {
			if a, ok := r.Request.(lockcluster.Acquire); ok && a.Owner.Pull == 7 {
				close(inStore)
				<-closed
			}
		}
		return next()
	})
	done := make(chan string, 1)
	go func() { done <- s.try("n1", acquire("acme/app", 7)) }()
	<-inStore
	if _, err := s.switchTo(lockcluster.SystemEnhanced); err != nil {
		t.Errorf("switch: %v", err)
	}
	if got := <-done; got != lockcluster.StatusGranted.String() {
		t.Errorf("the request in flight: %s", got)
	}
	s.want("n2", acquire("acme/app", 8), lockcluster.StatusHeld)
}

// A gate that closes after its change was given up is opened again.
func TestGateThatClosesTooLateIsOpened(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	type entry struct {
		node string
		req  lockcluster.Request
	}
	late := make(chan entry, 1)
	s.setHooks(func(node string, req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		if isChange(req, func(m *lockcluster.Migration) bool { return m.GateClosed }) {
			late <- entry{node, req}
			return lockcluster.Result{}, context.DeadlineExceeded // the leader waits in vain
		}
		return next()
	}, nil, nil)
	if _, err := s.switchTo(lockcluster.SystemEnhanced); err == nil {
		t.Fatal("the switch went on without its gate")
	}
	e := <-late
	if res, err := s.Node(e.node).Do(t.Context(), lockcluster.RequestID{}, e.req); err != nil || res.Status != lockcluster.StatusApplied { // it comes all the same
		t.Fatalf("the gate does not close: %s, %v", res.Status, err)
	}
	s.want("n2", acquire("acme/app", 7), lockcluster.StatusGranted)
}
