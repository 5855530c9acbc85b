package controller

import (
	"bytes"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
)

// A request of mode gradual whose decision is in the legacy store when a backup
// from before that mode is restored does not wait for ever, nor does anybody
// behind it.
func TestRestoreUnderAGradualRequest(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.lead("n1")
	var backup bytes.Buffer
	if _, err := s.Node("n1").SaveSnapshot(t.Context(), &backup); err != nil {
		t.Fatal(err)
	}
	s.mustMode(lockcluster.ModeGradual, nil)
	inStore, restored := make(chan struct{}), make(chan struct{})
	s.setHooks(nil, nil, func(req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		r, ok := req.(lockcluster.Routed)
		if a, is := r.Request.(lockcluster.Acquire); ok && is && a.Owner.Pull == 7 {
			defer func() { <-restored }()
			defer close(inStore)
		}
		return next()
	})
	done := make(chan string, 1)
	go func() { done <- s.try("n1", acquire("acme/app", 7)) }()
	<-inStore
	if _, err := s.Node("n1").RestoreSnapshot(t.Context(), &backup); err != nil {
		t.Fatal(err)
	}
	close(restored)
	select {
	case got := <-done:
		if got != "granted" && got != "already held" {
			t.Errorf("the request in flight: %s", got)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("the request in flight waits for ever")
	}
	s.mustMode(lockcluster.ModeShadow, nil)
	s.want("n2", acquire("acme/app", 8), lockcluster.StatusHeld)
}
