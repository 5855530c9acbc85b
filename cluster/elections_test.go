package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/cluster/clustertest"
	"github.com/lockcluster/lockcluster/fsm/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inBubble runs a test on a cluster in virtual time.
func inBubble(t *testing.T, o clustertest.Options, f func(t *testing.T, c *clustertest.Cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := clustertest.Start(t, o)
		defer c.Stop()
		f(t, c)
	})
}

func acquire(repo string, pull int) lockcluster.Acquire {
	return lockcluster.Acquire{
		Key:   lockcluster.Key{Namespace: lockcluster.DefaultNamespace, Repo: repo, Path: ".", Workspace: "default"},
		Owner: lockcluster.Owner{Repo: repo, Pull: pull},
	}
}

// noID asks the node to give the request an id.
var noID lockcluster.RequestID

func mustDo(t *testing.T, c *clustertest.Cluster, id string, req lockcluster.Request) lockcluster.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	res, err := c.Node(id).Do(ctx, lockcluster.RequestID{}, req)
	if err != nil {
		t.Fatalf("%T on %s: %v", req, id, err)
	}
	return res
}

func mustHolder(t *testing.T, c *clustertest.Cluster, id string, req lockcluster.Acquire) *lockcluster.Lock {
	t.Helper()
	view, err := c.Node(id).View(t.Context())
	if err != nil {
		t.Fatalf("view on %s: %v", id, err)
	}
	return state.GetLock(view, req.Key.Namespace, req.Key.Text())
}

// A request on any node is decided once, and any node reads it afterwards.
func TestAnyNodeTakesAnyRequest(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		for i, id := range c.Running() {
			req := acquire("acme/app"+id, i+1)
			if res := mustDo(t, c, id, req); res.Status != lockcluster.StatusGranted {
				t.Fatalf("acquire on %s: %v", id, res.Status)
			}
			for _, reader := range c.Running() {
				if l := mustHolder(t, c, reader, req); l == nil || l.Owner.Pull != i+1 {
					t.Errorf("%s reads %v after %s acquired", reader, l, id)
				}
			}
		}
	})
}

// When the leader dies another one takes over, nothing acknowledged is lost,
// and the dead one catches up when it comes back.
func TestFailover(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		first := acquire("acme/app", 1)
		mustDo(t, c, "n1", first)
		old := c.Leader()
		c.Crash(old)
		leader := c.Leader()
		if res := mustDo(t, c, leader, acquire("acme/app", 2)); res.Status != lockcluster.StatusHeld || res.Lock.Owner.Pull != 1 {
			t.Fatalf("after failover: %v, holder %v", res.Status, res.Lock)
		}
		second := acquire("acme/other", 3)
		mustDo(t, c, leader, second)
		c.Up(old)
		for _, req := range []lockcluster.Acquire{first, second} {
			if l := mustHolder(t, c, old, req); l == nil {
				t.Errorf("%s does not know lock %s after it came back", old, req.Key.Text())
			}
		}
	})
}

// A leader that is cut off serves no read, not even when it does not know yet
// that it was replaced, and proposes nothing that counts.
func TestIsolatedLeaderDoesNotServe(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		req := acquire("acme/app", 1)
		mustDo(t, c, "n1", req)
		old := c.Leader()
		c.Network.Isolate(old, c.Running()...)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond) // less than the leader lease
		defer cancel()
		if _, err := c.Node(old).View(ctx); !errors.Is(err, lockcluster.ErrNoLeader) {
			t.Fatalf("isolated leader answered a read: %v", err)
		}
		leader := c.Leader(old)
		mustDo(t, c, leader, lockcluster.Release{Namespace: req.Key.Namespace, Text: req.Key.Text()})
		ctx, cancel = context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := c.Node(old).View(ctx); !errors.Is(err, lockcluster.ErrNoLeader) {
			t.Fatalf("isolated node answered a read: %v", err)
		}
		if _, err := c.Node(old).Do(ctx, lockcluster.RequestID{}, acquire("acme/x", 9)); err == nil {
			t.Fatal("isolated node decided a request")
		}
		c.Network.Heal()
		if l := mustHolder(t, c, old, req); l != nil {
			t.Errorf("old leader still shows %v", l)
		}
	})
}

// A follower's read in a quiet cluster does not wait for raft's commit timer.
func TestFollowerReadIsPrompt(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		follower := c.Followers()[0]
		mustDo(t, c, follower, acquire("acme/first", 1))
		for i := range 20 {
			time.Sleep(time.Second)
			req := acquire(fmt.Sprintf("acme/app%d", i), 1)
			mustDo(t, c, follower, req)
			start := time.Now()
			if mustHolder(t, c, follower, req) == nil {
				t.Fatal("stale read")
			}
			if d := time.Since(start); d > 10*time.Millisecond {
				t.Errorf("the read took %s", d)
			}
		}
	})
}

// Readers that come together share the question to the other nodes.
func TestReadsAreShared(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		follower := c.Followers()[0]
		mustDo(t, c, follower, acquire("acme/app", 1))
		before := c.Network.Calls("ReadIndex")
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				if _, err := c.Node(follower).View(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if calls := c.Network.Calls("ReadIndex") - before; calls > 50 {
			t.Errorf("500 reads at once asked the leader %d times", calls)
		}
	})
}
