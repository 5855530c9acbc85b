package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// dutyPause is the pause before a duty that failed is tried again.
const dutyPause = 50 * time.Millisecond

// lead watches who leads, and does a leader's duties while this node does.
func (n *Node) leadDuties() {
	for {
		leader := n.lead.current()
		if leader.Self {
			n.serveTerm(leader)
		}
		select {
		case <-leader.Changed:
		case <-leader.Ctx.Done():
		case <-n.ctx.Done():
			return
		}
	}
}

// serveTerm does a leader's duties until it no longer leads.
func (n *Node) serveTerm(leader leaderInfo) {
	ctx, cancel := context.WithCancel(n.ctx)
	defer cancel()
	defer context.AfterFunc(leader.Ctx, cancel)()
	term := n.raft.CurrentTerm()
	if !n.openTerm(ctx, leader, term) {
		return
	}
	n.logger.Info("leading", "term", term)
	var wg sync.WaitGroup
	wg.Go(func() { n.expiry.run(ctx, term) })
	wg.Go(func() { n.proposeCheckpoints(ctx) })
	wg.Go(func() { n.promoteNonVoters(ctx) })
	wg.Wait()
	n.logger.Info("no longer leading", "term", term)
}

// openTerm has the first entry of the term applied: this node's registration.
// It stands in for a barrier: raft's own no-op never reaches the state machine.
// Until it is applied this node does not know all that is committed.
func (n *Node) openTerm(ctx context.Context, leader leaderInfo, term uint64) bool {
	for ctx.Err() == nil {
		o := n.proposeHere(ctx, n.registration())
		if o.fate == fateDecided && n.raft.CurrentTerm() == term {
			n.lead.setReady(leader, term)
			return true
		}
		select {
		case <-time.After(dutyPause):
		case <-ctx.Done():
		}
	}
	return false
}

// proposeHere proposes a request of the leader's own. It carries no request id:
// such requests do no harm when they are applied twice.
func (n *Node) proposeHere(ctx context.Context, req lockcluster.Request) outcome {
	data, err := encodeCommand(lockcluster.RequestID{}, req)
	if err != nil {
		return outcome{fate: fateInvalid, reason: err.Error()}
	}
	p := newProposal(data)
	if err := n.batcher.submit(p); err != nil {
		return outcome{fate: fateOverloaded, reason: err.Error()}
	}
	return p.await(ctx)
}

func (n *Node) registration() lockcluster.RegisterNode {
	return lockcluster.RegisterNode{
		NodeID: n.cfg.NodeID, RaftAddr: n.cfg.RaftAddr, GRPCAddr: n.cfg.GRPCAddr, HTTPAddr: n.cfg.HTTPAddr,
		RESPAddr: n.cfg.RESPAddr, Version: n.cfg.Version, FeatureLevel: featureLevel,
	}
}

// register publishes this node's addresses, at the start and whenever a
// restored state does not have them.
func (n *Node) register() {
	for {
		for !n.registerOnce() {
			select {
			case <-time.After(dutyPause):
			case <-n.ctx.Done():
				return
			}
		}
		select {
		case <-n.restoredC:
		case <-n.ctx.Done():
			return
		}
	}
}

func (n *Node) registerOnce() bool {
	ctx, cancel := context.WithTimeout(n.ctx, n.cfg.RequestTimeout)
	defer cancel()
	want := n.registration()
	var have lockcluster.RegisterNode
	if err := n.Read(ctx, func(r state.Reader, _ uint64) { have, _ = state.GetNode(r, want.NodeID) }); err != nil {
		return errors.Is(err, lockcluster.ErrClosed)
	}
	if have == want {
		return true
	}
	_, err := n.Do(ctx, lockcluster.RequestID{}, want)
	return err == nil || errors.Is(err, lockcluster.ErrClosed)
}

// tellMigration calls f, if there is one, with the state of the migration. No
// log entry is applied meanwhile, so that f never hears of an older one later.
func (n *Node) tellMigration(f func(lockcluster.Migration)) {
	if f == nil {
		return
	}
	var m lockcluster.Migration
	n.machine.fsm.Store().Read(func(r state.Reader, _ uint64) { m = state.GetMigration(r) })
	f(m)
}

func (n *Node) tellRestored(f func()) {
	if f != nil {
		f()
	}
}

// restored is called after a snapshot has replaced the state.
func (n *Node) restored() {
	nodes := map[string]lockcluster.RegisterNode{}
	n.machine.fsm.Store().Read(func(r state.Reader, _ uint64) {
		state.Nodes(r, func(node lockcluster.RegisterNode) bool {
			nodes[node.NodeID] = node
			return true
		})
	})
	n.lead.setNodes(nodes)
	n.expiry.rescan()
	select {
	case n.restoredC <- struct{}{}:
	default:
	}
}
