package controller

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/migration"
)

// A detached legacy system stays detached: that a node which is started again
// still names it, and that nobody holds a lock at that moment, is no order to
// go back to it.
func TestDetachedStaysDetached(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.want("n2", acquire("acme/app", 7), lockcluster.StatusGranted)
	s.mustSwitch(lockcluster.SystemEnhanced)
	s.mustMode(lockcluster.ModeEnhanced, nil)
	s.want("n2", release("acme/app", 7), lockcluster.StatusReleased)
	var refused atomic.Bool
	s.restart("n1", func(cfg *Config) {
		cfg.Logger = slog.New(logHook{func(msg string) {
			if strings.HasPrefix(msg, "the legacy system of this node was not attached by itself") {
				refused.Store(true)
			}
		}})
	})
	s.Eventually("n1 is answered, after which it does not ask again", func() bool {
		return refused.Load() || s.ctl(s.Leader()).Migration().Legacy != ""
	})
	if m := s.ctl(s.Leader()).Migration(); m.Mode != lockcluster.ModeEnhanced || m.Legacy != "" {
		t.Errorf("after a restart the mode is %s, the legacy system %q", m.Mode, m.Legacy)
	}
	s.want("n2", acquire("acme/app", 8), lockcluster.StatusGranted)
}

// What the leader still has in hand of mode shadow is not thrown away by a
// switch that goes on without the legacy system.
func TestForcedSwitchFinishesShadowing(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.mustMode(lockcluster.ModeShadow, nil)
	s.lead("n2")
	held := make(chan struct{})
	s.setHooks(func(_ string, req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		if _, ok := req.(lockcluster.Shadow); ok {
			<-held
		}
		if isChange(req, func(m *lockcluster.Migration) bool { return m.GateClosed }) {
			time.AfterFunc(200*time.Millisecond, func() { close(held) })
		}
		return next()
	}, nil, nil)
	s.want("n2", acquire("acme/app", 7), lockcluster.StatusGranted)
	s.mu.Lock()
	s.call = func(_, _, method string, next func() ([]byte, error)) ([]byte, error) {
		if strings.HasPrefix(method, "legacy.") {
			return nil, errors.New("no route to host")
		}
		return next()
	}
	s.mu.Unlock()
	if _, err := s.ctl("n2").Switch(t.Context(), lockcluster.SwitchRequest{To: "enhanced", Force: true, Timeout: 5 * time.Second}); err != nil {
		t.Fatalf("switch: %v", err)
	}
	s.want("n2", acquire("acme/app", 8), lockcluster.StatusHeld)
}

// After a backup was restored the two systems are compared before anything is
// decided: the restored copy does not know what the legacy system has granted
// since.
func TestRestoreInModeGradual(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.mustMode(lockcluster.ModeGradual, nil) // 0 percent
	s.lead("n1")
	var backup bytes.Buffer
	node := s.Node("n1")
	s.want("n2", acquire("acme/app", 7), lockcluster.StatusGranted)
	s.mustMode(lockcluster.ModeGradual, func(r *lockcluster.ModeRequest) { all := uint32(100); r.Percentage = &all })
	s.want("n2", release("acme/app", 7), lockcluster.StatusReleased)
	if _, err := node.SaveSnapshot(t.Context(), &backup); err != nil { // all shares are the enhanced system's, the key is free
		t.Fatal(err)
	}
	s.mustMode(lockcluster.ModeGradual, func(r *lockcluster.ModeRequest) { none := uint32(0); r.Percentage = &none })
	s.want("n2", acquire("acme/app", 8), lockcluster.StatusGranted) // by the legacy system
	if _, err := node.RestoreSnapshot(t.Context(), &backup); err != nil {
		t.Fatal(err)
	}
	s.want("n2", acquire("acme/app", 9), lockcluster.StatusHeld)
}

// A file that was followed and then taken is the cluster's after a restart, too.
func TestTakenFileStaysTaken(t *testing.T) {
	s := newSite(t, nil)
	follow := func(cfg *Config) {
		cfg.Attached.Open = func(ctx context.Context) (backends.Backend, error) {
			return migration.OpenFollowed(ctx, s.file, lockcluster.DefaultNamespace)
		}
	}
	s.inMode(lockcluster.ModeLegacy)
	s.want("n1", acquire("acme/app", 7), lockcluster.StatusGranted)
	s.restart("n1", follow) // from here on a followed file
	s.Eventually("the file can be read", func() bool {
		_, err := s.ctl("n1").legacy.local(t.Context())
		return err == nil
	})
	s.Eventually("the switch takes the file", func() bool {
		_, err := s.switchTo(lockcluster.SystemEnhanced)
		return err == nil
	})
	s.mustSwitch(lockcluster.SystemLegacy)
	s.restart("n1", follow)
	s.want("n2", acquire("acme/app", 8), lockcluster.StatusHeld)
	s.mustSwitch(lockcluster.SystemEnhanced)
	s.restart("n1", follow)
	s.Eventually("no Atlantis can open the file", func() bool {
		b, err := backends.Open(t.Context(), backends.Options{Backend: KindBoltDB, Path: s.file})
		if err == nil {
			_ = b.Close()
		}
		return errors.Is(err, backends.ErrInUse)
	})
}
