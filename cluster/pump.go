package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/lockcluster/lockcluster"
)

// pump gathers what is queued into batches and sends them, a few at a time.
// There is no timer: an idle pump sends the first proposal at once, and what
// arrives while batches are in flight goes together in the next.
type pump struct {
	// send starts sending f and returns; it calls done when f's fate is known.
	send func(ctx context.Context, f *flight, done func())

	mu     sync.Mutex // guards what follows
	queue  []*proposal
	bytes  int
	open   int           // proposals queued or in flight
	flying int           // those in flight
	idleC  chan struct{} // closed when open falls to 0; nil if nobody waits
	closed error         // why nothing is taken any more, nil while it is

	kick  chan struct{}
	slots chan struct{}
	// stage, if there is one, holds the batch that is on its way to this node's
	// disk. The next is not taken before: it would only wait, while what arrives
	// meanwhile would miss it.
	stage chan struct{}
	// fills makes a batch wait until it is as large as all that is in flight, or
	// full, or until enough of that has landed: an entry costs the nodes as much as
	// several commands. A lone request waits for nothing, none for more than a
	// commit.
	fills bool
}

func newPump(send func(context.Context, *flight, func())) *pump {
	return &pump{send: send, kick: make(chan struct{}, 1), slots: make(chan struct{}, inFlightMax)}
}

// submit queues all proposals or none.
func (p *pump) submit(proposals ...*proposal) error {
	size := 0
	for _, x := range proposals {
		size += len(x.data)
	}
	p.mu.Lock()
	if err := p.closed; err != nil {
		p.mu.Unlock()
		return err
	}
	if len(p.queue)+len(proposals) > queueCommandsMax || p.bytes+size > queueBytesMax {
		p.mu.Unlock()
		return lockcluster.ErrOverloaded
	}
	p.queue = append(p.queue, proposals...)
	p.bytes += size
	p.open += len(proposals)
	p.mu.Unlock()
	p.wake()
	return nil
}

// wake has run look at the queue.
func (p *pump) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// run sends until ctx ends; then everything that is queued has not been proposed.
func (p *pump) run(ctx context.Context) {
	defer func() {
		p.setClosed(lockcluster.ErrClosed)
		p.fills = false
		for f := p.take(); f != nil; f = p.take() {
			f.fail(outcome{fate: fateNotProposed, reason: "the node is closing"})
			p.finished(len(f.proposals))
		}
	}()
	for {
		select {
		case <-p.kick:
		case <-ctx.Done():
			return
		}
		for {
			stored, ok := p.enter(ctx)
			if !ok {
				return
			}
			f := p.take()
			if f == nil {
				stored()
				<-p.slots
				break
			}
			f.stored = stored
			p.send(ctx, f, func() {
				stored()
				p.landed(len(f.proposals))
				<-p.slots
			})
		}
	}
}

// enter waits until a batch may be sent; stored makes room on the stage for the
// next. It reports false when ctx ended.
func (p *pump) enter(ctx context.Context) (stored func(), ok bool) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, false
	}
	if p.stage == nil {
		return func() {}, true
	}
	select {
	case p.stage <- struct{}{}:
	case <-ctx.Done():
		return nil, false
	}
	return sync.OnceFunc(func() { <-p.stage }), true
}

// take removes the next batch from the queue, nil if there is none or it is to
// grow.
func (p *pump) take() *flight {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fills && len(p.queue) < min(p.flying, batchCommandsMax) && p.bytes < batchBytesMax {
		return nil
	}
	var f flight
	size, n := 0, 0
	for _, x := range p.queue {
		if len(f.proposals) > 0 && (size+len(x.data) > batchBytesMax || len(f.proposals) >= batchCommandsMax) {
			break
		}
		n++
		p.bytes -= len(x.data)
		if !x.state.CompareAndSwap(proposalQueued, proposalTaken) {
			p.finishedLocked(1) // its caller gave up
			continue
		}
		size += len(x.data)
		f.proposals = append(f.proposals, x)
	}
	rest := copy(p.queue, p.queue[n:])
	clear(p.queue[rest:])
	p.queue = p.queue[:rest]
	if len(f.proposals) == 0 {
		return nil
	}
	p.flying += len(f.proposals)
	return &f
}

// landed notes that a batch of n proposals has.
func (p *pump) landed(n int) {
	p.mu.Lock()
	p.flying -= n
	waits := p.fills && len(p.queue) > 0
	p.finishedLocked(n)
	p.mu.Unlock()
	if waits {
		p.wake()
	}
}

func (p *pump) finished(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finishedLocked(n)
}

func (p *pump) finishedLocked(n int) {
	p.open -= n
	if p.open == 0 && p.idleC != nil {
		close(p.idleC)
		p.idleC = nil
	}
}

// setClosed makes submit fail with err, or work again if err is nil.
func (p *pump) setClosed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed == nil || !errors.Is(p.closed, lockcluster.ErrClosed) {
		p.closed = err
	}
}

// drain returns when nothing is queued or in flight, or with ctx's error.
func (p *pump) drain(ctx context.Context) error {
	p.mu.Lock()
	if p.open == 0 {
		p.mu.Unlock()
		return nil
	}
	if p.idleC == nil {
		p.idleC = make(chan struct{})
	}
	idle := p.idleC
	p.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain requests: %w", ctx.Err())
	}
}
