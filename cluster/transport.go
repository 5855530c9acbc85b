package cluster

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// transport is the only one that reaches raft.NewRaft (transport_test.go looks
// for others). It takes the heartbeat fast path away, which changes the term
// from a second goroutine and lets nodes commit different entries at one index
// (hashicorp/raft#695): heartbeats go through raft's main loop like all else.
//
// On the way it learns who confirms this node as leader, and up to where each
// follower was told the log is committed.
type transport struct {
	raft.Transport
	acks *acks

	mu        sync.Mutex // guards what follows
	committed map[raft.ServerID]uint64
	pipelines []*pipeline // replaced, never changed in place
}

var (
	_ raft.Transport   = (*transport)(nil)
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
)

func newTransport(inner raft.Transport, a *acks) (*transport, error) {
	if _, ok := inner.(raft.WithPreVote); !ok {
		return nil, fmt.Errorf("transport %T has no pre-vote", inner)
	}
	return &transport{Transport: inner, acks: a, committed: map[raft.ServerID]uint64{}}, nil
}

// SetHeartbeatHandler ignores the fast path that raft offers.
func (t *transport) SetHeartbeatHandler(func(raft.RPC)) {}

// AppendEntries implements [raft.Transport]. Heartbeats come this way.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest,
	resp *raft.AppendEntriesResponse,
) error {
	stamp := t.acks.next()
	if err := t.Transport.AppendEntries(id, target, args, resp); err != nil {
		return err
	}
	if resp.Term == args.Term {
		t.acks.confirm(id, args.Term, stamp)
	}
	if resp.Success {
		t.noteCommitted(id, args.LeaderCommitIndex)
	}
	return nil
}

// AppendEntriesPipeline implements [raft.Transport].
func (t *transport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	p, err := t.Transport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	wrapped := newPipeline(p, t, id)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pipelines = append(slices.Clip(t.pipelines), wrapped)
	return wrapped, nil
}

// open returns the pipelines that raft has open. They are not to be changed.
func (t *transport) open() []*pipeline {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pipelines
}

// forget takes a pipeline out that is closed.
func (t *transport) forget(p *pipeline) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pipelines = slices.DeleteFunc(slices.Clone(t.pipelines), func(other *pipeline) bool { return other == p })
}

func (t *transport) noteCommitted(id raft.ServerID, index uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if index > t.committed[id] {
		t.committed[id] = index
	}
}

// toldCommitted returns up to where id was told that the log is committed. It
// may not have heard it.
func (t *transport) toldCommitted(id raft.ServerID) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.committed[id]
}

// tellCommitted tells a follower that the log is committed up to an entry,
// without waiting for raft's timer. It is an ordinary AppendEntries without
// entries: the follower accepts it only if its log has that very entry, and
// else it reports false.
func (t *transport) tellCommitted(to raft.Server, from raft.ServerID, leaderTerm uint64, entry *raft.Log) (bool, error) {
	addr := t.EncodePeer(from, t.LocalAddr())
	req := &raft.AppendEntriesRequest{
		RPCHeader:    raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(from), Addr: addr},
		Term:         leaderTerm,
		PrevLogEntry: entry.Index, PrevLogTerm: entry.Term, LeaderCommitIndex: entry.Index,
	}
	var resp raft.AppendEntriesResponse
	err := t.AppendEntries(to.ID, to.Address, req, &resp)
	return err == nil && resp.Success, err
}

// RequestPreVote implements [raft.WithPreVote].
func (t *transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest,
	resp *raft.RequestPreVoteResponse,
) error {
	p, ok := t.Transport.(raft.WithPreVote)
	if !ok {
		return errors.New("transport has no pre-vote")
	}
	return p.RequestPreVote(id, target, args, resp)
}

// Close implements [raft.WithClose].
func (t *transport) Close() error {
	if c, ok := t.Transport.(raft.WithClose); ok {
		return c.Close()
	}
	return nil
}
