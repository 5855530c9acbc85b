package cluster_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/cluster/clustertest"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// heard is what the nodes have told of.
type heard struct {
	mu      sync.Mutex // guards what follows
	changes map[string][]lockcluster.RecordRef
	roads   map[string][]lockcluster.Migration
}

func (h *heard) options(id string) []cluster.Option {
	return []cluster.Option{
		cluster.WithChanges(func(_ uint64, refs []lockcluster.RecordRef) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.changes[id] = append(h.changes[id], refs...)
		}),
		cluster.WithMigration(func(m lockcluster.Migration) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.roads[id] = append(h.roads[id], m)
		}),
	}
}

// epochs returns the epochs that a node has told of.
func (h *heard) epochs(id string) []uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []uint64
	for _, m := range h.roads[id] {
		all = append(all, m.Epoch)
	}
	return all
}

func (h *heard) has(id, key string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.changes[id], func(r lockcluster.RecordRef) bool { return r.Key == key })
}

func blueGreen(epoch uint64, active lockcluster.System, gateClosed bool) lockcluster.SetMigration {
	return lockcluster.SetMigration{ExpectedEpoch: epoch, Next: lockcluster.Migration{
		Mode: lockcluster.ModeBlueGreen, Active: active, GateClosed: gateClosed, Legacy: "redis", Namespace: lockcluster.DefaultNamespace,
	}}
}

// Every node tells of the state of the migration when it starts, at each change
// in the log, from a follower too, and of the restored one after a snapshot; and
// it names the records that were changed.
func TestNodesTellOfTheMigration(t *testing.T) {
	h := &heard{changes: map[string][]lockcluster.RecordRef{}, roads: map[string][]lockcluster.Migration{}}
	inBubble(t, clustertest.Options{NodeOptions: h.options}, func(t *testing.T, c *clustertest.Cluster) {
		follower := c.Followers()[0]
		if res := mustDo(t, c, follower, blueGreen(1, lockcluster.SystemLegacy, false)); res.Status != lockcluster.StatusApplied {
			t.Fatalf("set migration: %s %s", res.Status, res.Text)
		}
		for range 3 { // the node's own ids: each is judged
			if res := mustDo(t, c, follower, acquire("acme/app", 1)); res.Status != lockcluster.StatusNotActive {
				t.Fatalf("while the legacy system decides: %s", res.Status)
			}
		}
		mirror := lockcluster.Mirror{Namespace: lockcluster.DefaultNamespace, Epoch: 2, Documents: []lockcluster.Document{
			{Namespace: lockcluster.DefaultNamespace, Key: "doc", Revision: 1 << 52},
		}}
		mustDo(t, c, follower, mirror)
		mustDo(t, c, follower, blueGreen(2, lockcluster.SystemEnhanced, false))
		if res := mustDo(t, c, follower, acquire("acme/app", 1)); res.Status != lockcluster.StatusGranted {
			t.Fatalf("while the enhanced system decides: %s", res.Status)
		}
		for _, id := range c.Running() {
			c.Eventually(id+" has told of all", func() bool {
				return slices.Equal(h.epochs(id), []uint64{1, 2, 3}) && h.has(id, "doc") && h.has(id, "acme/app/./default/")
			})
		}
		if err := c.Node(follower).Snapshot(); err != nil {
			t.Fatal(err)
		}
		c.Crash(follower)
		c.Up(follower)
		c.Eventually("the restarted node tells of the restored state", func() bool {
			epochs := h.epochs(follower)
			return len(epochs) >= 5 && epochs[3] == 1 && epochs[len(epochs)-1] == 3
		})
	})
}

// A lease does not end while the gate is closed; when it opens again the lease
// is counted in full, whether its timer had run out meanwhile or not.
func TestLeasesAreCountedAnewAfterTheGate(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		const ttl = time.Minute
		short, long := lease("acme/short", "me", ttl), lease("acme/long", "me", 2*ttl)
		mustDo(t, c, "n1", short)
		mustDo(t, c, "n1", long)
		if res := mustDo(t, c, "n1", blueGreen(1, lockcluster.SystemEnhanced, true)); res.Status != lockcluster.StatusApplied {
			t.Fatalf("close the gate: %s %s", res.Status, res.Text)
		}
		time.Sleep(100 * time.Second)
		view, _ := c.Node(c.Leader()).StaleView()
		if state.GetLock(view, "default", short.Key.Text()) == nil {
			t.Fatal("a lease has ended while the gate was closed")
		}
		mustDo(t, c, "n1", blueGreen(2, lockcluster.SystemEnhanced, false))
		if d := heldFor(t, c, short, 3*ttl); d < ttl || d > ttl+time.Second {
			t.Errorf("a lease of %s was held for %s after the gate was opened", ttl, d)
		}
		if d := heldFor(t, c, long, 3*ttl); d < ttl-2*time.Second || d > ttl+time.Second {
			t.Errorf("the longer lease was held for another %s, want %s", d, ttl)
		}
	})
}
