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
	doubted, again := false, make(chan struct{})
	s.setHooks(func(_ string, req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		r, is := req.(lockcluster.SetMigration)
		if is && doubted && strings.HasPrefix(r.Next.Reason, "a new leader") {
			waitFor(again)
		}
		res, err := next()
		if is && !doubted && r.Next.Mode == lockcluster.ModeGradual && !r.Next.GateClosed {
			doubted = true
			c.NoteRestored()
			time.Sleep(50 * time.Millisecond) // it has begun anew, and waits for the change
		}
		return res, err
	}, nil, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := c.SetMode(ctx, lockcluster.ModeRequest{Mode: lockcluster.ModeGradual.String()}); err != nil {
		t.Fatal(err)
	}
	if c.Leads() {
		t.Error("the leader decides while it is in doubt")
	}
	close(again)
	s.leader()
	s.want("n2", acquire("acme/app", 7), lockcluster.StatusGranted)
}
