package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// retryPauseMax bounds the pause between two attempts while the leader is
// known but does not answer; a change of leader ends the pause at once.
const retryPauseMax = 100 * time.Millisecond

// Do has req decided and returns its result, from any node. It tries again by
// itself, under the same request id, when the leader changes, until ctx ends;
// a ctx without a deadline gets [Config.RequestTimeout]. If id is zero the node
// gives the request an id of its own.
//
// The errors: [lockcluster.ErrInvalid], [lockcluster.ErrOverloaded],
// [lockcluster.ErrNoLeader] and [lockcluster.ErrClosed] mean that nothing was
// proposed. [lockcluster.ErrOutcomeUnknown] means that it may or may not be
// applied. Ending ctx takes nothing back that was proposed.
func (n *Node) Do(ctx context.Context, id lockcluster.RequestID, req lockcluster.Request) (lockcluster.Result, error) {
	if err := n.enter(); err != nil {
		return lockcluster.Result{}, err
	}
	defer n.leave()
	if err := state.Validate(req); err != nil {
		return lockcluster.Result{}, err
	}
	if id.IsZero() {
		id = n.session.begin()
		defer n.session.end(id)
	}
	data, err := encodeCommand(id, req)
	if err != nil {
		return lockcluster.Result{}, err
	}
	ctx, cancel := n.deadline(ctx)
	defer cancel()
	return n.propose(ctx, data)
}

func encodeCommand(id lockcluster.RequestID, req lockcluster.Request) ([]byte, error) {
	data, err := command.EncodeCommand(id, req)
	if err != nil {
		return nil, err
	}
	if len(data) > commandBytesMax {
		return nil, fmt.Errorf("%w: the request has %d bytes, at most %d are allowed: split it", lockcluster.ErrInvalid, len(data), commandBytesMax)
	}
	return data, nil
}

// deadline gives ctx the default deadline if it has none.
func (n *Node) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, n.cfg.RequestTimeout)
}

// propose tries until the command is decided or ctx ends.
func (n *Node) propose(ctx context.Context, data []byte) (lockcluster.Result, error) {
	unknown := false
	for attempt := 0; ; attempt++ {
		leader := n.lead.current()
		o := n.attempt(ctx, leader, data)
		switch o.fate {
		case fateDecided:
			return o.result, nil
		case fateInvalid:
			return lockcluster.Result{}, fmt.Errorf("%w: %s", lockcluster.ErrInvalid, o.reason)
		case fateOverloaded:
			if !unknown {
				return lockcluster.Result{}, fmt.Errorf("%w: %s", lockcluster.ErrOverloaded, o.reason)
			}
		case fateUnknown:
			unknown = true
		}
		if err := n.pause(ctx, leader, attempt); err != nil {
			cause := lockcluster.ErrNoLeader
			switch {
			case unknown:
				cause = lockcluster.ErrOutcomeUnknown
			case errors.Is(err, lockcluster.ErrClosed):
				return lockcluster.Result{}, lockcluster.ErrClosed
			}
			return lockcluster.Result{}, fmt.Errorf("%w: %s: %w", cause, o.reason, err)
		}
	}
}

// attempt has the command proposed once, here or by the leader.
func (n *Node) attempt(ctx context.Context, leader leaderInfo, data []byte) outcome {
	p := newProposal(data)
	var err error
	switch {
	case leader.Self:
		err = n.batcher.submit(p)
	case leader.GRPCAddr != "":
		err = n.forwarder.submit(p)
	default:
		return outcome{fate: fateNotProposed, reason: "no leader is known"}
	}
	switch {
	case errors.Is(err, lockcluster.ErrClosed):
		return outcome{fate: fateNotProposed, reason: err.Error()}
	case err != nil:
		return outcome{fate: fateOverloaded, reason: "the queue is full or frozen"}
	}
	return p.await(ctx)
}

// pause waits until another attempt makes sense. leader is who led before the
// attempt that failed.
func (n *Node) pause(ctx context.Context, leader leaderInfo, attempt int) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case n.ctx.Err() != nil:
		return lockcluster.ErrClosed
	case leader.Ctx.Err() != nil && n.lead.current().ID != "":
		return nil // it has changed already
	}
	timer := time.NewTimer(min(retryPauseMax, time.Millisecond<<min(attempt+2, 10)))
	defer timer.Stop()
	select {
	case <-leader.Changed:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	case <-n.ctx.Done():
		return lockcluster.ErrClosed
	}
	return nil
}

// ServePropose answers [Peers.Propose]: it proposes the commands if this node
// leads, and never forwards them again.
func (n *Node) ServePropose(ctx context.Context, batch [][]byte) ([][]byte, error) {
	if err := n.enter(); err != nil {
		return refuseAll(batch, err), nil
	}
	defer n.leave()
	ctx, cancel := n.deadline(ctx)
	defer cancel()
	if !n.lead.current().Self {
		return refuseAll(batch, n.lead.notLeader()), nil
	}
	answers := make([][]byte, len(batch))
	proposals := make([]*proposal, 0, len(batch))
	where := make([]int, 0, len(batch))
	for i, data := range batch {
		if err := checkForwarded(data); err != nil {
			answers[i] = outcome{fate: fateInvalid, reason: err.Error()}.encode()
			continue
		}
		proposals = append(proposals, newProposal(data))
		where = append(where, i)
	}
	if err := n.batcher.submit(proposals...); err != nil {
		o := outcome{fate: fateOverloaded, reason: err.Error()}
		if errors.Is(err, lockcluster.ErrClosed) {
			o.fate = fateNotProposed
		}
		for _, p := range proposals {
			p.finish(o)
		}
	}
	for i, p := range proposals {
		answers[where[i]] = p.await(ctx).encode()
	}
	return answers, nil
}

func refuseAll(batch [][]byte, err error) [][]byte {
	refusal := outcome{fate: fateNotProposed, reason: err.Error()}.encode()
	answers := make([][]byte, len(batch))
	for i := range answers {
		answers[i] = refusal
	}
	return answers
}

// checkForwarded keeps what cannot be read out of the log, where it would stop
// every node.
func checkForwarded(data []byte) error {
	if len(data) > commandBytesMax {
		return fmt.Errorf("the command has %d bytes, at most %d are allowed", len(data), commandBytesMax)
	}
	c, err := command.DecodeCommand(data)
	if err != nil {
		return err
	}
	switch c.Request.(type) {
	case lockcluster.Expire, lockcluster.BumpEpoch, lockcluster.Checkpoint:
		return fmt.Errorf("%T is for the leader itself to propose", c.Request)
	}
	return nil
}
