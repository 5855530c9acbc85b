package cluster_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/cluster/clustertest"
	"github.com/lockcluster/lockcluster/fsm"
	"github.com/lockcluster/lockcluster/fsm/state"
)

func onDisk(store string, change func(*cluster.Config)) clustertest.Options {
	return clustertest.Options{OnDisk: true, Configure: func(c *cluster.Config) {
		c.LogStore = store
		if change != nil {
			change(c)
		}
	}}
}

func bothStores(t *testing.T, change func(*cluster.Config), f func(t *testing.T, c *clustertest.Cluster)) {
	for _, store := range []string{cluster.LogStoreWAL, cluster.LogStoreBoltDB} {
		t.Run(store, func(t *testing.T) { inBubble(t, onDisk(store, change), f) })
	}
}

// mustAgree checks that all running nodes reach the same state.
func mustAgree(t *testing.T, c *clustertest.Cluster) state.Hashes {
	t.Helper()
	var hashes state.Hashes
	c.Eventually("equal states", func() bool {
		seen := map[state.Hashes]bool{}
		for _, id := range c.Running() {
			view, _ := c.Node(id).StaleView()
			hashes = view.Hashes()
			seen[hashes] = true
		}
		return len(seen) == 1
	})
	for _, id := range c.Running() {
		view, _ := c.Node(id).StaleView()
		if err := state.CheckInvariants(view); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	return hashes
}

// All nodes at once stop and start again, with and without snapshots, and have
// every acknowledged lock; on either log store.
func TestRestartOfAll(t *testing.T) {
	bothStores(t, func(c *cluster.Config) { c.SnapshotThreshold, c.SnapshotInterval = 16, time.Second }, func(t *testing.T, c *clustertest.Cluster) {
		total := 0
		for range 4 {
			for range 30 {
				total++
				mustDo(t, c, c.Running()[total%3], acquire(fmt.Sprintf("acme/app%d", total), 1))
			}
			time.Sleep(3 * time.Second) // room for snapshots
			ids := c.Running()
			for _, id := range ids {
				c.Crash(id)
			}
			for _, id := range ids {
				c.Up(id)
			}
			view, err := c.Node("n1").View(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := state.GetStats(view).Locks; got != uint64(total) {
				t.Fatalf("%d locks after the restart, want %d", got, total)
			}
		}
		mustAgree(t, c)
	})
}

// A node that is too far behind for the log gets a snapshot, on either log
// store, goes on from there, and survives a restart after that.
func TestLaggingNodeGetsSnapshot(t *testing.T) {
	small := func(c *cluster.Config) { c.SnapshotThreshold, c.SnapshotInterval = 8, 100*time.Millisecond }
	bothStores(t, small, func(t *testing.T, c *clustertest.Cluster) {
		behind := c.Followers()[0]
		mustDo(t, c, behind, acquire("acme/first", 1))
		c.Crash(behind)
		leader := c.Leader()
		for i := range 100 {
			mustDo(t, c, leader, acquire(fmt.Sprintf("acme/app%d", i), 1))
			time.Sleep(20 * time.Millisecond)
		}
		c.Up(behind)
		if mustHolder(t, c, behind, acquire("acme/app99", 1)) == nil {
			t.Error("it lacks the last lock")
		}
		mustAgree(t, c)
		c.Crash(behind)
		mustDo(t, c, c.Leader(), acquire("acme/late", 1))
		c.Up(behind)
		if mustHolder(t, c, behind, acquire("acme/late", 1)) == nil {
			t.Error("after its restart it lacks what came later")
		}
		mustAgree(t, c)
	})
}

// The log stays short when it grows by bytes, and the node starts from it.
func TestLogIsLimitedByBytes(t *testing.T) {
	limit := func(c *cluster.Config) { c.SnapshotBytes = 1 << 20 }
	bothStores(t, limit, func(t *testing.T, c *clustertest.Cluster) {
		for i := range 60 {
			// It is in the log, but not in the state.
			put := lockcluster.PutDocument{
				Namespace: "default", Key: "none", Value: bytes.Repeat([]byte{byte(i)}, 100_000), Condition: lockcluster.PutIfPresent,
			}
			mustDo(t, c, "n1", put)
			time.Sleep(500 * time.Millisecond)
		}
		for _, id := range c.Running() {
			c.Crash(id)
			c.Up(id)
		}
		mustAgree(t, c)
		for _, id := range c.Running() {
			if first := c.Node(id).FirstIndex(); first < 10 {
				t.Errorf("the log of %s still begins at %d", id, first)
			}
		}
	})
}

// A backup of a running cluster restores into another cluster: same locks,
// greater tokens, all nodes agree, and clients go on.
func TestBackupAndRestore(t *testing.T) {
	var backup bytes.Buffer
	var want fsm.SnapshotInfo
	var token lockcluster.Token
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		for i := range 50 {
			token = mustDo(t, c, "n1", acquire(fmt.Sprintf("acme/app%d", i), 1)).Token
		}
		var err error
		if want, err = c.Node(c.Followers()[0]).SaveSnapshot(t.Context(), &backup); err != nil {
			t.Fatal(err)
		}
	})
	if got, err := cluster.InspectSnapshot(bytes.NewReader(backup.Bytes())); err != nil || got != want {
		t.Fatalf("inspect: %+v, %v; want %+v", got, err, want)
	}
	for name, o := range map[string]clustertest.Options{
		"memory": {}, "wal": onDisk(cluster.LogStoreWAL, nil), "boltdb": onDisk(cluster.LogStoreBoltDB, nil),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, o, func(t *testing.T, c *clustertest.Cluster) {
				lost := acquire("acme/lost", 1)
				mustDo(t, c, "n1", lost)
				mustDo(t, c, "n2", lease("acme/lease", "me", time.Minute))
				var notLeader *lockcluster.NotLeaderError
				if _, err := c.Node(c.Followers()[0]).RestoreSnapshot(t.Context(), bytes.NewReader(backup.Bytes())); !errors.As(err, &notLeader) {
					t.Errorf("a follower restores: %v", err)
				}
				for _, damaged := range [][]byte{nil, []byte("garbage"), backup.Bytes()[:backup.Len()-1]} {
					if _, err := c.Node(c.Leader()).RestoreSnapshot(t.Context(), bytes.NewReader(damaged)); !errors.Is(err, fsm.ErrCorruptSnapshot) {
						t.Errorf("restore of damage: %v", err)
					}
				}
				if mustHolder(t, c, "n1", lost) == nil {
					t.Error("a refused restore changed the state")
				}
				res, err := c.Node(c.Leader()).RestoreSnapshot(t.Context(), bytes.NewReader(backup.Bytes()))
				if err != nil || !token.Less(res.Token) {
					t.Fatalf("restore: %v, token %v after %v", err, res.Token, token)
				}
				if mustHolder(t, c, "n2", lost) != nil {
					t.Error("a lock that the backup does not have is still there")
				}
				for _, id := range c.Running() {
					if mustHolder(t, c, id, acquire("acme/app49", 1)) == nil {
						t.Errorf("%s lacks a lock of the backup", id)
					}
				}
				if res := mustDo(t, c, "n3", acquire("acme/new", 1)); !token.Less(res.Token) {
					t.Errorf("token %v is not greater than %v", res.Token, token)
				}
				mustAgree(t, c)
				for _, id := range c.Running() {
					c.Crash(id)
					c.Up(id)
				}
				mustDo(t, c, "n1", acquire("acme/newer", 1))
				mustAgree(t, c)
			})
		})
	}
}
