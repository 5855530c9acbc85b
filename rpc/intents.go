package rpc

import "context"

// SharedIntents lets the Redis door of every node use the leader's table of
// intents, where all contenders for a lock meet.
type SharedIntents struct {
	nodeID string
	node   Node
	local  Intents
	peers  *Peers
}

// NewSharedIntents returns the intents of node nodeID, whose own table is local.
func NewSharedIntents(nodeID string, node Node, local Intents, peers *Peers) *SharedIntents {
	return &SharedIntents{nodeID: nodeID, node: node, local: local, peers: peers}
}

// Reserve implements [Intents]. Without an answer of the leader it returns
// false: the client goes on, and the lock's rules decide.
func (s *SharedIntents) Reserve(ctx context.Context, namespace, key string) bool {
	leader, addr := s.node.Leader()
	if leader == s.nodeID {
		return s.local.Reserve(ctx, namespace, key)
	}
	if addr == "" {
		return false
	}
	again, err := s.peers.Reserve(ctx, addr, namespace, key)
	return err == nil && again
}

// Settle implements [Intents]: it is a hint for the table of this node.
func (s *SharedIntents) Settle(namespace, key string) { s.local.Settle(namespace, key) }
