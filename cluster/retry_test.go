package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/cluster/clustertest"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// A request whose answer was lost is tried again by the node and applied once.
func TestLostAnswerIsRetriedExactlyOnce(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		follower := c.Followers()[0]
		var lost atomic.Int32
		c.Network.LoseReplies(func(call clustertest.Call) bool { return call.Method == "Propose" && lost.Add(1) <= 3 })
		res := mustDo(t, c, follower, acquire("acme/app", 1))
		if res.Status != lockcluster.StatusGranted || res.Lock.Token.Counter != 1 {
			t.Errorf("got %v with token %v: it was applied more than once", res.Status, res.Token)
		}
		if lost.Load() < 3 {
			t.Errorf("%d answers were lost", lost.Load())
		}
		// A second request of this node still is a request of its own.
		if res := mustDo(t, c, follower, acquire("acme/app", 1)); res.Status != lockcluster.StatusAlreadyHeld {
			t.Errorf("the next request got %v", res.Status)
		}
	})
}

// The same request id on another node, after the leader that answered it died,
// gets the same answer.
func TestRetryOnAnotherNodeAfterFailover(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		id := lockcluster.RequestID{ClientID: "client", Sequence: 1}
		req := acquire("acme/app", 1)
		leader := c.Leader()
		first, err := c.Node(leader).Do(t.Context(), id, req)
		if err != nil {
			t.Fatal(err)
		}
		c.Crash(leader)
		again, err := c.Node(c.Leader()).Do(t.Context(), id, req)
		if err != nil {
			t.Fatal(err)
		}
		if again.Status != lockcluster.StatusGranted || again.Lock.Token != first.Lock.Token || again.Index != first.Index {
			t.Errorf("first answer %v at %d, the retry got %v at %d", first.Lock.Token, first.Index, again.Status, again.Index)
		}
	})
}

// Requests of many clients on all nodes survive the death of the leader in
// their middle: each is decided once, none fails.
func TestRequestsSurviveFailover(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		leader := c.Leader()
		followers := c.Followers()
		var wg sync.WaitGroup
		for client := range 8 {
			wg.Go(func() {
				for i := range 50 {
					ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
					req := acquire(fmt.Sprintf("acme/app%d-%d", client, i), 1)
					res, err := c.Node(followers[client%2]).Do(ctx, lockcluster.RequestID{}, req)
					cancel()
					if err != nil || res.Status != lockcluster.StatusGranted {
						t.Errorf("request %d of client %d: %v, %v", i, client, res.Status, err)
					}
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
		time.Sleep(300 * time.Millisecond)
		c.Crash(leader)
		wg.Wait()
		view, err := c.Node(followers[0]).View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		stats := state.GetStats(view)
		if stats.Locks != 400 || stats.LastToken.Counter != 400 {
			t.Errorf("%d locks with %d tokens, want 400 of each", stats.Locks, stats.LastToken.Counter)
		}
	})
}

// Without a majority a request fails by its deadline, and the error says what
// is known: nothing was proposed, or the outcome is unknown.
func TestErrorsWithoutMajority(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		leader := c.Leader()
		followers := c.Followers()
		c.Network.Isolate(leader, c.Running()...)
		start := time.Now()
		_, err := c.Node(leader).Do(t.Context(), lockcluster.RequestID{}, acquire("acme/app", 1))
		if !errors.Is(err, lockcluster.ErrOutcomeUnknown) {
			t.Errorf("an isolated leader says %v", err)
		}
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("it took %s, want the default of 10s", d)
		}
		c.Network.Heal()
		c.Crash(followers[0])
		c.Crash(followers[1])
		time.Sleep(5 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Node(leader).Do(ctx, lockcluster.RequestID{}, acquire("acme/x", 1)); !errors.Is(err, lockcluster.ErrNoLeader) || errors.Is(err, lockcluster.ErrOutcomeUnknown) {
			t.Errorf("a node without a leader says %v", err)
		}
	})
}

// Bad input never reaches the log.
func TestInvalidRequestIsRefused(t *testing.T) {
	inBubble(t, clustertest.Options{Nodes: 1}, func(t *testing.T, c *clustertest.Cluster) {
		before := c.Node(c.Leader()).LastIndex()
		big := acquire("acme/app", 1)
		var txn lockcluster.Txn
		txn.Namespace = "default"
		for i := range 3 {
			txn.Requests = append(txn.Requests, lockcluster.PutDocument{Namespace: "default", Key: fmt.Sprint(i), Value: make([]byte, 8<<20)})
		}
		big.Value = make([]byte, 9<<20)
		for _, req := range []lockcluster.Request{acquire("", 1), big, txn} {
			if _, err := c.Node("n1").Do(t.Context(), lockcluster.RequestID{}, req); !errors.Is(err, lockcluster.ErrInvalid) {
				t.Errorf("%T: %v", req, err)
			}
		}
		answers, err := c.Node("n1").ServePropose(t.Context(), [][]byte{[]byte("garbage"), {}})
		if err != nil || len(answers) != 2 {
			t.Fatalf("garbage from another node: %v", err)
		}
		if last := c.Node("n1").LastIndex(); last != before {
			t.Errorf("the log grew from %d to %d", before, last)
		}
	})
}

// A node that is asked to propose but does not lead refuses: one hop only.
func TestForwardedRequestIsNotForwardedAgain(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		follower := c.Followers()[0]
		before := c.Network.Calls("Propose")
		answers, err := c.Node(follower).ServePropose(t.Context(), [][]byte{{1}})
		if err != nil || len(answers) != 1 || !strings.Contains(string(answers[0]), "not the leader") {
			t.Errorf("got %q, %v", answers, err)
		}
		if c.Network.Calls("Propose") != before {
			t.Error("it was forwarded")
		}
		if _, err := c.Node(follower).ServeReadIndex(t.Context(), "n9"); !errors.Is(err, lockcluster.ErrNoLeader) {
			t.Errorf("read index from a follower: %v", err)
		}
	})
}
