package cluster

import (
	"context"
	"time"
)

// Peers is how a node asks other nodes, beside Raft itself. Package rpc
// implements it over gRPC: each method calls, on the node whose gRPC address
// is addr, the method of [Node] named Serve*, and gives back what that returns
// unchanged. Bodies are opaque to it. An error means that no answer came;
// whether the other node did what was asked is then unknown.
//
// Implementations must respect ctx, be safe for concurrent use, and not retry
// or follow the leader by themselves: the node does.
type Peers interface {
	// Identify is called before anything else. What clusterID returns goes with
	// each later call, unless it is empty, and a node of another cluster must
	// refuse the call with an error that wraps [lockcluster.ErrNoLeader]: a
	// follower must not ask whoever has got its leader's address. NodeStatus and
	// Join are answered to all.
	Identify(clusterID func() string)
	// Propose asks the leader at addr to propose encoded commands and returns
	// one encoded answer for each. The other end is [Node.ServePropose].
	Propose(ctx context.Context, addr string, batch [][]byte) ([][]byte, error)
	// ReadIndex asks the leader at addr up to which log index node from must
	// have applied to read linearizably. The other end is [Node.ServeReadIndex].
	ReadIndex(ctx context.Context, addr, from string) (uint64, error)
	// Checkpoint asks for the state hash the node at addr noted at a log index,
	// empty if it has noted none. The other end is [Node.ServeCheckpoint].
	Checkpoint(ctx context.Context, addr string, index uint64) (string, error)
	// NodeStatus asks the node at addr how it is, see [Node.ServeNodeStatus].
	NodeStatus(ctx context.Context, addr string) ([]byte, error)
	// Join asks the node at addr to add the sender, see [Node.ServeJoin].
	Join(ctx context.Context, addr string, request []byte) ([]byte, error)
}

// NodeStatus is what a node says about itself, as JSON on the wire.
type NodeStatus struct {
	ID           string        `json:"id"`
	ClusterID    string        `json:"cluster_id"`
	Term         uint64        `json:"term"`
	CommitIndex  uint64        `json:"commit_index"`
	AppliedIndex uint64        `json:"applied_index"`
	StateHash    string        `json:"state_hash"` // of AppliedIndex
	Leader       string        `json:"leader"`     // id of the node it follows, or its own
	Members      []string      `json:"members"`    // ids of the nodes it knows as members
	Version      string        `json:"version"`
	Uptime       time.Duration `json:"uptime_ns"`
}

// joinRequest and joinReply are the JSON bodies of [Peers.Join].
type joinRequest struct {
	NodeID   string `json:"node_id"`
	RaftAddr string `json:"raft_addr"`
}

type joinReply struct {
	ClusterID string `json:"cluster_id,omitempty"` // set: the node was added
	Refused   string `json:"refused,omitempty"`    // the request can never succeed, and why
	Leader    string `json:"leader,omitempty"`     // ask this gRPC address instead
	NotNow    string `json:"not_now,omitempty"`    // try again later, and why
}
