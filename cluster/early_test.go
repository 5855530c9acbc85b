package cluster_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/cluster/clustertest"
)

// lastOnDisk is the last entry that a node has on its disk.
func lastOnDisk(t *testing.T, c *clustertest.Cluster, id string) uint64 {
	t.Helper()
	last, err := c.Disk(id).Log().LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// A leader whose disk hangs has sent its entry to the followers, and has not
// counted it: nobody was answered, no node has applied it. If the leader dies so,
// the next one has the entry, which then happens exactly once, and the old one,
// which never had it on its disk, gets it from there.
func TestEntryThatTheLeaderNeverHad(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		leader, followers := c.Leader(), c.Followers()
		mustKnowEachOther(t, c) // or the entry would be the registration of a node
		mustDo(t, c, leader, acquire("acme/first", 1))
		mustAgree(t, c)
		before := lastOnDisk(t, c, leader)
		release := c.Disk(leader).HangWrites()
		req, id := acquire("acme/app", 1), lockcluster.RequestID{ClientID: "client", Sequence: 1}
		answer := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			_, err := c.Node(leader).Do(ctx, id, req)
			answer <- err
		}()
		c.Eventually("both followers have the entry", func() bool {
			return lastOnDisk(t, c, followers[0]) > before && lastOnDisk(t, c, followers[1]) > before
		})
		if last := lastOnDisk(t, c, leader); last != before {
			t.Fatalf("the leader has entry %d, want %d", last, before)
		}
		select {
		case err := <-answer:
			t.Fatalf("it was answered with %v", err)
		default:
		}
		for _, n := range c.Running() {
			if view, _ := c.Node(n).StaleView(); view.Index() > before {
				t.Errorf("%s has applied entry %d", n, view.Index())
			}
		}

		done := make(chan struct{})
		go func() {
			defer close(done)
			time.Sleep(5100 * time.Millisecond) // the watchdog stops the node before
			c.Disk(leader).FailWrites(errors.New("the process is gone"))
			release()
		}()
		if err := c.Halted(leader, time.Minute); !errors.Is(err, cluster.ErrStorage) {
			t.Fatalf("halted with %v", err)
		}
		<-done
		if res := mustDo(t, c, c.Leader(), acquire("acme/app", 2)); res.Status != lockcluster.StatusHeld {
			t.Errorf("another pull request gets %v of the lock that the entry has granted", res.Status)
		}
		res, err := c.Node(c.Leader()).Do(t.Context(), id, req) // the client asks again
		if err != nil || res.Status != lockcluster.StatusGranted {
			t.Errorf("asked again: %v, %v", res.Status, err)
		}
		c.Disk(leader).FailWrites(nil)
		c.Up(leader)
		mustAgree(t, c)
		if l := mustHolder(t, c, leader, req); l == nil || l.Owner.Pull != 1 {
			t.Errorf("the old leader has %v", l)
		}
	})
}

// A leader that is told to keep raft's order sends nothing that its own disk does
// not have.
func TestNoEarlySend(t *testing.T) {
	inBubble(t, clustertest.Options{Configure: func(cfg *cluster.Config) { cfg.NoEarlySend = true }}, func(t *testing.T, c *clustertest.Cluster) {
		leader := c.Leader()
		mustKnowEachOther(t, c) // or the entry would be the registration of a node
		mustDo(t, c, leader, acquire("acme/first", 1))
		mustAgree(t, c)
		before := lastOnDisk(t, c, leader)
		release := c.Disk(leader).HangWrites()
		answer := make(chan error, 1)
		go func() {
			_, err := c.Node(leader).Do(t.Context(), lockcluster.RequestID{}, acquire("acme/app", 1))
			answer <- err
		}()
		synctest.Wait()
		for _, n := range c.Followers() {
			if last := lastOnDisk(t, c, n); last != before {
				t.Errorf("%s has entry %d, want %d", n, last, before)
			}
		}
		release()
		if err := <-answer; err != nil {
			t.Error(err)
		}
	})
}
