package cluster

import "github.com/lockcluster/lockcluster/fsm/state"

// StaleRead is [Node.Read] of this node's state as it is, without asking
// anyone: what other nodes have answered may be missing. f must not block.
func (n *Node) StaleRead(f func(r state.Reader, index uint64)) {
	n.machine.fsm.Store().Read(f)
}
