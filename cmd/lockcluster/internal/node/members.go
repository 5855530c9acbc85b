package node

import (
	"context"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/compat/resp"
)

const (
	membersAge     = time.Second // how old the answer to a cluster-mode client may be
	membersTimeout = 2 * time.Second
)

// memberList knows the nodes as the Redis door announces them to cluster-mode
// clients. Asking all nodes is costly, so one answer serves for a while.
type memberList struct {
	node *cluster.Node
	self string

	mu    sync.Mutex // guards what follows; held while the nodes are asked
	nodes []resp.Node
	at    time.Time
}

func newMemberList(node *cluster.Node, self string) *memberList {
	return &memberList{node: node, self: self}
}

// list returns the nodes that have told their addresses; empty if even this
// one's is not known yet.
func (m *memberList) list() []resp.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.at) < membersAge {
		return m.nodes
	}
	ctx, cancel := context.WithTimeout(context.Background(), membersTimeout)
	defer cancel()
	s, err := m.node.Status(ctx)
	if err != nil {
		return m.nodes
	}
	m.nodes, m.at = nil, time.Now()
	for _, member := range s.Members {
		if member.RESPAddr != "" {
			m.nodes = append(m.nodes, resp.Node{
				ID: member.ID, Addr: member.RESPAddr, Leader: member.ID == s.Leader, Self: member.ID == m.self, Live: member.Reachable,
			})
		}
	}
	return m.nodes
}
