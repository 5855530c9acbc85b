package cluster

import (
	"context"
	"sync/atomic"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm"
	"github.com/lockcluster/lockcluster/fsm/command"
)

// Bounds of what waits and what is sent together.
const (
	batchBytesMax    = 256 << 10 // one log entry, or one forwarded batch
	batchCommandsMax = 4096
	queueCommandsMax = 16384
	queueBytesMax    = 128 << 20
	commandBytesMax  = 16 << 20 // one command; twice the largest value
	inFlightMax      = 4        // log entries, or forwarded batches
)

// fate is what is known about a proposal. The numbers go over the wire.
type fate byte

const (
	fateDecided     fate = 1 // committed and applied; there is a result
	fateNotProposed fate = 2 // this node does not lead, or not yet: try elsewhere
	fateUnknown     fate = 3 // it may or may not be applied
	fateOverloaded  fate = 4 // not proposed: a queue is full or the node is frozen
	fateInvalid     fate = 5 // not proposed: it can never be
)

// outcome is the end of one attempt to have a command decided.
type outcome struct {
	fate   fate
	result lockcluster.Result // fateDecided
	reason string             // the others; for people
}

// encode gives the outcome the form of [Peers.Propose]: one byte for the fate,
// then the encoded result or the reason.
func (o outcome) encode() []byte {
	if o.fate != fateDecided {
		return append([]byte{byte(o.fate)}, o.reason...)
	}
	b, err := command.EncodeResult(o.result)
	if err != nil {
		return append([]byte{byte(fateUnknown)}, "the result cannot be encoded"...)
	}
	return append([]byte{byte(fateDecided)}, b...)
}

func decodeOutcome(b []byte) outcome {
	if len(b) == 0 {
		return outcome{fate: fateUnknown, reason: "empty answer"}
	}
	o := outcome{fate: fate(b[0])}
	switch o.fate {
	case fateDecided:
		result, err := command.DecodeResult(b[1:])
		if err != nil {
			return outcome{fate: fateUnknown, reason: "the answer cannot be read"}
		}
		o.result = result
	case fateNotProposed, fateUnknown, fateOverloaded, fateInvalid:
		o.reason = string(b[1:])
	default:
		return outcome{fate: fateUnknown, reason: "the answer is of a newer version"}
	}
	return o
}

// proposal is one encoded command on its way.
type proposal struct {
	data  []byte
	out   chan outcome // receives once
	state atomic.Int32
}

const (
	proposalQueued    = 0
	proposalTaken     = 1
	proposalCancelled = 2
)

func newProposal(data []byte) *proposal { return &proposal{data: data, out: make(chan outcome, 1)} }

// finish delivers the outcome; only the first one counts.
func (p *proposal) finish(o outcome) {
	select {
	case p.out <- o:
	default:
	}
}

// cancel takes a proposal back that nobody has taken yet; then it was
// certainly not proposed.
func (p *proposal) cancel() bool { return p.state.CompareAndSwap(proposalQueued, proposalCancelled) }

// await returns the outcome, or what is known when ctx ends.
func (p *proposal) await(ctx context.Context) outcome {
	select {
	case o := <-p.out:
		return o
	case <-ctx.Done():
	}
	if p.cancel() {
		return outcome{fate: fateOverloaded, reason: "it waited in the queue until its deadline"}
	}
	select {
	case o := <-p.out:
		return o
	default:
		return outcome{fate: fateUnknown, reason: "no answer until the deadline"}
	}
}

// flight is a batch of proposals in one log entry or one forwarded call.
type flight struct {
	proposals []*proposal
	stored    func() // to be called when it is on this node's disk; later calls do nothing
}

func (f *flight) decided(results fsm.Applied) {
	for i, p := range f.proposals {
		p.finish(outcome{fate: fateDecided, result: results[i]})
	}
}

func (f *flight) fail(o outcome) {
	for _, p := range f.proposals {
		p.finish(o)
	}
}
