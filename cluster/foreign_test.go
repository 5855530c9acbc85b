package cluster_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/cluster/clustertest"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// addressOfDead kills a follower, and returns the address that it had.
func addressOfDead(c *clustertest.Cluster) string {
	dead := c.Followers()[0]
	servers := c.Node(dead).Servers()
	c.Crash(dead)
	i := slices.IndexFunc(servers, func(s raft.Server) bool { return string(s.ID) == dead })
	return string(servers[i].Address)
}

// A node that has got the address of a dead node of another cluster keeps its
// locks and its leadership: the other cluster's leader, which still sends to
// that address, is refused, even when its term is greater.
func TestAddressOfAnotherClustersNode(t *testing.T) {
	o := onDisk(cluster.LogStoreWAL, nil)
	o.TCP = true
	old := clustertest.Start(t, o)
	defer old.Stop()
	allMayVote(old)
	for range 3 { // for a greater term
		leader := old.Leader()
		old.Crash(leader)
		old.Leader()
		old.Up(leader)
	}
	mustDo(t, old, old.Leader(), acquire("old/app", 1))
	addr := addressOfDead(old)

	var log lockedBuffer
	n, err := cluster.Open(cluster.Config{
		NodeID: "m1", DataDir: t.TempDir(), RaftAddr: addr, GRPCAddr: "m1",
		InitialCluster: []cluster.Member{{ID: "m1", RaftAddr: addr}}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}, cluster.WithHalt(func(err error) { t.Errorf("the node halts: %v", err) }))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close(t.Context())
	testutil.WaitFor(t, 30*time.Second, n.IsLeader)
	term, _, _ := n.Leading()
	req := acquire("new/app", 1)
	if res, err := n.Do(t.Context(), lockcluster.RequestID{}, req); err != nil || res.Status != lockcluster.StatusGranted {
		t.Fatalf("%v, %v", res.Status, err)
	}
	testutil.WaitFor(t, 20*time.Second, func() bool {
		return strings.Contains(log.String(), "refused a connection to the raft port")
	})
	mustDo(t, old, old.Leader(), acquire("old/more", 2)) // which is replicated, if it can be
	res, err := n.Do(t.Context(), lockcluster.RequestID{}, acquire("new/app", 2))
	if err != nil || res.Status != lockcluster.StatusHeld {
		t.Errorf("the lock is %v, %v, want that it is held", res.Status, err)
	}
	if now, _, _ := n.Leading(); now != term {
		t.Errorf("term %d became %d", term, now)
	}
}

// countedLayer counts the connections that came in.
type countedLayer struct {
	net.Listener
	accepted atomic.Int32
}

func (l *countedLayer) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return c, err
}

func (*countedLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(addr), timeout)
}

// A node that joins takes nothing from another cluster, which has its address from
// when it was another node's, while it waits for an answer.
func TestJoiningNodeAtAnotherClustersAddress(t *testing.T) {
	o := onDisk(cluster.LogStoreWAL, nil)
	o.TCP = true
	old := clustertest.Start(t, o)
	defer old.Stop()
	mustDo(t, old, old.Leader(), acquire("old/app", 1))
	addr := addressOfDead(old)

	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	layer := &countedLayer{Listener: l}
	n, err := cluster.Open(cluster.Config{
		NodeID: "m4", DataDir: t.TempDir(), RaftAddr: addr, GRPCAddr: "m4", Join: []string{"127.0.0.1:1"},
		RequestTimeout: time.Second, Logger: slog.New(slog.DiscardHandler),
	}, cluster.WithStreamLayer(layer), cluster.WithHalt(func(err error) { t.Errorf("the node halts: %v", err) }))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close(t.Context())
	testutil.WaitFor(t, 20*time.Second, func() bool { return layer.accepted.Load() >= 5 || len(n.Servers()) > 0 })
	if servers := n.Servers(); len(servers) > 0 {
		t.Errorf("the node takes part in a cluster of %v", servers)
	}
}

// A node that was removed, and comes back to the address that its successor has now,
// is not taken for the successor: nothing is acknowledged on its word, whether it has
// its old data or none.
func TestRemovedNodeAtTheAddressOfItsSuccessor(t *testing.T) {
	for name, lost := range map[string]bool{"with its data": false, "without data": true} {
		t.Run(name, func(t *testing.T) {
			o := onDisk(cluster.LogStoreWAL, nil)
			o.TCP = true
			c := clustertest.Start(t, o)
			defer c.Stop()
			allMayVote(c)
			mustKnowEachOther(t, c)
			leader, removed, other := c.Leader(), c.Followers()[0], c.Followers()[1]
			c.Crash(removed)
			if err := c.Node(leader).RemoveNode(t.Context(), removed); err != nil {
				t.Fatal(err)
			}
			c.TakeAddress("n4", removed)
			if err := c.Add("n4", leader); err != nil {
				t.Fatal(err)
			}
			c.Eventually("n4 votes", func() bool { return suffrage(c, "n4") == raft.Voter.String() })
			mustDo(t, c, leader, acquire("acme/first", 1))
			c.Crash("n4")
			if lost {
				c.Lose(removed)
			}
			c.Up(removed)
			c.Crash(other) // a majority is not there
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			res, err := c.Node(leader).Do(ctx, lockcluster.RequestID{}, acquire("acme/app", 1))
			if err == nil {
				t.Fatalf("%s says %v, and no other member is there", leader, res.Status)
			}
			c.Crash(removed)
			c.Up(other)
			c.Up("n4")
			c.Eventually("the members decide", func() bool {
				res, err := c.Node(c.Leader()).Do(t.Context(), lockcluster.RequestID{}, acquire("acme/first", 2))
				return err == nil && res.Status == lockcluster.StatusHeld
			})
		})
	}
}
