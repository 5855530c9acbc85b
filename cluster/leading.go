package cluster

import "context"

// Leading returns the term in which this node may serve as leader, 0 when it
// may not; a context that ends when the leader changes; and a channel that is
// closed when any of this may have changed.
func (n *Node) Leading() (term uint64, ended context.Context, changed <-chan struct{}) {
	info := n.lead.current()
	if info.Self {
		term = n.lead.readyTerm()
	}
	return term, info.Ctx, info.Changed
}

// Address returns the gRPC address that a node has registered, empty when it is
// not known.
func (n *Node) Address(id string) string {
	node, _ := n.lead.node(id)
	return node.GRPCAddr
}

// Size returns how many nodes the cluster's configuration has.
func (n *Node) Size() int { return len(n.servers()) }
