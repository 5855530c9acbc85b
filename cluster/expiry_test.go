package cluster_test

import (
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/cluster/clustertest"
	"github.com/lockcluster/lockcluster/fsm/state"
)

func lease(repo, owner string, ttl time.Duration) lockcluster.Acquire {
	return lockcluster.Acquire{
		Key:   lockcluster.Key{Namespace: lockcluster.DefaultNamespace, Repo: repo, Path: ".", Workspace: "default"},
		Owner: lockcluster.Owner{ID: owner},
		TTL:   ttl,
	}
}

// heldFor returns how long a lease stays, looking at the leader's own state.
func heldFor(t *testing.T, c *clustertest.Cluster, req lockcluster.Acquire, limit time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	for time.Since(start) < limit {
		view, _ := c.Node(c.Leader()).StaleView()
		if state.GetLock(view, req.Key.Namespace, req.Key.Text()) == nil {
			return time.Since(start)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return limit
}

// A lease ends after its TTL, not before, and soon after; a renewal counts
// from the renewal; a document's TTL works the same; a pull lock never ends.
func TestLeasesEndOnTime(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		const ttl = 35 * time.Second
		pull := acquire("acme/pull", 1)
		mustDo(t, c, "n1", pull)
		req := lease("acme/app", "me", ttl)
		mustDo(t, c, "n2", req)
		if d := heldFor(t, c, req, time.Minute); d < ttl || d > ttl+time.Second {
			t.Errorf("lease of %s was held for %s", ttl, d)
		}
		mustDo(t, c, "n2", req)
		time.Sleep(20 * time.Second)
		if res := mustDo(t, c, "n3", req); res.Status != lockcluster.StatusAlreadyHeld {
			t.Fatalf("renewal: %v", res.Status)
		}
		if d := heldFor(t, c, req, time.Minute); d < ttl || d > ttl+time.Second {
			t.Errorf("renewed lease of %s was held for %s after the renewal", ttl, d)
		}
		mustDo(t, c, "n1", lockcluster.PutDocument{Namespace: "default", Key: "doc", Value: []byte("v"), TTL: 3 * time.Hour})
		time.Sleep(3*time.Hour - time.Second)
		document := func() *lockcluster.Document {
			view, err := c.Node("n1").View(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return state.GetDocument(view, "default", "doc")
		}
		if document() == nil {
			t.Error("document ended early")
		}
		time.Sleep(2 * time.Second)
		if document() != nil {
			t.Error("document outlived its TTL")
		}
		if mustHolder(t, c, "n1", pull) == nil {
			t.Error("a pull lock ended by itself")
		}
	})
}

// A new leader counts every lease anew, in full; the old one, when it comes
// back, ends nothing.
func TestNewLeaderCountsLeasesInFull(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		const ttl = time.Minute
		req := lease("acme/app", "me", ttl)
		mustDo(t, c, "n1", req)
		time.Sleep(50 * time.Second)
		old := c.Leader()
		c.Network.Isolate(old, c.Running()...)
		leader := c.Leader(old)
		time.Sleep(5 * time.Second)
		if res := mustDo(t, c, leader, req); res.Status != lockcluster.StatusAlreadyHeld { // renewed there
			t.Fatalf("renewal on the new leader: %v", res.Status)
		}
		time.Sleep(30 * time.Second) // past the end that the old leader counts
		c.Network.Heal()
		if d := heldFor(t, c, req, 2*time.Minute); d < 29*time.Second || d > 31*time.Second {
			t.Errorf("lease was held for another %s, want 30s", d)
		}
		other := lease("acme/other", "me", ttl)
		mustDo(t, c, "n1", other)
		time.Sleep(59 * time.Second)
		c.Crash(c.Leader())
		if d := heldFor(t, c, other, 2*time.Minute); d < ttl-2*time.Second {
			t.Errorf("after a failover the lease of %s was held for %s only", ttl, d)
		}
	})
}

// Ten thousand leases that end at once all end.
func TestManyLeasesEnd(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		var txn lockcluster.Txn
		txn.Namespace = lockcluster.DefaultNamespace
		for i := range 10_000 {
			txn.Requests = append(txn.Requests, lockcluster.PutDocument{
				Namespace: txn.Namespace, Key: "k" + time.Duration(i).String(), Value: []byte("v"), TTL: time.Minute,
			})
		}
		if res := mustDo(t, c, "n1", txn); res.Status != lockcluster.StatusApplied {
			t.Fatalf("put: %v", res.Status)
		}
		time.Sleep(time.Minute + 5*time.Second)
		view, err := c.Node("n1").View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n := state.GetStats(view).Documents; n != 0 {
			t.Errorf("%d documents outlived their TTL", n)
		}
	})
}
