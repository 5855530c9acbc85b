package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// fakePipeline keeps what is sent; the test answers.
type fakePipeline struct {
	sent    []*fakeFuture
	answers chan raft.AppendFuture
	err     error
}

type fakeFuture struct {
	raft.AppendFuture
	args *raft.AppendEntriesRequest
	resp *raft.AppendEntriesResponse
}

func (f *fakeFuture) Error() error                          { return nil }
func (f *fakeFuture) Request() *raft.AppendEntriesRequest   { return f.args }
func (f *fakeFuture) Response() *raft.AppendEntriesResponse { return f.resp }

func (p *fakePipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if p.err != nil {
		return nil, p.err
	}
	f := &fakeFuture{args: args, resp: resp}
	p.sent = append(p.sent, f)
	return f, nil
}

func (p *fakePipeline) Consumer() <-chan raft.AppendFuture { return p.answers }
func (p *fakePipeline) Close() error                       { return nil }

// answer says of the nth request that was sent what its follower did.
func (p *fakePipeline) answer(n int, success bool) {
	f := p.sent[n]
	f.resp.Term, f.resp.Success, f.resp.LastLog = f.args.Term, success, f.args.PrevLogEntry+1
	p.answers <- f
}

func entryRequest(term, index, commit uint64) *raft.AppendEntriesRequest {
	return &raft.AppendEntriesRequest{
		Term: term, PrevLogEntry: index - 1, PrevLogTerm: term, LeaderCommitIndex: commit,
		Entries: []*raft.Log{{Index: index, Term: term}},
	}
}

// inPipeline runs f with a pipeline over a fake one, in which raft has sent the
// entry 1 of term 3.
func inPipeline(t *testing.T, f func(t *testing.T, p *pipeline, inner *fakePipeline)) {
	synctest.Test(t, func(t *testing.T) {
		_, trans := raft.NewInmemTransport("n1")
		tr, err := newTransport(trans, newAcks())
		if err != nil {
			t.Fatal(err)
		}
		inner := &fakePipeline{answers: make(chan raft.AppendFuture)}
		p := newPipeline(inner, tr, "n2")
		defer p.Close()
		mustSend(t, p, entryRequest(3, 1, 0))
		inner.answer(0, true)
		heard(t, p)
		f(t, p, inner)
	})
}

func mustSend(t *testing.T, p *pipeline, args *raft.AppendEntriesRequest) (raft.AppendFuture, *raft.AppendEntriesResponse) {
	t.Helper()
	resp := &raft.AppendEntriesResponse{}
	f, err := p.AppendEntries(args, resp)
	if err != nil {
		t.Fatal(err)
	}
	return f, resp
}

// heard is the next answer that raft hears of, which must be one.
func heard(t *testing.T, p *pipeline) raft.AppendFuture {
	t.Helper()
	synctest.Wait()
	select {
	case f := <-p.Consumer():
		return f
	default:
		t.Fatal("raft hears of no answer")
		return nil
	}
}

func heardNothing(t *testing.T, p *pipeline) {
	t.Helper()
	synctest.Wait()
	select {
	case f := <-p.Consumer():
		t.Fatalf("raft hears of %+v, which it has not asked for", f.Request())
	default:
	}
}

// An entry that was sent early is sent once. Raft hears of the answer when it has
// asked for the entry, which it does when its own disk has it, and not before; and
// the answer is to its own request.
func TestEntryIsSentEarlyAndOnce(t *testing.T) {
	for _, answerFirst := range []bool{false, true} {
		for _, success := range []bool{false, true} {
			inPipeline(t, func(t *testing.T, p *pipeline, inner *fakePipeline) {
				p.sendEarly(entryRequest(3, 2, 1))
				synctest.Wait()
				if len(inner.sent) != 2 {
					t.Fatalf("%d requests were sent, want 2", len(inner.sent))
				}
				if answerFirst {
					inner.answer(1, success)
					heardNothing(t, p)
				}
				mine := entryRequest(3, 2, 1)
				_, resp := mustSend(t, p, mine)
				if !answerFirst {
					heardNothing(t, p)
					inner.answer(1, success)
				}
				f := heard(t, p)
				if f.Request() != mine || f.Response() != resp || resp.Success != success || resp.Term != 3 {
					t.Errorf("raft hears %+v to %+v", f.Response(), f.Request())
				}
				if len(inner.sent) != 2 {
					t.Errorf("%d requests were sent, want 2", len(inner.sent))
				}
				if told := p.transport.toldCommitted("n2"); told != 1 {
					t.Errorf("the follower was told that %d is committed, want 1", told)
				}
			})
		}
	}
}

// What raft asks for and is not what was sent early is sent, and the answer to
// the early one goes to nobody. So is what was sent early too long ago: raft takes
// the time at which it hears for that of the contact.
func TestAnotherRequestThanTheEarlyOneIsSent(t *testing.T) {
	old := entryRequest(3, 2, 1)
	for name, mine := range map[string]*raft.AppendEntriesRequest{
		"another entry": entryRequest(3, 3, 1), "another term": entryRequest(4, 2, 1), "too late": old,
		"two entries":           {Term: 3, PrevLogEntry: 1, PrevLogTerm: 3, Entries: []*raft.Log{{Index: 2, Term: 3}, {Index: 3, Term: 3}}},
		"none":                  {Term: 3, PrevLogEntry: 1, PrevLogTerm: 3},
		"other entry before it": {Term: 3, PrevLogEntry: 1, PrevLogTerm: 2, Entries: []*raft.Log{{Index: 2, Term: 3}}},
	} {
		for _, answerFirst := range []bool{false, true} {
			inPipeline(t, func(t *testing.T, p *pipeline, inner *fakePipeline) {
				p.sendEarly(entryRequest(3, 2, 1))
				synctest.Wait()
				if answerFirst {
					inner.answer(1, true)
				}
				if mine == old {
					time.Sleep(2 * earlyMax)
				}
				_, resp := mustSend(t, p, mine)
				if len(inner.sent) != 3 || inner.sent[2].args != mine {
					t.Fatalf("%s: %d requests were sent, want 3", name, len(inner.sent))
				}
				if !answerFirst {
					inner.answer(1, true)
				}
				heardNothing(t, p)
				inner.answer(2, true)
				if f := heard(t, p); f.Request() != mine || f.Response() != resp {
					t.Errorf("%s: raft hears of %+v", name, f.Request())
				}
			})
		}
	}
}

// Nothing is sent early in a term in which raft has not sent, before or after the
// entry that raft sends next, beside another early entry, or after Close; and an
// error of sending is left to raft's own request.
func TestNothingIsSentEarly(t *testing.T) {
	inPipeline(t, func(t *testing.T, p *pipeline, inner *fakePipeline) {
		p.sendEarly(entryRequest(2, 2, 1))
		p.sendEarly(entryRequest(4, 2, 1))
		synctest.Wait()
		if len(inner.sent) != 1 {
			t.Errorf("an entry of another term was sent")
		}
		p.sendEarly(entryRequest(3, 3, 1)) // the follower cannot have the one before
		p.sendEarly(entryRequest(3, 1, 1)) // raft has sent it
		synctest.Wait()
		if len(inner.sent) != 1 {
			t.Errorf("%d entries that are not the next were sent", len(inner.sent)-1)
		}
		inner.err = raft.ErrPipelineShutdown
		p.sendEarly(entryRequest(3, 2, 1))
		synctest.Wait()
		if _, err := p.AppendEntries(entryRequest(3, 2, 1), &raft.AppendEntriesResponse{}); err == nil {
			t.Error("raft does not meet the error")
		}
		inner.err = nil
		p.sendEarly(entryRequest(3, 2, 1))
		synctest.Wait()
		p.sendEarly(entryRequest(3, 3, 1))
		synctest.Wait()
		if len(inner.sent) != 2 {
			t.Errorf("%d requests were sent, want 2", len(inner.sent))
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		p.sendEarly(entryRequest(3, 4, 1))
		synctest.Wait()
		if len(inner.sent) != 2 || len(p.transport.open()) != 0 {
			t.Error("a closed pipeline sends, or is kept")
		}
	})
}

// Raft hears the answers in the order of what it has sent: each sets which entry it
// takes the follower to lack next, and a transfer of leadership waits for none.
func TestAnswersComeInOrder(t *testing.T) {
	for range 200 {
		inPipeline(t, func(t *testing.T, p *pipeline, inner *fakePipeline) {
			p.sendEarly(entryRequest(3, 2, 1))
			synctest.Wait()
			inner.answer(1, true)
			synctest.Wait()
			for i := uint64(2); i <= 4; i++ {
				mustSend(t, p, entryRequest(3, i, 1))
			}
			go func() {
				inner.answer(2, true)
				inner.answer(3, true)
			}()
			for i := uint64(2); i <= 4; i++ {
				if got := heard(t, p).Request().Entries[0].Index; got != i {
					t.Fatalf("raft hears of entry %d, want %d", got, i)
				}
			}
		})
		if t.Failed() {
			return
		}
	}
}
