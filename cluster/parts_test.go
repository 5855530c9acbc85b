package cluster

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/lockcluster/lockcluster"
)

// An idle pump sends at once; what comes while batches are in flight goes
// together, in order, within the bounds; what was taken back is not sent.
func TestPumpBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var sent [][]string
		release := make(chan struct{})
		p := newPump(func(_ context.Context, f *flight, done func()) {
			var batch []string
			for _, x := range f.proposals {
				batch = append(batch, string(x.data[:1]))
			}
			mu.Lock()
			sent = append(sent, batch)
			mu.Unlock()
			go func() {
				<-release
				f.fail(outcome{fate: fateUnknown})
				done()
			}()
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { p.run(ctx) })
		submit := func(data string) *proposal {
			x := newProposal([]byte(data))
			if err := p.submit(x); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return x
		}
		for _, s := range []string{"a", "b", "c", "d"} { // one entry each: they find a free slot
			submit(s)
		}
		submit("e")
		back := submit("f")
		submit("g")
		submit("h" + strings.Repeat("x", batchBytesMax))
		if !back.cancel() {
			t.Error("a queued proposal was not taken back")
		}
		if back.cancel() {
			t.Error("it was taken back twice")
		}
		close(release)
		synctest.Wait()
		want := "[a] [b] [c] [d] [e g] [h]"
		var got []string
		for _, b := range sent {
			got = append(got, "["+strings.Join(b, " ")+"]")
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("sent %s, want %s", s, want)
		}
		if err := p.drain(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		wg.Wait()
		if err := p.submit(newProposal([]byte("z"))); !errors.Is(err, lockcluster.ErrClosed) {
			t.Errorf("submit to a stopped pump: %v", err)
		}
	})
}

// A full queue refuses, and says that nothing was proposed.
func TestPumpIsBounded(t *testing.T) {
	p := newPump(nil)
	many := make([]*proposal, queueCommandsMax)
	for i := range many {
		many[i] = newProposal([]byte("x"))
	}
	if err := p.submit(many...); err != nil {
		t.Fatal(err)
	}
	if err := p.submit(newProposal([]byte("x"))); !errors.Is(err, lockcluster.ErrOverloaded) {
		t.Errorf("got %v", err)
	}
	p = newPump(nil)
	big := newProposal(make([]byte, queueBytesMax))
	if err := p.submit(big, newProposal([]byte("x"))); !errors.Is(err, lockcluster.ErrOverloaded) {
		t.Errorf("got %v", err)
	}
}

// A proposal that nobody took by its deadline was certainly not proposed; one
// that was taken may have been.
func TestAwaitSaysWhatIsKnown(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if o := newProposal(nil).await(ended); o.fate != fateOverloaded {
		t.Errorf("queued: fate %d", o.fate)
	}
	taken := newProposal(nil)
	taken.state.Store(proposalTaken)
	if o := taken.await(ended); o.fate != fateUnknown {
		t.Errorf("taken: fate %d", o.fate)
	}
}

// What raft's errors mean for an entry (C7).
func TestOutcomeOfRaftErrors(t *testing.T) {
	for err, want := range map[error]fate{
		raft.ErrNotLeader: fateNotProposed, raft.ErrLeadershipTransferInProgress: fateNotProposed, raft.ErrAbortedByRestore: fateNotProposed,
		raft.ErrEnqueueTimeout: fateNotProposed, raft.ErrLeadershipLost: fateUnknown, raft.ErrRaftShutdown: fateUnknown,
		errors.New("else"): fateUnknown,
	} {
		if o := outcomeOf(err); o.fate != want {
			t.Errorf("%v: fate %d, want %d", err, o.fate, want)
		}
	}
}

// Outcomes keep their meaning on the wire, and nonsense means "unknown".
func TestOutcomeOnTheWire(t *testing.T) {
	for _, o := range []outcome{
		{fate: fateDecided, result: lockcluster.Result{Status: lockcluster.StatusGranted, Index: 7}},
		{fate: fateNotProposed, reason: "why"},
		{fate: fateUnknown},
		{fate: fateOverloaded, reason: "full"},
		{fate: fateInvalid, reason: "bad"},
	} {
		got := decodeOutcome(o.encode())
		if got.fate != o.fate || got.reason != o.reason || got.result.Index != o.result.Index || got.result.Status != o.result.Status {
			t.Errorf("%+v became %+v", o, got)
		}
	}
	for _, b := range [][]byte{nil, {99, 1}, {byte(fateDecided), 0xff, 0xff}} {
		if o := decodeOutcome(b); o.fate != fateUnknown {
			t.Errorf("%v: fate %d", b, o.fate)
		}
	}
}

// A session acknowledges only what all earlier requests have settled.
func TestSessionAcknowledges(t *testing.T) {
	s := newSession(strings.Repeat("n", 64))
	a, b, c := s.begin(), s.begin(), s.begin()
	if len(a.ClientID) > 64 || a.Sequence != 1 || c.Sequence != 3 || c.AckedBelow != 1 {
		t.Fatalf("ids %+v %+v", a, c)
	}
	s.end(b)
	if d := s.begin(); d.AckedBelow != 1 || d.Sequence != 4 {
		t.Errorf("after the second ended: %+v", d)
	}
	s.end(a)
	if e := s.begin(); e.AckedBelow != 3 || e.Sequence != 5 {
		t.Errorf("after the first two ended: %+v", e)
	}
}

// A reader that comes while a round is on its way gets the next one.
func TestRoundsAreNotReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		asked := uint64(0)
		r := &rounds{ctx: t.Context(), timeout: time.Minute, wg: &wg, ask: func(context.Context) (uint64, error) {
			asked++
			mine := asked
			time.Sleep(time.Second)
			return mine, nil
		}}
		results := make(chan uint64, 100)
		for i := range 100 {
			time.Sleep(10 * time.Millisecond) // the first second is round 1, the rest share round 2
			wg.Go(func() {
				index, err := r.join(t.Context())
				if err != nil || i > 0 && index == 1 {
					t.Errorf("reader %d: round %d, %v", i, index, err)
				}
				results <- index
			})
		}
		wg.Wait()
		if asked != 2 {
			t.Errorf("%d rounds served 100 readers", asked)
		}
	})
}

// A leader that refuses all writes for longer than a transfer can take stops
// (hashicorp/raft#696).
func TestStuckTransferHalts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHalter(func(error) {})
		b := newBatcher(nil, nil, h, nil, 500*time.Millisecond)
		refuse := func(d time.Duration) {
			time.Sleep(d)
			b.noteTransfer(raft.ErrLeadershipTransferInProgress)
		}
		refuse(0)
		refuse(900 * time.Millisecond)
		b.noteTransfer(nil)
		refuse(900 * time.Millisecond)
		b.transferStarts()
		refuse(900 * time.Millisecond)
		if h.halted() {
			t.Fatal("halted for an ordinary transfer")
		}
		refuse(500 * time.Millisecond)
		refuse(600 * time.Millisecond)
		if !errors.Is(h.cause(), ErrStuck) {
			t.Errorf("halted with %v", h.cause())
		}
	})
}

// A fresh node votes only where no log has more than the founding entry, for
// itself and for others; after that it votes freely.
func TestVoteGuard(t *testing.T) {
	last := uint64(1)
	settled := 0
	g := &voteGuard{lastIndex: func() uint64 { return last }, settle: func() error { settled++; return nil }}
	g.fresh.Store(true)
	if g.mayVote(2) == nil {
		t.Error("it voted before it could see for whom")
	}
	g.listening.Store(true)
	g.asked.Store(&raft.RequestVoteRequest{Term: 3, LastLogIndex: 9})
	if g.mayVote(3) == nil {
		t.Error("it voted for a node with a longer log")
	}
	last = 5
	if g.mayVote(4) == nil {
		t.Error("it voted for itself with a part of a log")
	}
	last = 1
	if err := g.mayVote(4); err != nil || settled != 1 {
		t.Errorf("first election: %v", err)
	}
	last = 100
	if err := g.mayVote(5); err != nil || settled != 1 {
		t.Errorf("later election: %v", err)
	}
}

// Metric names and texts follow Prometheus's rules, and a node takes its
// metrics away when it closes.
func TestMetricsAreWellNamed(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	m, err := newMetrics(r, func() uint64 { return 1 }, func() uint64 { return 2 })
	if err != nil {
		t.Fatal(err)
	}
	m.observeStore(opLogAppend, time.Millisecond)
	problems, err := testutil.GatherAndLint(r)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	if _, err := newMetrics(r, nil, nil); err == nil {
		t.Error("two nodes share one registry")
	}
	m.close()
	if families, _ := r.Gather(); len(families) != 0 {
		t.Errorf("%d metrics are left", len(families))
	}
}

// blockedHandler is a logger whose pipe nobody reads.
type blockedHandler struct{ release chan struct{} }

func (blockedHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h blockedHandler) Handle(context.Context, slog.Record) error {
	<-h.release
	return nil
}
func (h blockedHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h blockedHandler) WithGroup(string) slog.Handler      { return h }

// A logger that blocks does not block the node; what does not fit is counted.
func TestBlockedLoggerDoesNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newLogQueue()
		h := blockedHandler{make(chan struct{})}
		l := slog.New(queuedHandler{h, q}).With("a", 1).WithGroup("g")
		for range logQueueMax + 10 {
			l.Info("line")
		}
		if d := q.dropped.Load(); d < 9 || d > 10 {
			t.Errorf("%d lines were dropped", d)
		}
		close(h.release)
		q.close()
	})
}

// Exit codes tell a supervisor why a node stopped.
func TestExitCodes(t *testing.T) {
	for cause, want := range map[error]int{
		ErrStorage: ExitCodeStorage, ErrDiverged: ExitCodeDiverged, ErrStuck: ExitCodeStuck, ErrRestart: ExitCodeRestart, ErrRemoved: ExitCodeRemoved,
	} {
		err := &HaltError{Cause: cause, Op: "x", Err: errors.New("y"), Advice: "z"}
		if got := ExitCode(err); got != want || !strings.Contains(err.Error(), "x: y; z") {
			t.Errorf("%v: code %d, want %d", err, got, want)
		}
	}
	if ExitCode(nil) != 0 || ExitCode(errors.New("x")) != 1 {
		t.Error("other errors")
	}
}
