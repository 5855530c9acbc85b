package wire

import (
	"path/filepath"
	"testing"

	"github.com/runatlantis/atlantis/server/core/redis"
	"github.com/runatlantis/atlantis/server/events/command"
)

// A global apply lock that was imported is one for Atlantis on every node.
func TestV11ImportedApplyLock(t *testing.T) {
	tg := startCluster(t)
	file := filepath.Join("..", "..", "..", "migration", "testdata", "atlantis-0.47.1.db")
	if rep, _ := runImport(t, tg, file); rep.Imported == 0 {
		t.Fatalf("%+v", rep)
	}
	for i := range tg.doors {
		db, err := redis.NewWithConfig(tg.config(t, i))
		if err != nil {
			t.Fatal(err)
		}
		if lock, err := db.CheckCommandLock(command.Apply); err != nil || lock == nil || lock.LockMetadata.UnixTime == 0 {
			t.Errorf("node %d: %+v, %v", i+1, lock, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}
