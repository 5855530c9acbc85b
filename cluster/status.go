package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster"
)

// statusTimeout bounds the question how another node is.
const statusTimeout = time.Second

// readyLagMax is how many log entries a ready node may be behind its own
// commit index.
const readyLagMax = 10_000

// Status is the cluster as one node sees it.
type Status struct {
	NodeID      string         `json:"node_id"` // of the node that was asked
	ClusterID   string         `json:"cluster_id"`
	Leader      string         `json:"leader"` // id, empty if none is known
	Term        uint64         `json:"term"`
	CommitIndex uint64         `json:"commit_index"`
	Members     []MemberStatus `json:"members"`
}

// MemberStatus is one member of the cluster.
type MemberStatus struct {
	ID           string `json:"id"`
	Address      string `json:"address"` // of raft
	GRPCAddr     string `json:"grpc_addr"`
	HTTPAddr     string `json:"http_addr"`
	RESPAddr     string `json:"resp_addr"`
	Role         string `json:"role"`     // leader, follower, or unknown when it cannot be reached
	Suffrage     string `json:"suffrage"` // voter or non-voter
	Reachable    bool   `json:"reachable"`
	AppliedIndex uint64 `json:"applied_index"`
	StateHash    string `json:"state_hash"` // of AppliedIndex
	Version      string `json:"version"`
}

// Status asks every member how it is, each for at most a second. It works
// without a leader.
func (n *Node) Status(ctx context.Context) (Status, error) {
	if err := n.enter(); err != nil {
		return Status{}, err
	}
	defer n.leave()
	leader := n.lead.current()
	s := Status{
		NodeID: n.cfg.NodeID, ClusterID: n.ClusterID(), Leader: leader.ID,
		Term: n.raft.CurrentTerm(), CommitIndex: n.raft.CommitIndex(),
	}
	servers := n.servers()
	s.Members = make([]MemberStatus, len(servers))
	var wg sync.WaitGroup
	for i, server := range servers {
		wg.Go(func() { s.Members[i] = n.memberStatus(ctx, server, leader.ID) })
	}
	wg.Wait()
	return s, nil
}

func (n *Node) memberStatus(ctx context.Context, s raft.Server, leader string) MemberStatus {
	node, _ := n.lead.node(string(s.ID))
	m := MemberStatus{
		ID: string(s.ID), Address: string(s.Address), GRPCAddr: node.GRPCAddr, HTTPAddr: node.HTTPAddr,
		RESPAddr: node.RESPAddr, Version: node.Version, Role: "unknown", Suffrage: "voter",
	}
	if s.Suffrage != raft.Voter {
		m.Suffrage = "non-voter"
	}
	status := n.ownStatus()
	if m.ID != n.cfg.NodeID {
		if node.GRPCAddr == "" {
			return m
		}
		var err error
		if status, err = n.askStatus(ctx, node.GRPCAddr); err != nil || status.ID != m.ID {
			return m
		}
	}
	m.Reachable, m.AppliedIndex, m.StateHash, m.Version = true, status.AppliedIndex, status.StateHash, status.Version
	m.Role = "follower"
	if m.ID == leader {
		m.Role = "leader"
	}
	return m
}

func (n *Node) ownStatus() NodeStatus {
	hashes, index := n.machine.fsm.Store().Hashes()
	s := NodeStatus{
		ID: n.cfg.NodeID, ClusterID: n.ClusterID(), Term: n.raft.CurrentTerm(), CommitIndex: n.raft.CommitIndex(),
		AppliedIndex: index, StateHash: hashes.Data.String(), Leader: n.lead.current().ID, Version: n.cfg.Version,
		Uptime: time.Since(n.started),
	}
	if applied, _ := n.machine.position(); applied > index {
		s.AppliedIndex = applied // membership entries change no state
	}
	for _, server := range n.servers() {
		s.Members = append(s.Members, string(server.ID))
	}
	return s
}

// ServeNodeStatus answers [Peers.NodeStatus].
func (n *Node) ServeNodeStatus(context.Context) ([]byte, error) {
	if err := n.enter(); err != nil {
		return nil, err
	}
	defer n.leave()
	return json.Marshal(n.ownStatus())
}

// Leader returns who leads and where its gRPC address is; both are empty when
// that is not known.
func (n *Node) Leader() (id, grpcAddr string) {
	info := n.lead.current()
	if info.Self {
		return info.ID, n.cfg.GRPCAddr
	}
	return info.ID, info.GRPCAddr
}

// IsLeader reports whether this node leads and may serve as leader.
func (n *Node) IsLeader() bool { return n.lead.current().Self && n.lead.readyTerm() != 0 }

// Ready reports why this node should not get traffic, nil if it should: it has
// a leader, it is not far behind, and it is not closing.
func (n *Node) Ready() error {
	if err := n.enter(); err != nil {
		return err
	}
	defer n.leave()
	if n.halter.halted() {
		return n.halter.cause()
	}
	info := n.lead.current()
	if info.ID == "" || info.Self && n.lead.readyTerm() == 0 {
		return lockcluster.ErrNoLeader
	}
	applied, _ := n.machine.position()
	if commit := n.raft.CommitIndex(); commit > applied+readyLagMax {
		return fmt.Errorf("the state is %d log entries behind", commit-applied)
	}
	return nil
}
