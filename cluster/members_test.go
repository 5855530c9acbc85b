package cluster_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/cluster/clustertest"
)

func suffrage(c *clustertest.Cluster, id string) string {
	for _, s := range c.Node(c.Leader()).Servers() {
		if string(s.ID) == id {
			return s.Suffrage.String()
		}
	}
	return "none"
}

// A node joins through any member as a non-voter and becomes a voter when it
// has caught up; then the cluster survives with it instead of an old one.
func TestJoin(t *testing.T) {
	for name, o := range map[string]clustertest.Options{"memory": {}, "disk": {OnDisk: true}} {
		t.Run(name, func(t *testing.T) { inBubble(t, o, testJoin) })
	}
}

func testJoin(t *testing.T, c *clustertest.Cluster) {
	req := acquire("acme/app", 1)
	mustDo(t, c, "n1", req)
	if err := c.Add("n4", c.Followers()[0]); err != nil {
		t.Fatal(err)
	}
	if s := suffrage(c, "n4"); s != raft.Nonvoter.String() {
		t.Errorf("right after it joined n4 is %s", s)
	}
	c.Eventually("n4 votes", func() bool { return suffrage(c, "n4") == raft.Voter.String() })
	if mustHolder(t, c, "n4", req) == nil {
		t.Error("n4 lacks the lock")
	}
	leader := c.Leader()
	c.Crash(leader)
	c.Leader()
	mustDo(t, c, "n4", acquire("acme/other", 1))
	status, err := c.Node("n4").Status(t.Context())
	if err != nil || len(status.Members) != 4 || status.Leader == "" {
		t.Fatalf("status %+v, %v", status, err)
	}
	for _, m := range status.Members {
		if m.Reachable == (m.ID == leader) || (m.Role == "leader") != (m.ID == status.Leader) {
			t.Errorf("member %+v", m)
		}
	}
	c.Crash("n4")
	c.Up("n4") // it does not ask to join again
	if mustHolder(t, c, "n4", req) == nil {
		t.Error("after its restart n4 lacks the lock")
	}
}

// A node that finds nobody to join at first goes on trying.
func TestJoinIsTriedAgain(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		c.Leader()
		for _, id := range []string{"n1", "n2", "n3"} {
			c.Network.Cut("n4", id)
		}
		if err := c.Add("n4", "n1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		c.Network.Heal()
		c.Eventually("n4 votes", func() bool { return suffrage(c, "n4") == raft.Voter.String() })
	})
}

// Membership changes that would break the cluster are refused, with the reason.
func TestMembershipGuards(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		ctx := t.Context()
		leader := c.Node(c.Leader())
		followers := c.Followers()
		for _, tc := range []struct {
			want string
			err  error
		}{
			{"is a member already", leader.AddNode(ctx, cluster.Member{ID: "n2", RaftAddr: "other:1"})},
			{"belongs to node n2", leader.AddNode(ctx, cluster.Member{ID: "n7", RaftAddr: "n2:1"})},
			{"node id", leader.AddNode(ctx, cluster.Member{ID: "bad id", RaftAddr: "x:1"})},
			{"host:port", leader.AddNode(ctx, cluster.Member{ID: "n7", RaftAddr: "x"})},
			{"there is no node n7", leader.RemoveNode(ctx, "n7")},
			{"there is no node n7; the members are n1, n2, n3", leader.TransferLeader(ctx, "n7")},
		} {
			if !errors.Is(tc.err, cluster.ErrMembership) || !strings.Contains(tc.err.Error(), tc.want) {
				t.Errorf("got %v, want a refusal with %q", tc.err, tc.want)
			}
		}
		mustDo(t, c, followers[0], acquire("acme/app", 1)) // so that it knows the leader's address
		var notLeader *lockcluster.NotLeaderError
		if err := c.Node(followers[0]).RemoveNode(ctx, "n1"); !errors.As(err, &notLeader) || notLeader.LeaderAddr != c.Leader() {
			t.Errorf("a follower says %v", err)
		}
		c.Crash(followers[0])
		time.Sleep(5 * time.Second)
		if err := leader.RemoveNode(ctx, followers[1]); !errors.Is(err, cluster.ErrMembership) || !strings.Contains(err.Error(), "no majority") {
			t.Errorf("removing the node that makes the majority: %v", err)
		}
		if err := leader.TransferLeader(ctx, followers[0]); !errors.Is(err, cluster.ErrMembership) {
			t.Errorf("handing over to a dead node: %v", err)
		}
	})
	inBubble(t, clustertest.Options{Nodes: 1}, func(t *testing.T, c *clustertest.Cluster) {
		if err := c.Node(c.Leader()).RemoveNode(t.Context(), "n1"); !errors.Is(err, cluster.ErrMembership) || !strings.Contains(err.Error(), "last voter") {
			t.Errorf("removing the last voter: %v", err)
		}
	})
}

// A removed node stops with an error of its own, and its id never comes back.
func TestRemovedNodeStops(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		mustKnowEachOther(t, c)
		follower := c.Followers()[0]
		if err := c.Node(c.Leader()).RemoveNode(t.Context(), follower); err != nil {
			t.Fatal(err)
		}
		if err := c.Halted(follower, time.Minute); !errors.Is(err, cluster.ErrRemoved) || cluster.ExitCode(err) != cluster.ExitCodeRemoved {
			t.Fatalf("halted with %v", err)
		}
		mustDo(t, c, c.Leader(), acquire("acme/app", 1))
		err := c.Node(c.Leader()).AddNode(t.Context(), cluster.Member{ID: follower, RaftAddr: "new:1"})
		if !errors.Is(err, cluster.ErrMembership) || !strings.Contains(err.Error(), "was used before") {
			t.Errorf("adding %s again: %v", follower, err)
		}
		if err := c.Add("n4", c.Leader()); err != nil {
			t.Fatal(err)
		}
		c.Eventually("n4 votes", func() bool { return suffrage(c, "n4") == raft.Voter.String() })
	})
}

// A node that was removed while it was down, or is started once more after it
// was removed, finds that out, although it has no snapshot and nobody tells it
// what of its log is committed.
func TestRemovedNodeFindsOutAtItsStart(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		follower := c.Followers()[0]
		mustDo(t, c, follower, acquire("acme/app", 1))
		c.Down(follower)
		if err := c.Node(c.Leader()).RemoveNode(t.Context(), follower); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			c.Up(follower)
			if err := c.Halted(follower, time.Minute); !errors.Is(err, cluster.ErrRemoved) {
				t.Fatalf("halted with %v", err)
			}
		}
	})
}

// mustKnowEachOther waits until every node knows where all others are: one that is
// removed before has nobody to ask.
func mustKnowEachOther(t *testing.T, c *clustertest.Cluster) {
	t.Helper()
	c.Eventually("the nodes know each other", func() bool {
		for _, id := range c.Running() {
			s, err := c.Node(id).Status(t.Context())
			if err != nil || slices.ContainsFunc(s.Members, func(m cluster.MemberStatus) bool { return m.GRPCAddr == "" }) {
				return false
			}
		}
		return true
	})
}

// A leader that is told to remove itself hands over first.
func TestLeaderRemovesItself(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		mustKnowEachOther(t, c)
		old := c.Leader()
		if err := c.Node(old).RemoveNode(t.Context(), old); !errors.Is(err, lockcluster.ErrNoLeader) {
			t.Fatalf("got %v", err)
		}
		leader := c.Leader()
		if leader == old {
			t.Fatal("it still leads")
		}
		if err := c.Node(leader).RemoveNode(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		if err := c.Halted(old, time.Minute); !errors.Is(err, cluster.ErrRemoved) {
			t.Errorf("halted with %v", err)
		}
	})
}

// Joining under the id of a member fails at once and leaves nothing running.
func TestJoinUnderUsedIDIsRefused(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		leader := c.Leader()
		follower := c.Followers()[0]
		c.Crash(follower)
		c.Lose(follower)
		if err := c.Add(follower, leader); err == nil || !strings.Contains(err.Error(), "needs a new id") {
			t.Errorf("join under a used id: %v", err)
		}
	})
}

// Leadership moves to the node that is named, fast, and no request fails.
func TestTransferLeader(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		for range 10 {
			target := c.Followers()[0]
			start := time.Now()
			if err := c.Node(c.Leader()).TransferLeader(t.Context(), target); err != nil {
				t.Fatal(err)
			}
			if got := c.Leader(); got != target {
				t.Errorf("leader is %s, want %s", got, target)
			}
			mustDo(t, c, target, acquire("acme/app", 1))
			if d := time.Since(start); d > time.Second {
				t.Errorf("the transfer took %s", d)
			}
		}
	})
}

// A graceful stop hands leadership over before the node goes.
func TestCloseHandsOver(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		old := c.Leader()
		start := time.Now()
		c.Down(old)
		leader := c.Leader()
		mustDo(t, c, leader, acquire("acme/app", 1))
		if d := time.Since(start); d > 400*time.Millisecond {
			t.Errorf("writes were back after %s", d)
		}
	})
}

// A closed node answers nothing, and closing twice is harmless.
func TestClosedNode(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		node := c.Node("n1")
		c.Down("n1")
		if _, err := node.Do(t.Context(), noID, acquire("acme/app", 1)); !errors.Is(err, lockcluster.ErrClosed) {
			t.Errorf("Do: %v", err)
		}
		if _, err := node.View(t.Context()); !errors.Is(err, lockcluster.ErrClosed) {
			t.Errorf("View: %v", err)
		}
		if err := node.Close(context.Background()); !errors.Is(err, lockcluster.ErrClosed) {
			t.Errorf("Close: %v", err)
		}
	})
}

// allMayVote waits until no founder is fresh any more: until then it helps to
// elect nobody but the first leader.
func allMayVote(c *clustertest.Cluster) {
	c.Eventually("all have caught up once", func() bool {
		for _, id := range c.Running() {
			b, err := os.ReadFile(filepath.Join(c.Dir(id), "node.json"))
			if err != nil || strings.Contains(string(b), "fresh") {
				return false
			}
		}
		return true
	})
}

// A founder whose disk was lost comes back under its id with nothing, and must
// not help to elect a node that lacks what it had acknowledged.
func TestWipedFounderDoesNotVote(t *testing.T) {
	inBubble(t, clustertest.Options{OnDisk: true}, func(t *testing.T, c *clustertest.Cluster) {
		leader := c.Leader()
		followers := c.Followers()
		allMayVote(c)
		behind, wiped := followers[0], followers[1]
		c.Crash(behind)
		req := acquire("acme/app", 1)
		mustDo(t, c, leader, req) // on the leader and the node that will be wiped
		c.Crash(wiped)
		c.Crash(leader)
		if err := os.RemoveAll(c.Dir(wiped)); err != nil {
			t.Fatal(err)
		}
		c.Up(behind)
		c.Up(wiped)
		time.Sleep(time.Minute)
		for _, id := range []string{behind, wiped} {
			if c.Node(id).IsLeader() {
				t.Fatalf("%s leads without the acknowledged lock", id)
			}
		}
		c.Up(leader)
		if mustHolder(t, c, wiped, req) == nil {
			t.Error("the acknowledged lock is gone")
		}
		c.Crash(c.Leader()) // the wiped node has caught up, and votes again
		mustDo(t, c, c.Leader(), acquire("acme/other", 1))
	})
}
