package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// View returns a picture of the state that contains every request answered
// before the call, on any node. A ctx without a deadline gets
// [Config.RequestTimeout]. The error wraps [lockcluster.ErrNoLeader] or
// [lockcluster.ErrClosed].
func (n *Node) View(ctx context.Context) (*state.View, error) {
	if err := n.readable(ctx); err != nil {
		return nil, err
	}
	return n.machine.fsm.Store().View(), nil
}

// Read is [Node.View] for short reads: f gets the present state and its log
// index. Writes wait while f runs, so it must not block. It saves the copies
// that a view causes.
func (n *Node) Read(ctx context.Context, f func(r state.Reader, index uint64)) error {
	if err := n.readable(ctx); err != nil {
		return err
	}
	n.machine.fsm.Store().Read(f)
	return nil
}

// StaleView returns this node's state as it is, without asking anyone, and how
// long ago this node last heard from a leader, or was one: what happened since
// may be missing.
func (n *Node) StaleView() (*state.View, time.Duration) {
	view := n.machine.fsm.Store().View()
	if n.raft.State() == raft.Leader && n.lead.readyTerm() != 0 {
		return view, 0
	}
	last := n.raft.LastContact()
	if last.IsZero() {
		last = n.started
	}
	return view, max(0, time.Since(last))
}

// readable returns when this node's state may be read linearizably. Each
// attempt takes a new read index.
func (n *Node) readable(ctx context.Context) error {
	if err := n.enter(); err != nil {
		return err
	}
	defer n.leave()
	ctx, cancel := n.deadline(ctx)
	defer cancel()
	for attempt := 0; ; attempt++ {
		leader := n.lead.current()
		rounds := n.followerReads
		if leader.Self {
			rounds = n.leaderReads
		}
		index, err := rounds.join(ctx)
		if err == nil {
			err = n.machine.wait(ctx, index)
		}
		if err == nil {
			n.caughtUp()
			return nil
		}
		if perr := n.pause(ctx, leader, attempt); perr != nil {
			if errors.Is(perr, lockcluster.ErrClosed) {
				return perr
			}
			return fmt.Errorf("%w: read: %w", lockcluster.ErrNoLeader, errors.Join(err, perr))
		}
	}
}

// ServeReadIndex answers [Peers.ReadIndex]: up to where node from must have
// applied the log to read linearizably. Only the leader knows.
func (n *Node) ServeReadIndex(ctx context.Context, from string) (uint64, error) {
	if err := n.enter(); err != nil {
		return 0, err
	}
	defer n.leave()
	if !n.lead.current().Self {
		return 0, n.lead.notLeader()
	}
	ctx, cancel := n.deadline(ctx)
	defer cancel()
	index, err := n.leaderReads.join(ctx)
	if err != nil {
		return 0, err
	}
	n.hurryCommit(raft.ServerID(from), index)
	return index, nil
}

// rounds lets readers share one question to the other nodes. A reader that
// comes while a question is on its way joins the next one: the answer to the
// present one says nothing about what happened since it was asked.
type rounds struct {
	ask     func(ctx context.Context) (uint64, error)
	ctx     context.Context // of the node
	timeout time.Duration
	wg      *sync.WaitGroup

	mu      sync.Mutex // guards what follows
	running bool
	next    *round
}

type round struct {
	done  chan struct{}
	index uint64
	err   error
}

// join returns the read index of a round that starts after the call.
func (r *rounds) join(ctx context.Context) (uint64, error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = &round{done: make(chan struct{})}
	}
	mine := r.next
	if !r.running {
		r.running, r.next = true, nil
		r.wg.Go(func() { r.run(mine) })
	}
	r.mu.Unlock()
	select {
	case <-mine.done:
		return mine.index, mine.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (r *rounds) run(current *round) {
	for current != nil {
		ctx, cancel := context.WithTimeout(r.ctx, r.timeout)
		current.index, current.err = r.ask(ctx)
		cancel()
		close(current.done)
		r.mu.Lock()
		current, r.next = r.next, nil
		r.running = current != nil
		r.mu.Unlock()
	}
}

// askLeader is a round on a follower.
func (n *Node) askLeader(ctx context.Context) (uint64, error) {
	leader := n.lead.current()
	if leader.Self || leader.GRPCAddr == "" {
		return 0, n.lead.notLeader()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(leader.Ctx, cancel)()
	return n.peers.ReadIndex(ctx, leader.GRPCAddr, n.cfg.NodeID)
}

// confirmLeader is a round on the leader: the commit index, taken before a
// majority of the voters has confirmed that this node still led afterwards
// (Raft dissertation, section 6.4).
func (n *Node) confirmLeader(ctx context.Context) (uint64, error) {
	term := n.raft.CurrentTerm()
	leader, err := n.awaitReady(ctx, term)
	if err != nil {
		return 0, err
	}
	index := n.raft.CommitIndex()
	voters, need := n.quorumBesideMe()
	if need > 0 {
		w := n.acks.expect(term, voters, need)
		defer n.acks.drop(w)
		n.raft.VerifyLeader() // makes raft send heartbeats now; its verdict is not used, see acks.go
		select {
		case <-w.done:
		case <-leader.Ctx.Done():
			return 0, n.lead.notLeader()
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: no majority confirmed this leader: %w", lockcluster.ErrNoLeader, ctx.Err())
		}
	}
	if n.raft.State() != raft.Leader || n.raft.CurrentTerm() != term {
		return 0, n.lead.notLeader()
	}
	return index, nil
}

// awaitReady waits until this node, as the leader of term, has applied an entry
// of its own term: only then does its commit index say everything.
func (n *Node) awaitReady(ctx context.Context, term uint64) (leaderInfo, error) {
	for {
		leader := n.lead.current()
		switch {
		case !leader.Self || n.raft.CurrentTerm() != term:
			return leader, n.lead.notLeader()
		case n.lead.readyTerm() == term:
			return leader, nil
		}
		select {
		case <-leader.Changed:
		case <-ctx.Done():
			return leader, ctx.Err()
		}
	}
}

// quorumBesideMe returns the other voters and how many of them make a majority
// together with this node.
func (n *Node) quorumBesideMe() (others []raft.ServerID, need int) {
	voters, me := 0, 0
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if s.ID == raft.ServerID(n.cfg.NodeID) {
			me = 1
		} else {
			others = append(others, s.ID)
		}
	}
	return others, voters/2 + 1 - me
}

// hurryTries is how often a follower that lacks the entry is told again, after
// pauses of 1, 2, 4 ... ms; then raft's commit timer is sooner.
const hurryTries = 5

// hurryCommit tells a follower that waits for index that it is committed, when
// raft has not done so yet.
func (n *Node) hurryCommit(to raft.ServerID, index uint64) {
	if n.trans.toldCommitted(to) >= index {
		return
	}
	var entry raft.Log
	if err := n.logs.GetLog(index, &entry); err != nil {
		return // compacted: raft will tell it
	}
	term := n.raft.CurrentTerm()
	for _, s := range n.servers() {
		if s.ID == to && n.lead.readyTerm() == term {
			n.wg.Go(func() { n.tellUntilHeard(s, term, &entry) })
		}
	}
}

func (n *Node) tellUntilHeard(to raft.Server, term uint64, entry *raft.Log) {
	for try := range hurryTries {
		heard, err := n.trans.tellCommitted(to, raft.ServerID(n.cfg.NodeID), term, entry)
		if heard || err != nil {
			return
		}
		select {
		case <-time.After(time.Millisecond << try):
		case <-n.ctx.Done():
			return
		}
		if n.trans.toldCommitted(to.ID) >= entry.Index {
			return
		}
	}
}
