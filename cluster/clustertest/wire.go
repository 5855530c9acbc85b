package clustertest

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Wire is what the network does to one message of raft, or to an answer.
type Wire struct {
	Delay time.Duration
	// Breaks ends the connection with this message. What was under way on it
	// arrives, after Late, at a time when nobody counts on it any more; the cluster
	// has to outlive that.
	Breaks bool
	Late   time.Duration
}

// Wires makes raft's messages meet what wire says for each, on connections made
// from now on; nil ends that. Messages of one connection stay in order. wire must be
// safe for concurrent use.
func (w *Network) Wires(wire func() Wire) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wire = wire
}

func (w *Network) hasWire() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wire != nil
}

func (w *Network) nextWire() Wire {
	w.mu.Lock()
	wire := w.wire
	w.mu.Unlock()
	if wire == nil {
		return Wire{}
	}
	return wire()
}

// slowTransport meets what [Network.Wires] says.
type slowTransport struct {
	*raft.InmemTransport
	network *Network
}

var _ raft.WithPreVote = slowTransport{}

// AppendEntries implements [raft.Transport].
func (t slowTransport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest,
	resp *raft.AppendEntriesResponse,
) error {
	time.Sleep(t.network.nextWire().Delay)
	err := t.InmemTransport.AppendEntries(id, target, args, resp)
	time.Sleep(t.network.nextWire().Delay)
	return err
}

// AppendEntriesPipeline implements [raft.Transport].
func (t slowTransport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	inner, err := t.InmemTransport.AppendEntriesPipeline(id, target)
	if err != nil || !t.network.hasWire() {
		return inner, err
	}
	p := &slowPipeline{
		AppendPipeline: inner, transport: t, id: id, target: target,
		queue: make(chan request, 128), answers: make(chan raft.AppendFuture), closed: make(chan struct{}),
	}
	go p.send()
	go p.hear()
	return p, nil
}

type request struct {
	args *raft.AppendEntriesRequest
	resp *raft.AppendEntriesResponse
}

// slowPipeline is one connection.
type slowPipeline struct {
	raft.AppendPipeline
	transport slowTransport
	id        raft.ServerID
	target    raft.ServerAddress
	queue     chan request
	answers   chan raft.AppendFuture
	closed    chan struct{}
	once      sync.Once
}

// AppendEntries implements [raft.AppendPipeline].
func (p *slowPipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	select {
	case <-p.closed:
		return nil, raft.ErrPipelineShutdown
	default:
	}
	select {
	case p.queue <- request{args, resp}:
		return nil, nil //nolint:nilnil // raft does not look at it
	case <-p.closed:
		return nil, raft.ErrPipelineShutdown
	}
}

// Consumer implements [raft.AppendPipeline].
func (p *slowPipeline) Consumer() <-chan raft.AppendFuture { return p.answers }

// Close implements [raft.AppendPipeline].
func (p *slowPipeline) Close() error {
	var err error
	p.once.Do(func() {
		close(p.closed)
		err = p.AppendPipeline.Close()
	})
	return err
}

// wait waits for d, or until Close.
func (p *slowPipeline) wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.closed:
	}
}

func (p *slowPipeline) send() {
	for {
		var r request
		select {
		case r = <-p.queue:
		case <-p.closed:
			return
		}
		wire := p.transport.network.nextWire()
		p.wait(wire.Delay)
		if wire.Breaks {
			p.Close()
			go func() {
				time.Sleep(wire.Late)
				_ = p.transport.InmemTransport.AppendEntries(p.id, p.target, r.args, &raft.AppendEntriesResponse{})
			}()
			return
		}
		if _, err := p.AppendPipeline.AppendEntries(r.args, r.resp); err != nil {
			p.Close()
			return
		}
	}
}

func (p *slowPipeline) hear() {
	for {
		select {
		case f := <-p.AppendPipeline.Consumer():
			p.wait(p.transport.network.nextWire().Delay)
			select {
			case p.answers <- f:
			case <-p.closed:
				return
			}
		case <-p.closed:
			return
		}
	}
}
