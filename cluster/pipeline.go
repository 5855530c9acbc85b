package cluster

import (
	"runtime"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// earlyBytesMax is how large an entry may be that is sent early. With many
	// clients entries are larger, and several are under way anyway: it would only
	// cost.
	earlyBytesMax = 16 << 10
	// earlyMax is how old the sending may be when raft asks for it. Raft takes the
	// time at which it sees an answer for that of the contact.
	earlyMax = 100 * time.Millisecond
)

// pipeline carries entries to one follower. Raft hands an entry over when it is on
// the leader's own disk. One that comes alone is sent before that, so that the
// disks of leader and followers are written at the same time; when raft then asks
// for it, the answer to what was sent early is given, and nothing more is sent. To
// raft nothing has changed: it counts a follower for an entry only after its own
// write. A leader whose write fails stops (see [guard]), so no other entry can get
// that index in its term: Ongaro, "Consensus: Bridging Theory and Practice", 2014,
// 10.2.1.
type pipeline struct {
	raft.AppendPipeline
	transport *transport
	id        raft.ServerID
	ready     chan raft.AppendFuture
	wg        sync.WaitGroup

	sendMu sync.Mutex // one sends at a time; before mu

	mu     sync.Mutex // guards what follows
	early  *early     // what raft has not asked for yet
	owed   map[*raft.AppendEntriesRequest]*early
	known  []raft.AppendFuture // what raft has asked for after the answer came
	term   uint64              // in which raft has sent
	last   uint64              // the last entry that raft has sent
	asked  chan struct{}       // known is not empty
	closed chan struct{}       // closed by Close
	over   bool
}

// early is one request that was sent early.
type early struct {
	sent   *raft.AppendEntriesRequest
	at     time.Time
	answer raft.AppendFuture
	asked  *askedFuture // set when raft has asked for it
}

// askedFuture is the future of raft's own request, with the answer to the early one.
type askedFuture struct {
	raft.AppendFuture
	args *raft.AppendEntriesRequest
	resp *raft.AppendEntriesResponse
}

// Request implements [raft.AppendFuture].
func (f *askedFuture) Request() *raft.AppendEntriesRequest { return f.args }

// Response implements [raft.AppendFuture].
func (f *askedFuture) Response() *raft.AppendEntriesResponse { return f.resp }

func newPipeline(inner raft.AppendPipeline, t *transport, id raft.ServerID) *pipeline {
	p := &pipeline{
		AppendPipeline: inner, transport: t, id: id, ready: make(chan raft.AppendFuture, 1),
		owed: map[*raft.AppendEntriesRequest]*early{}, asked: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	p.wg.Go(p.run)
	return p
}

// Consumer implements [raft.AppendPipeline].
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.ready }

// Close implements [raft.AppendPipeline].
func (p *pipeline) Close() error {
	p.mu.Lock()
	if !p.over {
		p.over = true
		close(p.closed)
	}
	p.mu.Unlock()
	p.transport.forget(p)
	err := p.AppendPipeline.Close()
	p.wg.Wait()
	return err
}

// AppendEntries implements [raft.AppendPipeline].
func (p *pipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	p.sendMu.Lock()
	defer p.sendMu.Unlock()
	if f := p.ask(args, resp); f != nil {
		return f, nil
	}
	f, err := p.AppendPipeline.AppendEntries(args, resp)
	if err == nil {
		p.transport.noteCommitted(p.id, args.LeaderCommitIndex)
	}
	return f, err
}

// ask returns the future of what was sent early, if that is what raft sends now.
func (p *pipeline) ask(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) raft.AppendFuture {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.term, p.last = args.Term, args.PrevLogEntry+uint64(len(args.Entries))
	e := p.early
	p.early = nil // otherwise its answer is dropped when it comes
	if e == nil || !sameEntries(e.sent, args) || time.Since(e.at) > earlyMax {
		return nil
	}
	p.transport.noteCommitted(p.id, e.sent.LeaderCommitIndex)
	e.asked = &askedFuture{args: args, resp: resp}
	if e.answer != nil {
		p.known = append(p.known, e.finish()) // raft may not be listening before this returns
		select {
		case p.asked <- struct{}{}:
		default:
		}
	}
	return e.asked
}

func (e *early) finish() *askedFuture {
	*e.asked.resp = *e.answer.Response()
	e.asked.AppendFuture = e.answer
	return e.asked
}

// sameEntries reports whether a follower does the same with both: an entry is
// known by its index and term.
func sameEntries(a, b *raft.AppendEntriesRequest) bool {
	return a.Term == b.Term && a.PrevLogEntry == b.PrevLogEntry && a.PrevLogTerm == b.PrevLogTerm &&
		len(a.Entries) == 1 && len(b.Entries) == 1 && a.Entries[0].Index == b.Entries[0].Index && a.Entries[0].Term == b.Entries[0].Term
}

// run hands the answers on until Close, in the order in which raft has asked: an
// older one that came after a newer would have it take the follower to lack what it
// has, and a transfer of leadership wait for an answer that is none.
func (p *pipeline) run() {
	for {
		select {
		case f := <-p.AppendPipeline.Consumer():
			p.deliver(p.answered(f))
		case <-p.asked:
			p.deliver(p.answered(nil))
		case <-p.closed:
			return
		}
	}
}

// answered returns what raft is to be told now. f is the answer that has come, if
// one has; raft has asked for all that is known before that was sent.
func (p *pipeline) answered(f raft.AppendFuture) []raft.AppendFuture {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.known
	p.known = nil
	if f == nil {
		return known
	}
	e := p.owed[f.Request()]
	if e == nil {
		return append(known, f)
	}
	delete(p.owed, e.sent)
	e.answer = f
	if e.asked == nil {
		return known
	}
	return append(known, e.finish())
}

func (p *pipeline) deliver(futures []raft.AppendFuture) {
	for _, f := range futures {
		select {
		case p.ready <- f:
		case <-p.closed:
			return
		}
	}
}

// sendEarly sends an entry, if it is what raft sends next and nothing else is under
// way early. It does not wait.
func (p *pipeline) sendEarly(args *raft.AppendEntriesRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isNextLocked(args) {
		return
	}
	p.wg.Go(func() {
		if p.sendMu.TryLock() {
			defer p.sendMu.Unlock()
			p.send(args)
		}
	})
}

// isNextLocked reports whether raft, in its term, has sent all before that entry, and
// not the entry. A follower refuses one that comes before its turn.
func (p *pipeline) isNextLocked(args *raft.AppendEntriesRequest) bool {
	return !p.over && p.term == args.Term && p.last == args.PrevLogEntry && p.early == nil && len(p.owed) == 0
}

func (p *pipeline) send(args *raft.AppendEntriesRequest) {
	e := &early{sent: args, at: time.Now()}
	p.mu.Lock()
	next := p.isNextLocked(args)
	if next {
		p.early, p.owed[args] = e, e
	}
	p.mu.Unlock()
	if !next {
		return // raft was faster
	}
	if _, err := p.AppendPipeline.AppendEntries(args, &raft.AppendEntriesResponse{}); err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.early = nil // raft's own request will meet the error
		delete(p.owed, args)
	}
}

// sendEarly sends an entry that this node has proposed, and is about to write to
// its disk, to the followers.
func (n *Node) sendEarly(logs []*raft.Log) {
	if len(logs) != 1 || len(logs[0].Data) > earlyBytesMax || !n.machine.proposed(logs[0].Data) {
		return
	}
	pipelines := n.trans.open()
	if len(pipelines) == 0 {
		return
	}
	entry := logs[0]
	var before raft.Log
	if err := n.logs.GetLog(entry.Index-1, &before); err != nil {
		return // it is in a snapshot
	}
	applied, _ := n.machine.position() // all of it is committed
	addr := n.trans.EncodePeer(raft.ServerID(n.cfg.NodeID), n.trans.LocalAddr())
	for _, p := range pipelines {
		p.sendEarly(&raft.AppendEntriesRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(n.cfg.NodeID), Addr: addr},
			Term:      entry.Term, PrevLogEntry: before.Index, PrevLogTerm: before.Term, Entries: logs,
			LeaderCommitIndex: min(applied, before.Index),
		})
	}
	runtime.Gosched() // the write would keep the only processor, if there is one
}
