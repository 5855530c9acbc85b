package controller

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/lockcluster/lockcluster"
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
	if st := s.status(); st.SwitchReady || !strings.Contains(strings.Join(st.Criteria, "\n"), advice) {
		t.Errorf("status: ready %v, %q", st.SwitchReady, st.Criteria)
	}
	if _, err := s.switchTo(lockcluster.SystemEnhanced); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), advice) {
		t.Errorf("switch: %v", err)
	}
}
