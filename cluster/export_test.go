package cluster

import (
	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster/fsm/state"
)

// Damage changes a node's state behind the log's back, as a bit flip would.
func (n *Node) Damage() {
	index, term := n.machine.fsm.Store().Position()
	n.machine.fsm.Store().Update(index, term, func(tx state.Tx) { tx.Put("dbad\x00key", []byte{1}) })
}

// ApplyRaw proposes bytes as a log entry.
func (n *Node) ApplyRaw(data []byte) error { return n.raft.Apply(data, 0).Error() }

// Snapshot makes raft take a snapshot now.
func (n *Node) Snapshot() error { return n.raft.Snapshot().Error() }

// LastIndex is raft's.
func (n *Node) LastIndex() uint64 { return n.raft.LastIndex() }

// FirstIndex is the first entry of the log.
func (n *Node) FirstIndex() uint64 {
	first, err := n.logs.FirstIndex()
	if err != nil {
		panic(err)
	}
	return first
}

// TermOf is the term of an entry of the log.
func (n *Node) TermOf(index uint64) uint64 {
	var l raft.Log
	if err := n.logs.GetLog(index, &l); err != nil {
		panic(err)
	}
	return l.Term
}

// Servers is raft's configuration.
func (n *Node) Servers() []raft.Server { return n.servers() }

// SnapshotHeader begins a raft snapshot.
var SnapshotHeader = encodeSnapshotHeader
