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
			}
		case lockcluster.SetMigration:
			if r.Next.GateClosed {
				defer close(closed)
			} else {
				close(verified)
				time.Sleep(200 * time.Millisecond) // the mirror is first
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
	time.Sleep(300 * time.Millisecond)
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
	once := false
	s.setHooks(func(node string, req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		s.mu.Lock()
		first := !once && isChange(req, func(m *lockcluster.Migration) bool { return m.GateClosed })
		once = once || first
		s.mu.Unlock()
		if first { // the leader waits in vain, and the entry comes all the same
			time.AfterFunc(200*time.Millisecond, func() { _, _ = s.Node(node).Do(context.Background(), lockcluster.RequestID{}, req) })
			return lockcluster.Result{}, context.DeadlineExceeded
		}
		return next()
	}, nil, nil)
	if _, err := s.switchTo(lockcluster.SystemEnhanced); err == nil {
		t.Fatal("the switch went on without its gate")
	}
	time.Sleep(400 * time.Millisecond)
	s.want("n2", acquire("acme/app", 7), lockcluster.StatusGranted)
}
