package controller

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
)

// Of two clusters that attach the same store at the same time one gets it. The
// other one is refused and stays as it is, with its locks.
func TestTwoClustersAttachAtTheSameTime(t *testing.T) {
	s := newRedisSite(t, lockcluster.ModeBlueGreen)
	s.mustSwitch(lockcluster.SystemEnhanced)
	s.mustMode(lockcluster.ModeEnhanced, nil)
	s.flush()
	taken := false
	s.setHooks(func(_ string, req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		if r, is := req.(lockcluster.SetMigration); is && r.Next.GateClosed && !taken {
			taken = true
			s.adoptedByAnother(t)
		}
		return next()
	}, nil, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err := s.ctl("n1").SetMode(ctx, lockcluster.ModeRequest{Mode: lockcluster.ModeLegacy.String(), Authority: lockcluster.SystemLegacy.String()})
	if !errors.Is(err, ErrRefused) || !taken {
		t.Fatalf("attached: %v", err)
	}
	if m := s.ctl(s.Leader()).Migration(); m.Mode != lockcluster.ModeEnhanced || m.Legacy != "" {
		t.Fatalf("the mode is %s with %q", m.Mode, m.Legacy)
	}
	s.want("n2", acquire("acme/app", 7), lockcluster.StatusGranted)
}

// adoptedByAnother gives the store to another cluster.
func (s *redisSite) adoptedByAnother(t *testing.T) {
	cfg := &Config{}
	atRedis(s.port)(cfg)
	b, err := cfg.Attached.Open(t.Context())
	if err != nil {
		t.Error(err)
		return
	}
	defer b.Close()
	claim := backends.Claim{ID: backends.NewStoreID(), Over: []string{backends.NoStore}}
	if err := b.(backends.Identified).Adopt(t.Context(), backends.Fence{Term: 1, Epoch: 1}, claim); err != nil {
		t.Error(err)
	}
}

// Once a store is let go nothing of the cluster comes there any more: a stock
// Atlantis may work with it from that moment on.
func TestDetachWaitsForTheLastCopy(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.mustMode(lockcluster.ModeBlueGreen, nil)
	s.mustSwitch(lockcluster.SystemEnhanced)
	s.lead("n1")
	s.Eventually("the mirror is whole", func() bool { return s.ctl("n1").changed.size() == 0 })
	begun, detached, judged := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var late, once atomic.Bool
	s.setHooks(nil, nil, func(req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		if _, is := req.(lockcluster.Mirror); is && !once.Swap(true) {
			close(begun)
			select {
			case <-detached:
				late.Store(true)
			case <-time.After(700 * time.Millisecond): // for so long it must not be detached
			}
			close(judged)
		}
		return next()
	})
	s.want("n1", acquire("acme/app", 7), lockcluster.StatusGranted)
	<-begun
	s.mustMode(lockcluster.ModeEnhanced, nil)
	close(detached)
	<-judged
	if late.Load() {
		t.Error("a copy came into the store after it was let go")
	}
}
