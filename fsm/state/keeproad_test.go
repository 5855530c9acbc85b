package state_test

import (
	"reflect"
	"testing"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// TestRestoreKeepsTheRoad: a restored state says what the state before said about
// who decides, and has its settings, whatever the backup says.
func TestRestoreKeepsTheRoad(t *testing.T) {
	legacy := lockcluster.SetMigration{ExpectedEpoch: 1, Next: lockcluster.Migration{
		Mode: lockcluster.ModeShadow, Legacy: "boltdb", LegacyHost: "n1", Namespace: "default",
	}}
	set := func(v string) lockcluster.Request {
		return lockcluster.SetConfig{Settings: []lockcluster.Setting{{Name: "a", Value: v}, {Name: "only-" + v, Value: v}}}
	}
	for name, c := range map[string]struct{ present, backup []lockcluster.Request }{
		"backup from before the road": {[]lockcluster.Request{legacy, set("x")}, []lockcluster.Request{set("y")}},
		"backup from the road":        {[]lockcluster.Request{set("x")}, []lockcluster.Request{legacy, set("y")}},
	} {
		present, restored := newRules(t), newRules(t)
		for _, req := range c.present {
			present.do(req)
		}
		for _, req := range c.backup {
			restored.do(req)
		}
		restored.mem.Update(restored.index+1, 1, func(tx state.Tx) { state.RaiseEpoch(tx, present.mem.View()) })
		want, got := state.GetMigration(present.mem.View()), state.GetMigration(restored.mem.View())
		if got.Epoch <= want.Epoch {
			t.Errorf("%s: epoch %d after %d", name, got.Epoch, want.Epoch)
		}
		if got.Epoch = want.Epoch; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
		if got, want := state.Settings(restored.mem.View()), state.Settings(present.mem.View()); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: settings %v, want %v", name, got, want)
		}
	}
}
