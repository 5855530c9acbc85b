package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster"
)

const (
	promoteTick   = time.Second // between looks at non-voters
	promoteLagMax = 128         // log entries a caught-up node may be behind
	promoteStable = 3           // looks in a row that must find it so
	reachableAge  = 2 * time.Second
	hearPause     = 10 * time.Millisecond // between looks at who has answered
	memberTimeout = 5 * time.Second       // to have a membership entry appended
)

// ErrMembership marks a change of the members, or of who leads them, that is refused.
var ErrMembership = errors.New("refused")

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMembership}, args...)...)
}

// AddNode adds a node as a non-voter; it becomes a voter by itself when it has
// caught up. Only the leader can: others answer a [lockcluster.NotLeaderError].
// A node id is used once for all time, and an address by one node at a time.
func (n *Node) AddNode(ctx context.Context, m Member) error {
	if err := n.enter(); err != nil {
		return err
	}
	defer n.leave()
	if err := validateNodeID(m.ID); err != nil {
		return refuse("%v", err)
	}
	if err := validateHostPort(m.RaftAddr); err != nil {
		return refuse("%v", err)
	}
	n.memberMu.Lock()
	defer n.memberMu.Unlock()
	if !n.lead.current().Self {
		return n.lead.notLeader()
	}
	for _, s := range n.servers() {
		switch {
		case string(s.ID) == m.ID:
			return refuse("node id %s is a member already, at %s; a node that lost its disk needs a new id and an empty data directory", m.ID, s.Address)
		case string(s.Address) == m.RaftAddr:
			return refuse("address %s belongs to node %s: remove that node first", m.RaftAddr, s.ID)
		}
	}
	if _, used := n.lead.node(m.ID); used {
		return refuse("node id %s was used before; take a new id and an empty data directory", m.ID)
	}
	_, prev := n.machine.position()
	n.logger.Info("adding node", "node", m.ID, "address", m.RaftAddr)
	return n.memberError(n.raft.AddNonvoter(raft.ServerID(m.ID), raft.ServerAddress(m.RaftAddr), prev, memberTimeout))
}

// RemoveNode removes a node for good; its id cannot come back. The last voter
// cannot be removed, nor one without which the rest has no reachable majority.
// A leader that is told to remove itself hands over and answers with a
// [lockcluster.NotLeaderError]: ask the new leader.
func (n *Node) RemoveNode(ctx context.Context, id string) error {
	if err := n.enter(); err != nil {
		return err
	}
	defer n.leave()
	ctx, cancel := n.deadline(ctx)
	defer cancel()
	n.memberMu.Lock()
	defer n.memberMu.Unlock()
	if !n.lead.current().Self {
		return n.lead.notLeader()
	}
	n.hearFrom(ctx, n.servers()...)
	target, voters, reachable := raft.Server{}, 0, 0
	for _, s := range n.servers() {
		if string(s.ID) == id {
			target = s
			continue
		}
		if s.Suffrage == raft.Voter {
			voters++
			if n.isReachable(s.ID) {
				reachable++
			}
		}
	}
	switch {
	case target.ID == "":
		return n.refuseUnknown(id)
	case voters == 0 && target.Suffrage == raft.Voter:
		return refuse("node %s is the last voter; add another node before it goes", id)
	case target.Suffrage == raft.Voter && reachable < voters/2+1:
		return refuse("without node %s only %d of %d voters can be reached, which is no majority; start the others again first", id, reachable, voters)
	case id == n.cfg.NodeID:
		if err := n.transfer(ctx, ""); err != nil {
			return fmt.Errorf("hand over before leaving: %w", err)
		}
		return n.lead.notLeader()
	}
	if voters%2 == 0 {
		n.logger.Warn("an even number of voters survives no more failures than one less", "voters", voters)
	}
	if _, registered := n.lead.node(id); !registered {
		// It has never spoken. Remember the id, so that it is not used again.
		if o := n.proposeHere(ctx, lockcluster.RegisterNode{NodeID: id, RaftAddr: string(target.Address)}); o.fate != fateDecided {
			return fmt.Errorf("%w: note the id of the node: %s", lockcluster.ErrNoLeader, o.reason)
		}
	}
	_, prev := n.machine.position()
	n.logger.Info("removing node", "node", id)
	return n.memberError(n.raft.RemoveServer(target.ID, prev, memberTimeout))
}

// TransferLeader hands leadership to the voter with that id, or to the one that
// is furthest if id is empty. Only the leader can.
func (n *Node) TransferLeader(ctx context.Context, id string) error {
	if err := n.enter(); err != nil {
		return err
	}
	defer n.leave()
	n.memberMu.Lock()
	defer n.memberMu.Unlock()
	if !n.lead.current().Self {
		return n.lead.notLeader()
	}
	return n.transfer(ctx, id)
}

// transfer hands leadership over; the caller holds memberMu.
func (n *Node) transfer(ctx context.Context, id string) error {
	ctx, cancel := n.deadline(ctx)
	defer cancel()
	target, others := raft.Server{}, 0
	for _, s := range n.servers() {
		if s.Suffrage == raft.Voter && string(s.ID) != n.cfg.NodeID {
			others++
		}
		if string(s.ID) == id {
			target = s
		}
	}
	switch {
	case id == n.cfg.NodeID:
		return nil // it leads
	case id != "" && target.ID == "":
		return n.refuseUnknown(id)
	case id != "" && target.Suffrage != raft.Voter:
		return refuse("node %s is not a voter yet; it becomes one when it has caught up", id)
	case others == 0:
		return refuse("there is no other voter; add a node first")
	case id != "":
		if n.hearFrom(ctx, target); !n.isReachable(target.ID) {
			return refuse("node %s cannot be reached; start it again, or name another one", id)
		}
	}
	n.batcher.transferStarts()
	var future raft.Future
	if id == "" {
		future = n.raft.LeadershipTransfer()
	} else {
		future = n.raft.LeadershipTransferToServer(target.ID, target.Address)
	}
	done := make(chan error, 1)
	// Not one of the node's goroutines: raft forgets a transfer that it has not
	// looked at when it shuts down, and then its future never ends.
	go func() { done <- future.Error() }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("transfer leadership: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("transfer leadership: %w", ctx.Err())
	}
}

// refuseUnknown refuses what was asked of a node that is no member, and names
// those that are: a mistyped id is seen at once.
func (n *Node) refuseUnknown(id string) error {
	var ids []string
	for _, s := range n.servers() {
		ids = append(ids, string(s.ID))
	}
	return refuse("there is no node %s; the members are %s", id, strings.Join(ids, ", "))
}

func (n *Node) servers() []raft.Server { return n.raft.GetConfiguration().Configuration().Servers }

// hearFrom gives the voters among servers time to answer this leader: it may have
// been elected just now.
func (n *Node) hearFrom(ctx context.Context, servers ...raft.Server) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.ElectionTimeout)
	defer cancel()
	silent := func(s raft.Server) bool { return s.Suffrage == raft.Voter && !n.isReachable(s.ID) }
	for slices.ContainsFunc(servers, silent) {
		select {
		case <-time.After(hearPause):
		case <-ctx.Done():
			return
		}
	}
}

// isReachable reports whether a node has answered this leader lately.
func (n *Node) isReachable(id raft.ServerID) bool {
	return id == raft.ServerID(n.cfg.NodeID) || time.Since(n.acks.lastAck(id)) < max(reachableAge, 2*n.cfg.ElectionTimeout)
}

func (n *Node) memberError(f raft.IndexFuture) error {
	err := f.Error()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return n.lead.notLeader()
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrRaftShutdown):
		return fmt.Errorf("%w: %w", lockcluster.ErrOutcomeUnknown, err)
	}
	return refuse("%v", err)
}

// promoteNonVoters makes voters of nodes that have caught up and keep up, on
// the leader, one at a time.
func (n *Node) promoteNonVoters(ctx context.Context) {
	tick := time.NewTicker(promoteTick)
	defer tick.Stop()
	good := map[raft.ServerID]int{}
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, s := range n.servers() {
			if s.Suffrage == raft.Voter {
				delete(good, s.ID)
				continue
			}
			if !n.keepsUp(ctx, s) {
				good[s.ID] = 0
				continue
			}
			if good[s.ID]++; good[s.ID] >= promoteStable {
				n.promote(s)
				break
			}
		}
	}
}

func (n *Node) keepsUp(ctx context.Context, s raft.Server) bool {
	node, ok := n.lead.node(string(s.ID))
	if !ok {
		return false
	}
	commit := n.raft.CommitIndex()
	status, err := n.askStatus(ctx, node.GRPCAddr)
	return err == nil && status.ID == string(s.ID) && status.AppliedIndex+promoteLagMax >= commit
}

func (n *Node) promote(s raft.Server) {
	n.memberMu.Lock()
	defer n.memberMu.Unlock()
	_, prev := n.machine.position()
	if err := n.raft.AddVoter(s.ID, s.Address, prev, memberTimeout).Error(); err != nil {
		n.logger.Warn("node was not made a voter", "node", s.ID, "err", err)
		return
	}
	voters := 0
	for _, s := range n.servers() {
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	n.logger.Info("node is a voter now", "node", s.ID, "voters", voters)
	if voters%2 == 0 {
		n.logger.Warn("an even number of voters survives no more failures than one less", "voters", voters)
	}
}

// askStatus asks another node how it is.
func (n *Node) askStatus(ctx context.Context, addr string) (NodeStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	b, err := n.peers.NodeStatus(ctx, addr)
	if err != nil {
		return NodeStatus{}, err
	}
	var s NodeStatus
	if err := json.Unmarshal(b, &s); err != nil {
		return NodeStatus{}, fmt.Errorf("read node status: %w", err)
	}
	return s, nil
}
