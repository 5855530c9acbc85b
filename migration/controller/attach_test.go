package controller

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// restart starts a node again, configured by change.
func (s *site) restart(id string, change func(*Config)) {
	s.t.Helper()
	_ = s.ctl(id).Close()
	s.Down(id)
	if s.configs == nil {
		s.configs = map[string]func(*Config){}
	}
	s.configs[id] = change
	s.Up(id)
	s.start(id)
}

// A node that was started again with another legacy system does not take that
// for the one which is attached.
func TestAnotherLegacySystemIsNotTakenForTheAttached(t *testing.T) {
	none := func(cfg *Config) { cfg.Attached = nil }
	s := newSite(t, map[string]func(*Config){
		// A system that every node reaches: for the controller this is a Redis.
		"n1": func(cfg *Config) { cfg.Attached.Kind = KindRedis },
		"n2": none, "n3": none,
	})
	s.Eventually("the store is attached", func() bool { return s.ctl("n1").Migration().Mode == lockcluster.ModeLegacy })
	s.lead("n1")
	s.want("n1", acquire("acme/app", 7), lockcluster.StatusGranted)
	s.restart("n2", func(cfg *Config) { cfg.Attached = s.bolt(filepath.Join(t.TempDir(), "other.db")) })
	s.Eventually("n2 leads", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.Node(s.Leader()).TransferLeader(ctx, "n2") // seen below
		return s.Leader() == "n2" && s.ctl("n2").currentTerm() != nil
	})
	if got := s.try("n2", acquire("acme/app", 8)); got == lockcluster.StatusGranted.String() {
		t.Error("the lock of pull 7 was granted to pull 8, from another store")
	}
	s.lead("n1")
	s.want("n3", acquire("acme/app", 8), lockcluster.StatusHeld)
}

// After an attachment that was given up nothing is attached: a switch must not
// overwrite the locks of a system that nobody has said anything about.
func TestSwitchAfterAnAttachmentThatWasGivenUp(t *testing.T) {
	s := newSite(t, map[string]func(*Config){"n1": func(cfg *Config) { cfg.Attached = nil }})
	s.inMode(lockcluster.ModeEnhanced)
	s.want("n1", acquire("acme/enhanced", 1), lockcluster.StatusGranted)
	old := acquire("acme/app", 7)
	s.inFile(func(b backends.Backend) {
		if res, err := b.Do(t.Context(), backends.Fence{}, time.Now(), old); err != nil || res.Status != lockcluster.StatusGranted {
			t.Fatalf("%s %v", res.Status, err)
		}
	})
	s.restart("n1", nil)
	s.lead("n1")
	s.setHooks(func(_ string, req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		res, err := next()
		if isChange(req, func(m *lockcluster.Migration) bool { return m.GateClosed }) {
			return res, errors.Join(lockcluster.ErrOutcomeUnknown, context.DeadlineExceeded)
		}
		return res, err
	}, nil, nil)
	_, err := s.ctl("n1").SetMode(t.Context(), lockcluster.ModeRequest{Mode: "legacy", Authority: "legacy", Force: true, Timeout: 5 * time.Second})
	if err == nil {
		t.Fatal("the mode was changed without its gate")
	}
	s.setHooks(nil, nil, nil)
	s.inMode(lockcluster.ModeEnhanced)
	for _, to := range []lockcluster.System{lockcluster.SystemLegacy, lockcluster.SystemEnhanced} {
		if _, err := s.switchTo(to); !errors.Is(err, ErrRefused) {
			t.Errorf("switch to %s: %v, want a refusal", to, err)
		}
	}
	_ = s.ctl("n1").Close()
	s.inFile(func(b backends.Backend) {
		_ = b.Read(t.Context(), func(r state.Reader) {
			if state.GetLock(r, old.Key.Namespace, old.Key.Text()) == nil {
				t.Error("the lock in the file is gone")
			}
		})
	})
}

// inFile calls f with the file of a site, which nobody has open.
func (s *site) inFile(f func(b backends.Backend)) {
	s.t.Helper()
	b, err := backends.Open(s.t.Context(), backends.Options{Backend: KindBoltDB, Path: s.file, Create: true})
	if err != nil {
		s.t.Fatal(err)
	}
	defer b.Close()
	f(b)
}

// A release whose answer was lost is not made again where another pull request
// has got the lock since.
func TestLostAnswerToARelease(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.lead("n1")
	s.want("n2", acquire("acme/app", 7), lockcluster.StatusGranted)
	lost := false
	s.setHooks(nil, func(from, to, method string, next func() ([]byte, error)) ([]byte, error) {
		out, err := next()
		if from == "n2" && method == methodDecide && !lost {
			lost = true
			s.want("n1", acquire("acme/app", 8), lockcluster.StatusGranted)
			return nil, errors.New("connection reset by peer")
		}
		return out, err
	}, nil)
	s.try("n2", lockcluster.Release{Namespace: lockcluster.DefaultNamespace, Text: acquire("acme/app", 7).Key.Text()})
	s.want("n3", acquire("acme/app", 9), lockcluster.StatusHeld)
}
