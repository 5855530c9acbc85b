package cluster

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// A node whose data directory is new may have had another one before: if its
// disk was lost, it has forgotten votes and entries that the other nodes count
// on, and its vote could make a leader of a node that lacks committed entries.
// So a fresh node votes only in the first election of a new cluster, where no
// log has more than the bootstrap entry (pre-vote makes sure that a majority
// agrees that this is so). In all other cases it votes after it has read the
// state linearizably once: then it has everything that it may have
// acknowledged before.

// errFresh makes raft answer a vote with "not granted".
var errFresh = errors.New("this node's data directory is new: it does not vote before it has caught up")

// bootstrapIndex is the log index of the entry that founds a cluster.
const bootstrapIndex = 1

// voteGuard refuses votes of a fresh node.
type voteGuard struct {
	fresh     atomic.Bool
	listening atomic.Bool   // the observer is registered
	lastIndex func() uint64 // of this node's log
	settle    func() error  // makes the node durably not fresh

	// asked is the request that raft is looking at, nil before the first.
	asked atomic.Pointer[raft.RequestVoteRequest]
}

// observer returns the raft observer that feeds g, on raft's main goroutine.
func (g *voteGuard) observer() *raft.Observer {
	return raft.NewObserver(nil, false, func(o *raft.Observation) bool {
		if req, ok := o.Data.(raft.RequestVoteRequest); ok && g.fresh.Load() {
			g.asked.Store(&req)
		}
		return false
	})
}

// mayVote is called before a vote in term is written, for another node or for
// this one.
func (g *voteGuard) mayVote(term uint64) error {
	if !g.fresh.Load() {
		return nil
	}
	if !g.listening.Load() {
		return errFresh
	}
	last := g.lastIndex()
	if req := g.asked.Load(); req != nil && req.Term == term {
		last = max(last, req.LastLogIndex)
	}
	if last > bootstrapIndex {
		return errFresh
	}
	return g.done()
}

// done ends the restriction.
func (g *voteGuard) done() error {
	if !g.fresh.Load() {
		return nil
	}
	if err := g.settle(); err != nil {
		return fmt.Errorf("write %s: %w", stampFile, err)
	}
	g.fresh.Store(false)
	return nil
}

// caughtUp is called when this node has read linearizably: it has everything
// that it may have acknowledged before its start.
func (n *Node) caughtUp() {
	if err := n.votes.done(); err != nil {
		n.halter.fail(&HaltError{Cause: ErrStorage, Op: "note that this node has caught up", Err: err})
	}
}
