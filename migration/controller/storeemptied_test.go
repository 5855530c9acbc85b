package controller

import (
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/compat"
)

// A Redis that is emptied under a sitting leader, and after that another leader:
// nobody is granted a lock that another holds, and the cluster's copy is not
// emptied either. The copy, written into the Redis by a person's word, is what
// counts then.
func TestEmptiedRedisIsRestored(t *testing.T) {
	for _, mode := range withMirror {
		t.Run(mode.String(), func(t *testing.T) {
			s := newHeldSite(t, mode)
			s.flush()
			s.wantRefusal()
			s.handOver()
			s.wantRefusal()
			s.mirrored("acme/app") // still
			res, err := s.accept(mode, word("enhanced", false))
			if err != nil || len(res.Notes) != 1 || res.Lost != 0 || res.Differences != 1 {
				t.Fatalf("%+v, %v", res, err)
			}
			s.stillHeld()
			if n := s.raw.Exists(t.Context(), "pr/"+acquire("acme/app", 7).Key.Text()).Val(); n != 1 {
				t.Error("the lock is not in the Redis")
			}
			s.handOver()
			s.stillHeld()
		})
	}
}

// A Redis that was emptied in mode legacy, where the cluster has no copy, is
// taken as it is only by a person's word, said twice.
func TestEmptiedRedisIsAcceptedAsItIs(t *testing.T) {
	s := newHeldSite(t, lockcluster.ModeLegacy)
	s.flush()
	s.wantRefusal()
	s.handOver()
	s.wantRefusal()
	if _, err := s.switchTo(lockcluster.SystemEnhanced); !errors.Is(err, ErrRefused) {
		t.Errorf("a switch without the store: %v", err)
	}
	for name, change := range map[string]func(*lockcluster.ModeRequest){
		"no copy":    word("enhanced", true),
		"not forced": word("legacy", false),
	} {
		if _, err := s.accept(lockcluster.ModeLegacy, change); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	res, err := s.accept(lockcluster.ModeLegacy, func(r *lockcluster.ModeRequest) { r.Authority, r.DryRun = "legacy", true })
	if err != nil || len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "0 records") {
		t.Errorf("dry run: %+v, %v", res, err)
	}
	s.wantRefusal()
	if _, err := s.accept(lockcluster.ModeLegacy, word("legacy", true)); err != nil {
		t.Fatal(err)
	}
	s.leader()
	s.want("n2", acquire("acme/app", 8), lockcluster.StatusGranted)
	s.want("n3", acquire("acme/app", 7), lockcluster.StatusHeld)
}

// What is there is taken as it is, although the cluster has more, only by who
// says that the rest may be lost. In mode gradual what the enhanced system
// decides about is not lost by that.
func TestAcceptedAsItIs(t *testing.T) {
	for _, mode := range withMirror {
		t.Run(mode.String(), func(t *testing.T) {
			s := newHeldSite(t, mode)
			if mode == lockcluster.ModeGradual {
				all := uint32(100)
				s.mustMode(mode, func(r *lockcluster.ModeRequest) { r.Percentage = &all })
				s.want("n1", acquire("acme/enhanced", 7), lockcluster.StatusGranted)
			}
			s.flush()
			found := acquire("acme/found", 7) // an Atlantis of its own writes to what is there
			value := compat.NewLockValue(lockcluster.Lock{Key: found.Key, Owner: found.Owner, User: "u", AcquiredAt: time.Now()})
			if err := s.raw.Set(t.Context(), "pr/"+found.Key.Text(), value, 0).Err(); err != nil {
				t.Fatal(err)
			}
			_, _ = s.ctl(s.Leader()).View(t.Context()) // so that it is noticed
			res, err := s.accept(mode, word("legacy", false))
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "1 that only the cluster's copy has") {
				t.Fatalf("not forced: %+v, %v", res, err)
			}
			if _, err = s.accept(mode, word("legacy", true)); err != nil {
				t.Fatal(err)
			}
			s.leader()
			s.want("n2", acquire("acme/found", 8), lockcluster.StatusHeld)
			s.want("n2", acquire("acme/app", 8), lockcluster.StatusGranted)
			if mode == lockcluster.ModeGradual {
				s.want("n3", acquire("acme/enhanced", 8), lockcluster.StatusHeld)
			}
		})
	}
}

// A leader that dies while it writes the cluster's copy into the store leaves
// that to the next one: what was written so far is not taken for all there is.
func TestHalfRestoredStore(t *testing.T) {
	s := newHeldSite(t, lockcluster.ModeBlueGreen)
	s.want("n1", acquire("acme/other", 7), lockcluster.StatusGranted)
	s.mirrored("acme/other")
	s.flush()
	s.wantRefusal()
	// As it is after the store has its id and the first record.
	claim, _ := json.Marshal(storeClaim{Claim: backends.Claim{ID: backends.NewStoreID(), Over: []string{backends.NoStore}}, Restore: true})
	var dying atomic.Bool
	dying.Store(true)
	s.setHooks(func(_ string, req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error) {
		if r, ok := req.(lockcluster.SetConfig); ok && dying.Load() {
			for _, set := range r.Settings {
				if set.Name == settingStoreID && set.Value != noStoreID {
					return lockcluster.Result{}, errors.New("the leader is dying")
				}
			}
		}
		return next()
	}, nil, nil)
	if _, err := s.Node(s.Leader()).Do(t.Context(), lockcluster.RequestID{}, lockcluster.SetConfig{Settings: []lockcluster.Setting{{Name: settingStoreClaim, Value: string(claim)}}}); err != nil {
		t.Fatal(err)
	}
	s.Eventually("the copy is in the store", func() bool {
		return s.raw.Exists(t.Context(), "pr/"+acquire("acme/other", 7).Key.Text(), "pr/"+acquire("acme/app", 7).Key.Text()).Val() == 2
	})
	s.raw.Del(t.Context(), "pr/"+acquire("acme/other", 7).Key.Text())
	s.wantRefusal()
	s.handOver()
	dying.Store(false)
	s.stillHeld()
	s.want("n1", acquire("acme/other", 8), lockcluster.StatusHeld)
}

// While the enhanced system decides, a store that was emptied is only a mirror
// that is refused: locks go on, and the copy is written anew by a person's word.
func TestEmptiedMirror(t *testing.T) {
	s := newHeldSite(t, lockcluster.ModeBlueGreen)
	s.mustSwitch(lockcluster.SystemEnhanced)
	s.flush()
	s.want("n2", acquire("acme/other", 7), lockcluster.StatusGranted)
	s.Eventually("the status shows it", func() bool { return s.status().Legacy.Refused })
	if _, err := s.switchTo(lockcluster.SystemLegacy); !errors.Is(err, ErrRefused) {
		t.Errorf("a switch to an emptied store: %v", err)
	}
	if _, err := s.accept(lockcluster.ModeBlueGreen, word("legacy", true)); !errors.Is(err, ErrRefused) {
		t.Errorf("an emptied mirror instead of what decides: %v", err)
	}
	if _, err := s.accept(lockcluster.ModeBlueGreen, word("enhanced", false)); err != nil {
		t.Fatal(err)
	}
	s.Eventually("the way back is open", func() bool {
		_, err := s.switchTo(lockcluster.SystemLegacy)
		return err == nil
	})
	s.stillHeld()
}

// Without its store the cluster goes on with its copy, if a person says so.
func TestForcedSwitchFromAnEmptiedStore(t *testing.T) {
	s := newHeldSite(t, lockcluster.ModeBlueGreen)
	s.flush()
	s.wantRefusal()
	if _, err := s.switchTo(lockcluster.SystemEnhanced); !errors.Is(err, ErrRefused) {
		t.Errorf("not forced: %v", err)
	}
	if _, err := s.ctl("n2").Switch(t.Context(), lockcluster.SwitchRequest{To: "enhanced", Force: true, Timeout: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	s.want("n2", acquire("acme/app", 8), lockcluster.StatusHeld)
}
