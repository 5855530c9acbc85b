package clustertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// Options change how a cluster runs.
type Options struct {
	// Nodes is how many found the cluster and are started; default 3. Their ids
	// are n1, n2, ... A negative number starts none, see [Cluster.Found].
	Nodes int
	// OnDisk puts the data into temporary directories instead of memory.
	OnDisk bool
	// TCP carries raft over TCP on this machine; not in a bubble.
	TCP bool
	// Configure changes a node's configuration before each start.
	Configure func(*cluster.Config)
	// NodeOptions are given to a node at each start; nil: none.
	NodeOptions func(id string) []cluster.Option
}

// Cluster is a running cluster. Use [Start].
type Cluster struct {
	Network *Network

	t     testing.TB
	o     Options
	seed  []cluster.Member
	mu    sync.Mutex // guards what follows
	nodes map[string]*machine
}

// machine is one node and what outlives its process.
type machine struct {
	disk  *Disk
	addr  string // of raft
	dir   string
	join  []string
	node  *cluster.Node // nil while it is down
	haltC chan error
}

// Start founds a cluster. It is stopped when the test ends, or by [Cluster.Stop]
// where the test runs in a bubble.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	c := &Cluster{Network: newNetwork(), t: t, o: o, nodes: map[string]*machine{}}
	var ids []string
	for i := range max(o.Nodes, 0) {
		ids = append(ids, fmt.Sprintf("n%d", i+1))
	}
	c.Found(ids...)
	for _, id := range ids {
		c.Up(id)
	}
	return c
}

// Found sets the list of founders for nodes that are started later.
func (c *Cluster) Found(ids ...string) {
	c.seed = nil
	for _, id := range ids {
		c.seed = append(c.seed, cluster.Member{ID: id, RaftAddr: c.machine(id).addr})
	}
}

// Add starts a new node that joins through a running one. It returns what
// [cluster.Open] returned.
func (c *Cluster) Add(id, through string) error {
	c.t.Helper()
	m := c.machine(id)
	m.join = []string{through}
	return c.open(id, m)
}

// TakeAddress gives a node that was never started the address of another one.
func (c *Cluster) TakeAddress(id, from string) {
	c.machine(id).addr = c.machine(from).addr
}

// Up starts a node that is down, with the data it had.
func (c *Cluster) Up(id string) *cluster.Node {
	c.t.Helper()
	m := c.machine(id)
	if err := c.open(id, m); err != nil {
		c.t.Fatalf("start %s: %v", id, err)
	}
	return m.node
}

func (c *Cluster) machine(id string) *machine {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.nodes[id]
	if m == nil {
		m = &machine{disk: newDisk(), addr: string(raftAddr(id))}
		if c.o.TCP {
			m.addr = testutil.FreeAddr(c.t)
		}
		if c.o.OnDisk {
			m.dir = filepath.Join(c.t.TempDir(), id)
		}
		c.nodes[id] = m
	}
	return m
}

func (c *Cluster) open(id string, m *machine) error {
	cfg := cluster.Config{
		NodeID: id, RaftAddr: m.addr, GRPCAddr: id, DataDir: m.dir, Version: "test",
		InitialCluster: c.seed, Join: m.join,
	}
	opts := []cluster.Option{cluster.WithPeers(peers{c.Network, id})}
	if !c.o.TCP {
		opts = append(opts, cluster.WithTransport(c.Network.transport(id)))
	}
	if len(m.join) > 0 {
		cfg.InitialCluster = nil
	}
	if !c.o.OnDisk {
		cfg.DataDir = "unused"
		opts = append(opts, cluster.WithStores(m.disk.stores()))
	}
	if c.o.Configure != nil {
		c.o.Configure(&cfg)
	}
	if c.o.NodeOptions != nil {
		opts = append(opts, c.o.NodeOptions(id)...)
	}
	halted := make(chan error, 1)
	opts = append(opts, cluster.WithHalt(func(err error) {
		c.Network.down(id) // its process is gone
		halted <- err
	}))
	node, err := cluster.Open(cfg, opts...)
	if err != nil {
		c.Network.down(id)
		return err
	}
	c.mu.Lock()
	m.node, m.haltC = node, halted
	c.mu.Unlock()
	c.Network.up(id, node)
	return nil
}

// Node returns a running node.
func (c *Cluster) Node(id string) *cluster.Node {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.nodes[id]
	if m == nil || m.node == nil {
		c.t.Fatalf("node %s is down", id)
	}
	return m.node
}

// Get is Node for a node that may be down.
func (c *Cluster) Get(id string) (*cluster.Node, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.nodes[id]
	if m == nil || m.node == nil {
		return nil, false
	}
	return m.node, true
}

// Disk returns the stores of a node in memory.
func (c *Cluster) Disk(id string) *Disk { return c.machine(id).disk }

// Dir returns the data directory of a node on disk.
func (c *Cluster) Dir(id string) string { return c.machine(id).dir }

// Running returns the ids of the running nodes, sorted.
func (c *Cluster) Running() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []string
	for id, m := range c.nodes {
		if m.node != nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Crash ends a node without any good-bye. Its data stays.
func (c *Cluster) Crash(id string) {
	c.t.Helper()
	c.Network.down(id)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c.close(ctx, id)
}

// Halted returns why a node has halted, waiting for at most limit, and closes
// what is left of it. It returns nil if the node has not halted.
func (c *Cluster) Halted(id string, limit time.Duration) error {
	c.t.Helper()
	c.mu.Lock()
	halted := c.nodes[id].haltC
	c.mu.Unlock()
	select {
	case err := <-halted:
		c.Crash(id)
		return err
	case <-time.After(limit):
		return nil
	}
}

// Lose empties the disk of a node that is down.
func (c *Cluster) Lose(id string) {
	c.t.Helper()
	m := c.machine(id)
	m.disk = newDisk()
	if m.dir != "" {
		if err := os.RemoveAll(m.dir); err != nil {
			c.t.Fatal(err)
		}
	}
}

// Down stops a node gracefully.
func (c *Cluster) Down(id string) {
	c.t.Helper()
	c.close(context.Background(), id)
	c.Network.down(id)
}

func (c *Cluster) close(ctx context.Context, id string) {
	c.t.Helper()
	node := c.Node(id)
	if err := node.Close(ctx); err != nil {
		c.t.Errorf("close %s: %v", id, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[id].node = nil
}

// Stop ends all nodes; a test in a bubble defers it.
func (c *Cluster) Stop() {
	c.t.Helper()
	for _, id := range c.Running() {
		c.Crash(id)
	}
}

// Leader returns the id of the node that leads and serves, as soon as there is
// exactly one among the running nodes except those named.
func (c *Cluster) Leader(except ...string) string {
	c.t.Helper()
	var leaders []string
	c.Eventually("one leader", func() bool {
		leaders = leaders[:0]
		for _, id := range c.Running() {
			if !slices.Contains(except, id) && c.Node(id).IsLeader() {
				leaders = append(leaders, id)
			}
		}
		return len(leaders) == 1
	})
	return leaders[0]
}

// Followers returns the running nodes that do not lead.
func (c *Cluster) Followers() []string {
	leader := c.Leader()
	return slices.DeleteFunc(c.Running(), func(id string) bool { return id == leader })
}

// Eventually waits for a condition, up to a minute.
func (c *Cluster) Eventually(what string, condition func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); {
		if time.Now().After(deadline) {
			c.t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
