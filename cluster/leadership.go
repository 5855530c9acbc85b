package cluster

import (
	"context"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster"
)

// leadership knows who leads, and tells everyone who waits for a change. Raft
// updates it on its main goroutine, so it never lags behind raft.
type leadership struct {
	self raft.ServerID

	mu      sync.Mutex // guards what follows
	leader  leaderInfo
	cancel  context.CancelFunc
	ready   uint64 // term in which this node may serve as leader, see leader.go
	changed chan struct{}
	changes uint64
	nodes   map[string]lockcluster.RegisterNode
}

// leaderInfo is who leads at a moment.
type leaderInfo struct {
	ID       string // empty: nobody known
	RaftAddr string
	GRPCAddr string // empty: it has not registered yet
	Self     bool
	// Ctx ends when the leader changes, or when it registers another address.
	Ctx context.Context
	// Changed is closed when anything above may have changed.
	Changed <-chan struct{}
}

func newLeadership(self string) *leadership {
	l := &leadership{self: raft.ServerID(self), changed: make(chan struct{}), nodes: map[string]lockcluster.RegisterNode{}}
	l.leader.Ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// observer returns the raft observer that feeds l. Its filter runs on raft's
// main goroutine and lets nothing through. stopped is called when raft shuts
// itself down.
func (l *leadership) observer(stopped func()) *raft.Observer {
	return raft.NewObserver(nil, false, func(o *raft.Observation) bool {
		switch d := o.Data.(type) {
		case raft.LeaderObservation:
			l.setLeader(d.LeaderID, d.LeaderAddr)
		case raft.RaftState:
			if d == raft.Shutdown {
				stopped()
			}
		}
		return false
	})
}

func (l *leadership) setLeader(id raft.ServerID, addr raft.ServerAddress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if string(id) == l.leader.ID && string(addr) == l.leader.RaftAddr {
		return
	}
	if id != "" {
		l.changes++
	}
	l.ready = 0
	l.resetLocked(string(id), string(addr))
}

func (l *leadership) resetLocked(id, addr string) {
	l.cancel()
	l.leader = leaderInfo{ID: id, RaftAddr: addr, Self: raft.ServerID(id) == l.self, GRPCAddr: l.nodes[id].GRPCAddr}
	l.leader.Ctx, l.cancel = context.WithCancel(context.Background())
	l.broadcastLocked()
}

func (l *leadership) broadcastLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// current returns who leads now.
func (l *leadership) current() leaderInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	info := l.leader
	info.Changed = l.changed
	return info
}

// setNode notes what a node has registered.
func (l *leadership) setNode(n lockcluster.RegisterNode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.nodes[n.NodeID]
	l.nodes[n.NodeID] = n
	if n.NodeID == l.leader.ID && !l.leader.Self && old.GRPCAddr != n.GRPCAddr {
		l.resetLocked(l.leader.ID, l.leader.RaftAddr)
	}
}

// setNodes replaces all nodes, after a snapshot was restored.
func (l *leadership) setNodes(nodes map[string]lockcluster.RegisterNode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes = nodes
	if id := l.leader.ID; id != "" && l.leader.GRPCAddr != nodes[id].GRPCAddr && !l.leader.Self {
		l.resetLocked(id, l.leader.RaftAddr)
	}
}

// node returns what a node has registered.
func (l *leadership) node(id string) (lockcluster.RegisterNode, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, ok := l.nodes[id]
	return n, ok
}

// setReady allows this node to serve as the leader of term, if it still leads
// since info was taken.
func (l *leadership) setReady(info leaderInfo, term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leader.Ctx == info.Ctx {
		l.ready = term
		l.broadcastLocked()
	}
}

// readyTerm returns the term this node may serve in, 0 if it may not.
func (l *leadership) readyTerm() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ready
}

// leaderChanges counts the leaders seen since the node started.
func (l *leadership) leaderChanges() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changes
}

// notLeader is the error that names who leads.
func (l *leadership) notLeader() error {
	info := l.current()
	if info.Self {
		return &lockcluster.NotLeaderError{}
	}
	return &lockcluster.NotLeaderError{LeaderID: info.ID, LeaderAddr: info.GRPCAddr}
}

func (l *leadership) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel()
}
