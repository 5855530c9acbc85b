package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm"
	"github.com/lockcluster/lockcluster/fsm/command"
)

// batcher is group commit on the leader: what is queued goes into one log
// entry, and one fsync on each node serves them all.
type batcher struct {
	*pump
	apply   func(data []byte) raft.ApplyFuture
	machine *machine
	metrics *metrics
	halter  *halter
	wg      sync.WaitGroup

	// A leadership transfer that was interrupted can leave a leader that refuses
	// all writes (hashicorp/raft#696). refusedSince is when it began to refuse,
	// in Unix nanoseconds, 0 when it does not.
	refusedSince atomic.Int64
	refuseMax    time.Duration
}

func newBatcher(apply func([]byte) raft.ApplyFuture, m *machine, h *halter, mt *metrics, electionTimeout time.Duration) *batcher {
	b := &batcher{apply: apply, machine: m, halter: h, metrics: mt, refuseMax: 2 * electionTimeout}
	b.pump = newPump(b.send)
	b.pump.stage = make(chan struct{}, 1)
	b.pump.fills = true
	return b
}

// run sends until ctx ends, and returns when the fate of all it sent is known.
func (b *batcher) run(ctx context.Context) {
	b.pump.run(ctx)
	b.wg.Wait()
}

func (b *batcher) send(_ context.Context, f *flight, done func()) {
	commands := make([][]byte, len(f.proposals))
	for i, p := range f.proposals {
		commands[i] = p.data
	}
	data, err := command.EncodeEntry(time.Now(), commands)
	if err != nil {
		f.fail(outcome{fate: fateInvalid, reason: err.Error()})
		done()
		return
	}
	b.metrics.batch.Observe(float64(len(commands)))
	b.metrics.inFlight.Inc()
	b.machine.launch(data, f)
	future := b.apply(data)
	b.wg.Go(func() {
		b.land(data, f, future)
		b.metrics.inFlight.Dec()
		done()
	})
}

// land waits for the fate of a log entry. When it was applied, the machine has
// delivered the results already.
func (b *batcher) land(data []byte, f *flight, future raft.ApplyFuture) {
	err := future.Error()
	b.machine.land(data)
	b.noteTransfer(err)
	if err != nil {
		f.fail(outcomeOf(err))
		return
	}
	applied, ok := future.Response().(fsm.Applied)
	if !ok { // the state machine stopped in the middle of it
		f.fail(outcome{fate: fateUnknown, reason: "the node halted"})
		return
	}
	f.decided(applied)
}

// outcomeOf says what raft's error means for an entry (reliability.md C7).
func outcomeOf(err error) outcome {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress),
		errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrAbortedByRestore):
		return outcome{fate: fateNotProposed, reason: err.Error()}
	}
	return outcome{fate: fateUnknown, reason: err.Error()}
}

func (b *batcher) noteTransfer(err error) {
	if !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		b.refusedSince.Store(0)
		return
	}
	now := time.Now().UnixNano()
	if b.refusedSince.CompareAndSwap(0, now) {
		return
	}
	if since := time.Duration(now - b.refusedSince.Load()); since > b.refuseMax && since < time.Duration(now) {
		b.halter.fail(&HaltError{
			Cause: ErrStuck, Op: fmt.Sprintf("a leadership transfer has refused all writes for %s", since.Round(time.Millisecond)),
			Advice: "start the node again",
		})
	}
}

// transferStarts forgets refusals of an earlier transfer.
func (b *batcher) transferStarts() { b.refusedSince.Store(0) }

// forwarder sends what is queued on a follower to the leader, several commands
// in one call.
type forwarder struct {
	*pump
	peers   Peers
	lead    *leadership
	metrics *metrics
	timeout time.Duration
	wg      sync.WaitGroup
}

func newForwarder(peers Peers, lead *leadership, m *metrics, timeout time.Duration) *forwarder {
	w := &forwarder{peers: peers, lead: lead, metrics: m, timeout: timeout}
	w.pump = newPump(w.send)
	return w
}

func (w *forwarder) run(ctx context.Context) {
	w.pump.run(ctx)
	w.wg.Wait()
}

func (w *forwarder) send(ctx context.Context, f *flight, done func()) {
	leader := w.lead.current()
	if leader.Self || leader.GRPCAddr == "" {
		f.fail(outcome{fate: fateNotProposed, reason: "no leader is known"})
		done()
		return
	}
	w.wg.Go(func() {
		defer done()
		w.forward(ctx, leader, f)
	})
}

// forward calls the leader. It gives up when the leader changes: a call to a
// leader that sleeps would block everyone behind it.
func (w *forwarder) forward(ctx context.Context, leader leaderInfo, f *flight) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	defer context.AfterFunc(leader.Ctx, cancel)()
	batch := make([][]byte, len(f.proposals))
	for i, p := range f.proposals {
		batch[i] = p.data
	}
	w.metrics.forwarded.Add(float64(len(batch)))
	answers, err := w.peers.Propose(ctx, leader.GRPCAddr, batch)
	switch {
	case errors.Is(err, lockcluster.ErrNoLeader):
		f.fail(outcome{fate: fateNotProposed, reason: err.Error()})
	case errors.Is(err, lockcluster.ErrOverloaded):
		f.fail(outcome{fate: fateOverloaded, reason: err.Error()})
	case err != nil:
		f.fail(outcome{fate: fateUnknown, reason: err.Error()})
	case len(answers) != len(batch):
		f.fail(outcome{fate: fateUnknown, reason: fmt.Sprintf("%d answers to %d commands", len(answers), len(batch))})
	default:
		for i, p := range f.proposals {
			p.finish(decodeOutcome(answers[i]))
		}
	}
}
