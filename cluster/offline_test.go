package cluster_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/cluster/clustertest"
)

// contents is every file under dir with its bytes and mode.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %v %s\n", path, info.Mode(), content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// snapshotting makes snapshots often, and keeps little of the log behind them.
func snapshotting(c *cluster.Config) { c.SnapshotThreshold, c.SnapshotInterval = 16, time.Second }

// The data of a node that was killed gives exactly the state that it had, with
// a snapshot and the log after it, on either log store; the directory is not
// changed; a running node's is refused.
func TestReadOffline(t *testing.T) {
	bothStores(t, snapshotting, func(t *testing.T, c *clustertest.Cluster) {
		for i := range 45 {
			mustDo(t, c, c.Running()[i%3], acquire(fmt.Sprintf("acme/app%d", i), i+1))
			if i == 30 {
				time.Sleep(3 * time.Second) // room for snapshots
			}
		}
		want := mustAgree(t, c)
		var refused *cluster.DataDirError
		if _, _, err := cluster.ReadOffline(c.Dir("n1"), ""); !errors.As(err, &refused) || !strings.Contains(err.Error(), "is running") {
			t.Fatalf("the data of a running node: %v", err)
		}
		last := c.Node("n1").LastIndex()
		for _, id := range c.Running() {
			c.Crash(id)
		}
		for _, id := range []string{"n1", "n2", "n3"} {
			before := contents(t, c.Dir(id))
			mem, info, err := cluster.ReadOffline(c.Dir(id), "")
			if err != nil {
				t.Fatal(err)
			}
			if contents(t, c.Dir(id)) != before {
				t.Errorf("%s: the data directory has changed", id)
			}
			if got := mem.View().Hashes(); got != want {
				t.Errorf("%s: state %v, want %v; %+v", id, got, want, info)
			}
			if info.SnapshotIndex == 0 || info.Entries == 0 || info.NodeID != id || info.LastTerm == 0 || len(info.Warnings) > 0 {
				t.Errorf("%s: %+v", id, info)
			}
			if id == "n1" && info.LastIndex != last {
				t.Errorf("it ends with entry %d, want %d", info.LastIndex, last)
			}
		}
		// The node starts again on what was read.
		for _, id := range []string{"n1", "n2", "n3"} {
			c.Up(id)
		}
		mustDo(t, c, "n1", acquire("acme/after", 1))
	})
}

// A damaged snapshot is passed over for an older one or the log if they reach
// as far, and else the data is refused: never a state with a gap.
func TestReadOfflineWithDamage(t *testing.T) {
	bothStores(t, snapshotting, func(t *testing.T, c *clustertest.Cluster) {
		for i := range 40 {
			mustDo(t, c, "n1", acquire(fmt.Sprintf("acme/app%d", i), i+1))
		}
		time.Sleep(3 * time.Second) // room for snapshots
		mustDo(t, c, "n1", acquire("acme/last", 1))
		want := mustAgree(t, c)
		c.Crash("n1")
		dir := c.Dir("n1")
		if _, _, err := cluster.ReadOffline(dir, "other"); err == nil || !strings.Contains(err.Error(), "keeps its log in") {
			t.Errorf("a wrong log store: %v", err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "raft", "snapshots", "*", "state.bin"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no snapshots: %v", err)
		}
		for _, f := range files {
			damage(t, f, 200)
		}
		mem, info, err := cluster.ReadOffline(dir, "")
		switch {
		case err != nil && strings.Contains(err.Error(), "entries are missing"):
		case err != nil:
			t.Errorf("got %v", err)
		case mem.View().Hashes().Data != want.Data:
			t.Errorf("state %v, want %v", mem.View().Hashes(), want)
		}
		if len(info.Warnings) != len(files) {
			t.Errorf("%d snapshots are damaged, the warnings are %q", len(files), info.Warnings)
		}
	})
}

// Where the log's end is damaged, what is read ends before, and says so: without
// that word a lock that was acknowledged would be gone unnoticed.
func TestReadOfflineTellsOfADamagedLog(t *testing.T) {
	bothStores(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		for i := range 5 {
			mustDo(t, c, "n1", acquire(fmt.Sprintf("acme/app%d", i), i+1))
		}
		mustAgree(t, c)
		c.Crash("n1")
		raft := filepath.Join(c.Dir("n1"), "raft")
		file, at := filepath.Join(raft, "log.db"), 20 // a root
		if files, _ := filepath.Glob(filepath.Join(raft, "wal", "*.wal")); len(files) == 1 {
			b, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			file, at = files[0], len(bytes.TrimRight(b, "\x00"))-40 // the last entry
		}
		damage(t, file, at)
		_, info, err := cluster.ReadOffline(c.Dir("n1"), "")
		if err != nil || len(info.Warnings) != 1 || !strings.Contains(info.Warnings[0], "the log is damaged") {
			t.Errorf("%+v, %v", info, err)
		}
	})
}

// A node whose snapshots are all damaged says what to do.
func TestDamagedSnapshotsAreRefused(t *testing.T) {
	bothStores(t, snapshotting, func(t *testing.T, c *clustertest.Cluster) {
		for i := range 40 {
			mustDo(t, c, "n1", acquire(fmt.Sprintf("acme/app%d", i), i+1))
		}
		time.Sleep(3 * time.Second) // room for snapshots
		c.Crash("n1")
		files, err := filepath.Glob(filepath.Join(c.Dir("n1"), "raft", "snapshots", "*", "state.bin"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no snapshots: %v", err)
		}
		for _, f := range files {
			damage(t, f, 200)
		}
		var refused *cluster.DataDirError
		if err := c.Add("n1", "n2"); !errors.As(err, &refused) || !strings.Contains(refused.Advice, "add a new one with an empty directory") {
			t.Errorf("got %v", err)
		}
	})
}

// damage changes one byte of a file.
func damage(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[min(at, len(b)-1)] ^= 0x40
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A damaged log entry, and a directory that is no node's, are refused with a
// text that says what to do.
func TestReadOfflineRefuses(t *testing.T) {
	inBubble(t, onDisk(cluster.LogStoreBoltDB, nil), func(t *testing.T, c *clustertest.Cluster) {
		for i := range 20 {
			mustDo(t, c, "n1", acquire(fmt.Sprintf("acme/marked-repository-%d", i), i+1))
		}
		c.Crash("n1")
		path := filepath.Join(c.Dir("n1"), "raft", "log.db")
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := strings.Index(string(b), "marked"); at >= 0; at = strings.Index(string(b), "marked") {
			b[at] = 'M'
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := cluster.ReadOffline(c.Dir("n1"), ""); err == nil || !strings.Contains(err.Error(), "use the data of another node") {
			t.Errorf("a damaged entry: %v", err)
		}
	})
	var refused *cluster.DataDirError
	if _, _, err := cluster.ReadOffline(t.TempDir(), ""); !errors.As(err, &refused) {
		t.Errorf("an empty directory: %v", err)
	}
}
