package controller

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/migration"
)

// A record that cannot be read bars a switch to the enhanced system: the status
// says so as the switch does, and both name the command that lists it.
func TestUnreadableRecordBarsTheSwitch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "atlantis.db")
	db, err := bolt.Open(file, 0o600, nil)
	if err == nil {
		err = errors.Join(db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("runLocks"))
			if err != nil {
				return err
			}
			return b.Put([]byte("acme/app/./default/"), []byte("{"))
		}), db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, map[string]func(*Config){"n1": func(c *Config) { c.Attached = (&site{t: t}).bolt(file) }})
	s.inMode(lockcluster.ModeLegacy)
	s.mustMode(lockcluster.ModeBlueGreen, nil)
	const advice = `"lockcluster locks validate --from boltdb:FILE" lists them`
	if st := s.status(); st.SwitchReady || !strings.Contains(st.SwitchWhyNot, advice) {
		t.Errorf("status: ready %v, %q", st.SwitchReady, st.SwitchWhyNot)
	}
	if _, err := s.switchTo(lockcluster.SystemEnhanced); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), advice) {
		t.Errorf("switch: %v", err)
	}
}

// While an Atlantis has a followed file open the status says what a switch would
// be told, and a dry run is told it too; when it has gone both let the switch
// through, and nothing but the switch has taken the file.
func TestStatusOfAFollowedFile(t *testing.T) {
	s := newSite(t, nil)
	s.inMode(lockcluster.ModeLegacy)
	s.want("n1", acquire("acme/app", 7), lockcluster.StatusGranted)
	var atlantis *bolt.DB
	open := func() (err error) {
		atlantis, err = bolt.Open(s.file, 0o600, &bolt.Options{Timeout: 10 * time.Second})
		return err
	}
	s.restart("n1", func(cfg *Config) {
		if err := open(); err != nil {
			t.Fatal(err)
		}
		cfg.Attached.Open = func(ctx context.Context) (backends.Backend, error) {
			return migration.OpenFollowed(ctx, s.file, lockcluster.DefaultNamespace)
		}
	})
	dryRun := func() error {
		_, err := s.ctl("n3").Switch(t.Context(), lockcluster.SwitchRequest{To: "enhanced", DryRun: true})
		return err
	}
	var st Status
	s.Eventually("it is followed", func() bool { st = s.status(); return st.Legacy.Followed })
	const advice = "an Atlantis has the file open and decides about its locks; to go on, stop it"
	if st.SwitchReady || st.SwitchTo != "enhanced" || !strings.HasSuffix(st.SwitchWhyNot, advice) {
		t.Errorf("while an Atlantis has it: to %q, ready %t, %q", st.SwitchTo, st.SwitchReady, st.SwitchWhyNot)
	}
	_, switched := s.switchTo(lockcluster.SystemEnhanced)
	for _, err := range []error{dryRun(), switched} {
		if !errors.Is(err, ErrRefused) || !strings.HasSuffix(err.Error(), st.SwitchWhyNot) {
			t.Errorf("the status says %q, the switch %v", st.SwitchWhyNot, err)
		}
	}
	if err := atlantis.Close(); err != nil {
		t.Fatal(err)
	}
	if st := s.status(); !st.SwitchReady || st.SwitchWhyNot != "" || !st.Legacy.Followed {
		t.Errorf("without an Atlantis: ready %t, %q, %+v", st.SwitchReady, st.SwitchWhyNot, st.Legacy)
	}
	if err := dryRun(); err != nil {
		t.Errorf("a dry run: %v", err)
	}
	if err := open(); err != nil {
		t.Fatalf("it was taken by being asked about: %v", err)
	}
	if err := atlantis.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.switchTo(lockcluster.SystemEnhanced); err != nil {
		t.Errorf("the switch that the status lets through: %v", err)
	}
	s.Eventually("the way back is open", func() bool { st = s.status(); return st.SwitchTo == "legacy" && st.SwitchReady })
}
