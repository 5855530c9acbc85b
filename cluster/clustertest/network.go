package clustertest

import (
	"context"
	"errors"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster/cluster"
)

// Call is one call between nodes, beside Raft.
type Call struct {
	From, To string // node ids
	Method   string // method of [cluster.Peers]
}

// raftAddr is a node's address in raft. Its gRPC address is its id.
func raftAddr(id string) raft.ServerAddress { return raft.ServerAddress(id + ":1") }

// Network connects the nodes.
type Network struct {
	mu         sync.Mutex // guards what follows
	transports map[string]*raft.InmemTransport
	nodes      map[string]*cluster.Node
	cut        map[[2]string]bool // from, to
	lose       func(Call) bool
	wire       func() Wire
	calls      map[string]int
}

func newNetwork() *Network {
	return &Network{
		transports: map[string]*raft.InmemTransport{}, nodes: map[string]*cluster.Node{},
		cut: map[[2]string]bool{}, calls: map[string]int{},
	}
}

// transport makes a new raft transport for a node and connects it.
func (w *Network) transport(id string) raft.Transport {
	_, t := raft.NewInmemTransport(raftAddr(id))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.transports[id] = t
	w.connectLocked()
	return slowTransport{t, w}
}

// Stranger returns a raft transport under a node id, with no node behind it:
// the test speaks raft itself.
func (w *Network) Stranger(id string) *raft.InmemTransport {
	return w.transport(id).(slowTransport).InmemTransport
}

// connectLocked makes the routes of raft what cut says.
func (w *Network) connectLocked() {
	for from, t := range w.transports {
		for to, peer := range w.transports {
			switch {
			case from == to:
			case w.cut[[2]string{from, to}]:
				t.Disconnect(raftAddr(to))
			default:
				t.Connect(raftAddr(to), peer)
			}
		}
	}
}

// up makes a node answer calls, down makes it gone.
func (w *Network) up(id string, n *cluster.Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[id] = n
}

func (w *Network) down(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.nodes, id)
	if _, ok := w.transports[id]; !ok {
		return
	}
	delete(w.transports, id)
	for _, t := range w.transports {
		t.Disconnect(raftAddr(id))
	}
}

// Cut stops everything that from sends to to; answers to what to sends still
// arrive.
func (w *Network) Cut(from, to string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[[2]string{from, to}] = true
	w.connectLocked()
}

// Isolate cuts a node off from all others, in both directions.
func (w *Network) Isolate(id string, others ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, other := range others {
		if other != id {
			w.cut[[2]string{id, other}], w.cut[[2]string{other, id}] = true, true
		}
	}
	w.connectLocked()
}

// Heal undoes all cuts.
func (w *Network) Heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.cut)
	w.connectLocked()
}

// LoseReplies makes calls for which lose is true happen, but their answers
// disappear. nil ends that.
func (w *Network) LoseReplies(lose func(Call) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lose = lose
}

// Calls returns how often a method of [cluster.Peers] was called.
func (w *Network) Calls(method string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[method]
}

var (
	errRefused = errors.New("connection refused")
	errLost    = errors.New("connection lost")
)

// reach finds the node at the other end. A cut network hangs, as TCP does; a
// node that is gone refuses.
func (w *Network) reach(ctx context.Context, c Call) (*cluster.Node, error) {
	w.mu.Lock()
	w.calls[c.Method]++
	node, cut := w.nodes[c.To], w.cut[[2]string{c.From, c.To}]
	w.mu.Unlock()
	switch {
	case cut:
		<-ctx.Done()
		return nil, ctx.Err()
	case node == nil:
		return nil, errRefused
	}
	return node, nil
}

func (w *Network) back(ctx context.Context, c Call) error {
	w.mu.Lock()
	lose, cut := w.lose, w.cut[[2]string{c.To, c.From}]
	w.mu.Unlock()
	switch {
	case cut:
		<-ctx.Done()
		return ctx.Err()
	case lose != nil && lose(c):
		return errLost
	}
	return nil
}

// peers is one node's [cluster.Peers].
type peers struct {
	network *Network
	id      string
}

var _ cluster.Peers = peers{}

func call[T any](ctx context.Context, p peers, to, method string, f func(*cluster.Node) (T, error)) (T, error) {
	c := Call{From: p.id, To: to, Method: method}
	var zero T
	node, err := p.network.reach(ctx, c)
	if err != nil {
		return zero, err
	}
	v, err := f(node)
	if lost := p.network.back(ctx, c); lost != nil {
		return zero, lost
	}
	return v, err
}

// Identify implements [cluster.Peers]: one network has one cluster.
func (p peers) Identify(func() string) {}

// Propose implements [cluster.Peers].
func (p peers) Propose(ctx context.Context, addr string, batch [][]byte) ([][]byte, error) {
	return call(ctx, p, addr, "Propose", func(n *cluster.Node) ([][]byte, error) { return n.ServePropose(ctx, batch) })
}

// ReadIndex implements [cluster.Peers].
func (p peers) ReadIndex(ctx context.Context, addr, from string) (uint64, error) {
	return call(ctx, p, addr, "ReadIndex", func(n *cluster.Node) (uint64, error) { return n.ServeReadIndex(ctx, from) })
}

// Checkpoint implements [cluster.Peers].
func (p peers) Checkpoint(ctx context.Context, addr string, index uint64) (string, error) {
	return call(ctx, p, addr, "Checkpoint", func(n *cluster.Node) (string, error) { return n.ServeCheckpoint(ctx, index) })
}

// NodeStatus implements [cluster.Peers].
func (p peers) NodeStatus(ctx context.Context, addr string) ([]byte, error) {
	return call(ctx, p, addr, "NodeStatus", func(n *cluster.Node) ([]byte, error) { return n.ServeNodeStatus(ctx) })
}

// Join implements [cluster.Peers].
func (p peers) Join(ctx context.Context, addr string, request []byte) ([]byte, error) {
	return call(ctx, p, addr, "Join", func(n *cluster.Node) ([]byte, error) { return n.ServeJoin(ctx, request) })
}
