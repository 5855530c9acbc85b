package controller

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// A Redis that comes back empty, as after a failover to an instance that had
// nothing, is refused; the right one that comes back is taken by itself, with
// every lock.
func TestRightRedisComesBack(t *testing.T) {
	for _, mode := range append(withMirror, lockcluster.ModeLegacy) {
		t.Run(mode.String(), func(t *testing.T) {
			s := newHeldSite(t, mode)
			s.killRedis()
			s.startRedis(t, t.TempDir())
			s.wantRefusal()
			s.killRedis()
			s.startRedis(t, s.dir)
			s.stillHeld()
			if st := s.status(); st.Legacy.Refused || st.Legacy.Problem != "" {
				t.Errorf("the status says %+v", st.Legacy)
			}
		})
	}
}

// A node that is told another URL neither decides as leader nor answers reads
// from there; under the others everything goes on.
func TestOtherRedisURL(t *testing.T) {
	s := newRedisSite(t, lockcluster.ModeLegacy)
	other := &redisSite{port: testutil.FreePort(t)}
	other.startRedis(t, t.TempDir())
	defer other.killRedis()
	s.lead("n1")
	s.want("n1", acquire("acme/app", 7), lockcluster.StatusGranted)
	s.restart("n2", atRedis(other.port))
	s.Eventually("n2 refuses reads", func() bool {
		_, err := s.ctl("n2").View(t.Context())
		return errors.Is(err, ErrRefused)
	})
	s.want("n2", acquire("acme/app", 8), lockcluster.StatusHeld) // n1 leads
	s.lead("n3")
	s.handOver() // to n1
	s.Eventually("n2 leads", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.Node(s.Leader()).TransferLeader(ctx, "n2") // seen below
		return s.Leader() == "n2" && s.ctl("n2").currentTerm() != nil && strings.Contains(s.try("n2", acquire("acme/app", 8)), "refused")
	})
	s.lead("n3")
	s.want("n3", acquire("acme/app", 8), lockcluster.StatusHeld)
}

// Another path, and a file that was put in the place of the right one, are
// refused; the right one is taken by itself again.
func TestOtherFile(t *testing.T) {
	for _, mode := range append(withMirror, lockcluster.ModeLegacy) {
		t.Run(mode.String(), func(t *testing.T) {
			s := newSite(t, nil)
			s.begin(mode)
			s.hold(mode)
			other := filepath.Join(t.TempDir(), "other.db")
			s.restart("n1", func(cfg *Config) { cfg.Attached = s.bolt(other) })
			s.Eventually("it is refused", func() bool { return s.status().Legacy.Refused })
			s.wantRefusal()
			s.restart("n1", nil)
			s.stillHeld()
			// Under the node that has it open.
			aside := s.file + ".aside"
			if err := errors.Join(os.Rename(s.file, aside), os.Rename(other, s.file)); err != nil {
				t.Fatal(err)
			}
			s.Eventually("it is refused", func() bool {
				s.try("n2", acquire("acme/other", 8)) // a write: what was read is still true
				return s.status().Legacy.Refused
			})
			s.wantRefusal()
			if err := errors.Join(os.Rename(s.file, other), os.Rename(aside, s.file)); err != nil {
				t.Fatal(err)
			}
			s.stillHeld()
		})
	}
}

// A file that was put in the place of the mirror is accepted by the first command
// that asks for it, also if nothing was written since, so that nobody has
// noticed yet.
func TestOtherFileIsAcceptedAtOnce(t *testing.T) {
	s := newSite(t, nil)
	s.begin(lockcluster.ModeBlueGreen)
	s.hold(lockcluster.ModeBlueGreen)
	s.mustSwitch(lockcluster.SystemEnhanced)
	if err := os.Rename(s.file, s.file+".aside"); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(s.file, 0o600, nil)
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
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

// Two clusters on one store: the second does not take it from the first, and
// leaves it as it is. By a person's word it does, and then the first is refused.
func TestTwoClustersOnOneStore(t *testing.T) {
	first := newHeldSite(t, lockcluster.ModeBlueGreen)
	fence := first.raw.Get(t.Context(), "lockcluster:fence").Val()
	at := atRedis(first.port)
	second := newSite(t, map[string]func(*Config){"n1": at, "n2": at, "n3": at})
	second.Eventually("it is refused", func() bool { return second.status().Legacy.Refused })
	second.wantRefusal()
	if now := first.raw.Get(t.Context(), "lockcluster:fence").Val(); strings.Fields(now)[0] != strings.Fields(fence)[0] {
		t.Errorf("the fence was %s, and is %s", fence, now)
	}
	first.stillHeld()
	if _, err := second.accept(lockcluster.ModeLegacy, word("legacy", true)); err != nil {
		t.Fatal(err)
	}
	second.stillHeld()
	first.wantRefusal()
	first.handOver()
	first.wantRefusal()
	second.stillHeld()
}
