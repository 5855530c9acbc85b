package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
)

const (
	joinPause     = 500 * time.Millisecond // between rounds over the endpoints
	joinLogPause  = 5 * time.Second        // between two lines about it in the log
	joinTimeout   = 3 * time.Second        // of one call
	joinHops      = 3                      // leader hints followed in one round
	removedChecks = 5 * time.Second        // without a leader before asking whether we are a member
)

// join asks the members of a running cluster to add this node, until one has
// agreed. It returns an error when the request can never succeed.
func (n *Node) join(ctx context.Context) error {
	request, err := json.Marshal(joinRequest{NodeID: n.cfg.NodeID, RaftAddr: n.cfg.RaftAddr})
	if err != nil {
		return fmt.Errorf("encode join request: %w", err)
	}
	last := errors.New("nobody was asked yet")
	var logged time.Time
	for {
		for _, endpoint := range n.cfg.Join {
			reply, err := n.joinAt(ctx, endpoint, request)
			switch {
			case err != nil:
				last = err
			case reply.Refused != "":
				return fmt.Errorf("join the cluster at %s: %s", endpoint, reply.Refused)
			case reply.ClusterID != "":
				return n.joined(reply.ClusterID)
			default:
				last = errors.New(reply.NotNow)
			}
		}
		if time.Since(logged) >= joinLogPause {
			logged = time.Now()
			n.logger.Warn("not joined yet, still trying", "endpoints", n.cfg.Join, "err", last,
				"advice", "see that --join has gRPC addresses of running nodes, as 'lockcluster cluster members' shows them")
		}
		select {
		case <-time.After(joinPause):
		case <-ctx.Done():
			return fmt.Errorf("join the cluster: %w: %w", last, ctx.Err())
		}
	}
}

// joinAt asks one endpoint and follows its hints to the leader.
func (n *Node) joinAt(ctx context.Context, addr string, request []byte) (reply joinReply, err error) {
	for range joinHops {
		callCtx, cancel := context.WithTimeout(ctx, joinTimeout)
		b, err := n.peers.Join(callCtx, addr, request)
		cancel()
		if err != nil {
			return joinReply{}, err
		}
		reply = joinReply{}
		if err := json.Unmarshal(b, &reply); err != nil {
			return joinReply{}, fmt.Errorf("read answer of %s: %w", addr, err)
		}
		if reply.Leader == "" || reply.Leader == addr {
			return reply, nil
		}
		addr = reply.Leader
	}
	return reply, nil
}

func (n *Node) joined(clusterID string) error {
	if n.dir == nil {
		return nil
	}
	n.logger.Info("joined the cluster", "cluster", clusterID)
	return n.dir.setStamp(func(s *stamp) { s.ClusterID = clusterID })
}

// ServeJoin answers [Peers.Join].
func (n *Node) ServeJoin(ctx context.Context, body []byte) ([]byte, error) {
	var request joinRequest
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, fmt.Errorf("%w: read join request: %v", lockcluster.ErrInvalid, err)
	}
	return json.Marshal(n.answerJoin(ctx, request))
}

func (n *Node) answerJoin(ctx context.Context, request joinRequest) joinReply {
	if n.isRetryOfJoin(request) {
		return joinReply{ClusterID: n.ClusterID()}
	}
	err := n.AddNode(ctx, Member{ID: request.NodeID, RaftAddr: request.RaftAddr})
	var notLeader *lockcluster.NotLeaderError
	switch {
	case err == nil:
		return joinReply{ClusterID: n.ClusterID()}
	case errors.As(err, &notLeader) && notLeader.LeaderAddr != "":
		return joinReply{Leader: notLeader.LeaderAddr, NotNow: err.Error()}
	case errors.Is(err, ErrMembership):
		return joinReply{Refused: err.Error()}
	}
	return joinReply{NotNow: err.Error()}
}

// isRetryOfJoin reports whether the answer to the same request was lost: the
// node is there, but has never spoken.
func (n *Node) isRetryOfJoin(request joinRequest) bool {
	if _, registered := n.lead.node(request.NodeID); registered || !n.lead.current().Self {
		return false
	}
	for _, s := range n.servers() {
		if string(s.ID) == request.NodeID && string(s.Address) == request.RaftAddr && s.Suffrage == raft.Nonvoter {
			return true
		}
	}
	return false
}

// ClusterID returns the identity of the cluster that this node belongs to,
// empty while it has not been told. It is safe for concurrent use.
func (n *Node) ClusterID() string {
	switch {
	case n.dir != nil:
		return n.dir.identity().ClusterID
	case len(n.cfg.InitialCluster) > 0:
		return clusterID(n.cfg.InitialCluster)
	}
	return ""
}

// errNotTold keeps raft away from a node that is about to join.
var errNotTold = errors.New("this node has not been told its cluster yet")

// metCluster is told the cluster of another node, before raft talks to it. A node
// that joins talks to nobody until it is told its cluster with the answer: to
// raft, the first entries of two clusters look the same, and those of another
// would stay. One that has a log was let in by a build that was not so strict, and
// crashed before the answer came; it takes the log's cluster for its own.
func (n *Node) metCluster(id string) error {
	switch {
	case n.ClusterID() != "" || n.dir == nil:
		return nil
	case !n.adopts.Load():
		return errNotTold
	}
	if err := n.joined(id); err != nil {
		return fmt.Errorf("note the id of the cluster: %w", err)
	}
	return nil
}

// watchRemoval finds out that this node was removed while it could not hear it:
// a removed follower gets no more entries, and no leader.
func (n *Node) watchRemoval() {
	tick := time.NewTicker(removedChecks)
	defer tick.Stop()
	logged := sync.OnceValue(n.logged) // the log may be long
	lost := 0
	for {
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
		if n.lead.current().ID != "" {
			lost = 0
			continue
		}
		if lost++; lost < 2 {
			continue
		}
		if n.askWhetherRemoved(logged) {
			n.halter.fail(&HaltError{
				Cause: ErrRemoved, Op: "the other nodes do not know node " + n.cfg.NodeID,
				Advice: "to come back, start it with a new id and an empty data directory",
			})
			return
		}
	}
}

// askWhetherRemoved reports whether a node that follows a leader says that this
// node is no member.
func (n *Node) askWhetherRemoved(logged func() registry) bool {
	for _, s := range n.servers() {
		if string(s.ID) == n.cfg.NodeID {
			continue
		}
		node, ok := n.lead.node(string(s.ID))
		if !ok {
			node, ok = logged()(string(s.ID))
		}
		if !ok {
			continue
		}
		status, err := n.askStatus(n.ctx, node.GRPCAddr)
		if err != nil || status.Leader == "" || status.ClusterID != n.ClusterID() {
			continue
		}
		for _, id := range status.Members {
			if id == n.cfg.NodeID {
				return false
			}
		}
		return len(status.Members) > 0
	}
	return false
}

// registry finds what a node has registered.
type registry func(id string) (lockcluster.RegisterNode, bool)

// logged returns what nodes have registered by the log. A node that starts from
// its log has applied nothing until a leader tells it what is committed, and a
// removed one is told nothing. What never was committed is good enough to know
// whom to ask.
func (n *Node) logged() registry {
	nodes := map[string]lockcluster.RegisterNode{}
	first, _ := n.logs.FirstIndex()
	last, _ := n.logs.LastIndex()
	for i := max(first, 1); i <= last; i++ {
		var l raft.Log
		if err := n.logs.GetLog(i, &l); err != nil || l.Type != raft.LogCommand {
			continue
		}
		entry, err := command.DecodeEntry(l.Data)
		if err != nil {
			continue
		}
		for _, c := range entry.Commands {
			if node, ok := c.Request.(lockcluster.RegisterNode); ok {
				nodes[node.NodeID] = node
			}
		}
	}
	return func(id string) (lockcluster.RegisterNode, bool) {
		node, ok := nodes[id]
		return node, ok
	}
}
