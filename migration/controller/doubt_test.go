package controller

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
)

// A leader that comes to doubt what the systems hold while it ends a change of
// the mode (a backup was restored just then) does not decide because that change
// has ended well.
func TestDoubtOutlastsAChange(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.lead("n1")
	c := s.ctl("n1")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	doubted := false
	ending, goOn, again := make(chan struct{}), make(chan struct{}), make(chan struct{})
	s.setHooks(func(_ string, req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		r, is := req.(lockcluster.SetMigration)
		if is && doubted && strings.HasPrefix(r.Next.Reason, "a new leader") {
			select {
			case <-again:
			case <-ctx.Done():
			}
		}
		res, err := next()
		if is && !doubted && r.Next.Mode == lockcluster.ModeGradual && !r.Next.GateClosed {
			doubted = true
			close(ending)
			select {
			case <-goOn:
			case <-ctx.Done():
			}
		}
		return res, err
	}, nil, nil)
	changed := make(chan error, 1)
	go func() {
		_, err := c.SetMode(ctx, lockcluster.ModeRequest{Mode: lockcluster.ModeGradual.String()})
		changed <- err
	}()
	select {
	case <-ending:
	case err := <-changed:
		t.Fatalf("the change did not end as it should: %v", err)
	}
	// Who begins anew drops what there is to copy; in this mode nobody else does.
	work := c.currentTerm().toEnhanced
	work.addAll()
	c.NoteRestored()
	s.Eventually("it has begun anew, and waits for the change", func() bool { return work.size() == 0 })
	close(goOn)
	if err := <-changed; err != nil {
		t.Fatal(err)
	}
	if c.Leads() {
		t.Error("the leader decides while it is in doubt")
	}
	close(again)
	s.leader()
	s.want("n2", acquire("acme/app", 7), lockcluster.StatusGranted)
}
