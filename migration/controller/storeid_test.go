package controller

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
)

// A store that was attached before there were ids gets one at the next
// take-over; not one that another cluster has attached meanwhile.
func TestUpgradeGivesAnID(t *testing.T) {
	s := newHeldSite(t, lockcluster.ModeBlueGreen)
	forget := func(inStore string) {
		t.Helper()
		old := lockcluster.SetConfig{Settings: []lockcluster.Setting{{Name: settingStoreClaim}, {Name: settingStoreID}}}
		if _, err := s.Node(s.Leader()).Do(t.Context(), lockcluster.RequestID{}, old); err != nil {
			t.Fatal(err)
		}
		err := s.raw.HDel(t.Context(), "lockcluster:side", "id").Err()
		if inStore != "" {
			err = s.raw.HSet(t.Context(), "lockcluster:side", "id", inStore).Err()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	forget("")
	s.handOver()
	s.stillHeld()
	id := s.status().Legacy.ID
	if got := s.raw.HGet(t.Context(), "lockcluster:side", "id").Val(); got != id || len(id) != 32 {
		t.Errorf("the store has the id %q, the cluster %q", got, id)
	}
	forget(backends.NewStoreID())
	s.handOver()
	s.Eventually("it is refused", func() bool { return s.status().Legacy.Refused })
	s.raw.Del(t.Context(), "pr/"+acquire("acme/app", 7).Key.Text()) // the other one's doing, not for our copy
	s.wantRefusal()
	s.ctl(s.Leader()).currentTerm().followOnce(0) // as it does again and again
	s.mirrored("acme/app")
}

// A store that was let go is attached again without a question; one that another
// cluster has attached is not.
func TestAttachAgain(t *testing.T) {
	s := newHeldSite(t, lockcluster.ModeLegacy)
	id := s.status().Legacy.ID
	detach := func() {
		s.mustSwitch(lockcluster.SystemEnhanced)
		s.mustMode(lockcluster.ModeEnhanced, nil)
	}
	detach()
	s.mustMode(lockcluster.ModeBlueGreen, word("enhanced", false))
	s.mustSwitch(lockcluster.SystemLegacy)
	s.stillHeld()
	if got := s.status().Legacy.ID; got != id {
		t.Errorf("the id was %s, and is %s", id, got)
	}
	detach()
	if err := s.raw.HSet(t.Context(), "lockcluster:side", "id", backends.NewStoreID()).Err(); err != nil {
		t.Fatal(err)
	}
	attach := func(force bool) error {
		_, err := s.accept(lockcluster.ModeBlueGreen, word("enhanced", force))
		return err
	}
	if err := attach(false); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "another cluster") {
		t.Errorf("not forced: %v", err)
	}
	if err := attach(true); err != nil {
		t.Fatal(err)
	}
	s.mustSwitch(lockcluster.SystemLegacy)
	s.stillHeld()
}

// A restored backup leaves the cluster with the store that it has.
func TestRestoreKeepsTheStore(t *testing.T) {
	s := newHeldSite(t, lockcluster.ModeLegacy)
	var backup bytes.Buffer
	if _, err := s.Node("n1").SaveSnapshot(t.Context(), &backup); err != nil {
		t.Fatal(err)
	}
	s.flush()
	s.wantRefusal()
	if _, err := s.accept(lockcluster.ModeLegacy, word("legacy", true)); err != nil {
		t.Fatal(err)
	}
	s.leader()
	id := s.status().Legacy.ID
	if _, err := s.Node(s.Leader()).RestoreSnapshot(t.Context(), &backup); err != nil {
		t.Fatal(err)
	}
	s.leader()
	s.want("n2", acquire("acme/app", 8), lockcluster.StatusGranted)
	if got := s.status().Legacy.ID; got != id {
		t.Errorf("the id was %s, and is %s", id, got)
	}
}
