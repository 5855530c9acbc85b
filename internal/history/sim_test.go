package history_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/internal/history"
)

// sim is a cluster that is right: the real state machine behind clients whose
// requests are delayed, gathered into entries, retried and cut off at random.
// Its clock is a counter.
type sim struct {
	rnd     *rand.Rand
	fsm     *fsm.FSM
	now     time.Duration
	index   uint64
	log     history.Log
	ops     []*history.Op
	waiting []*history.Op // sent, not applied
	applied []*history.Op // applied, the answer is under way
	reading []*history.Op // reads sent, not yet decided
	idle    []string
	seq     map[string]uint64
	ids     bool // clients give request ids
	leases  bool // owners with leases take part
	many    bool // transactions and imports too
	hosts   bool // pulls say which VCS host they are of, or not
	keys    int  // locks and documents there are
	batch   int  // most requests in one entry
	gather  int  // requests that must wait before there is an entry
	losses  int  // of 100 answers, how many get lost
}

func newSim(rnd *rand.Rand, ids bool, losses int) *sim {
	s := &sim{rnd: rnd, fsm: fsm.New(fsm.Hooks{}), index: 2, seq: map[string]uint64{}, ids: ids, leases: true, many: true, losses: losses, keys: 4, batch: 4}
	for i := range 6 {
		s.idle = append(s.idle, fmt.Sprintf("client-%d", i))
	}
	return s
}

// run lets n things happen and then the answers arrive.
func (s *sim) run(tb testing.TB, n int) {
	tb.Helper()
	for range n {
		s.now++
		switch s.rnd.IntN(7) {
		case 0, 1, 2:
			s.send()
		case 3:
			if len(s.waiting) >= s.gather {
				s.entry(tb)
			}
		case 4, 5:
			s.answer()
		case 6:
			s.expire(tb)
		}
	}
	for len(s.waiting)+len(s.applied)+len(s.reading) > 0 {
		s.now++
		s.entry(tb)
		s.answer()
	}
}

func (s *sim) history() []history.Op {
	ops := make([]history.Op, len(s.ops))
	for i, op := range s.ops {
		ops[i] = *op
		if op.Read != nil {
			r := *op.Read
			ops[i].Read = &r
		}
	}
	return ops
}

func take[T any](s *sim, from *[]T) T {
	i := s.rnd.IntN(len(*from))
	v := (*from)[i]
	*from = slices.Delete(*from, i, i+1)
	return v
}

func (s *sim) send() {
	if len(s.idle) == 0 {
		return
	}
	op := &history.Op{Client: take(s, &s.idle), Invoke: s.now}
	s.ops = append(s.ops, op)
	if s.rnd.IntN(4) == 0 {
		op.Read = s.read()
		s.reading = append(s.reading, op)
		return
	}
	op.Request = s.request()
	if s.ids {
		s.seq[op.Client]++
		op.ID = lockcluster.RequestID{ClientID: op.Client, Sequence: s.seq[op.Client]}
	}
	s.waiting = append(s.waiting, op)
}

func (s *sim) read() *history.Read {
	switch s.rnd.IntN(6) {
	case 0:
		return &history.Read{Namespace: "default", List: true, Repo: "org/app"}
	case 1:
		return &history.Read{Namespace: "default", Space: lockcluster.SpaceDocument, Key: s.key().Project}
	case 2:
		return &history.Read{Namespace: "default", Space: lockcluster.SpaceCommand, Key: s.command()}
	case 3:
		return &history.Read{Namespace: "default", List: true, Repo: "org/app", Pull: 1, Stale: true}
	}
	return &history.Read{Namespace: "default", Space: lockcluster.SpaceLock, Key: s.key().Text()}
}

func (s *sim) key() lockcluster.Key {
	return lockcluster.Key{Namespace: "default", Repo: "org/app", Path: ".", Workspace: "default", Project: fmt.Sprint(s.rnd.IntN(s.keys))}
}

func (s *sim) command() string { return fmt.Sprintf("apply-%d", s.rnd.IntN(1+s.keys/20)) }

func (s *sim) request() lockcluster.Request {
	pull := lockcluster.Owner{Repo: "org/app", Pull: 1 + s.rnd.IntN(3)}
	if s.hosts {
		pull.Host = []string{"", "one.test", "one.test", "two.test"}[s.rnd.IntN(4)]
	}
	switch n := s.rnd.IntN(24); {
	case n >= 22 && s.many:
		return lockcluster.Import{
			Namespace: "default", Locks: []lockcluster.Acquire{{Key: s.key(), Owner: pull}, {Key: s.key(), Owner: pull}},
			Documents: []lockcluster.PutDocument{{Namespace: "default", Key: s.key().Project, Value: []byte(fmt.Sprint(s.now))}},
		}
	case n >= 20 && s.many:
		return lockcluster.Txn{Namespace: "default", Requests: []lockcluster.Request{
			lockcluster.Release{Namespace: "default", Text: s.key().Text()},
			lockcluster.Acquire{Key: s.key(), Owner: pull},
			lockcluster.PutDocument{Namespace: "default", Key: s.key().Project, Value: []byte(fmt.Sprint(s.now))},
		}}
	case n < 7:
		return lockcluster.Acquire{Key: s.key(), Owner: pull, User: "jane", Value: []byte(fmt.Sprint(s.now))}
	case n < 9 && s.leases:
		return lockcluster.Acquire{Key: s.key(), Owner: lockcluster.Owner{ID: "x"}, TTL: time.Minute}
	case n < 14:
		r := lockcluster.Release{Namespace: "default", Text: s.key().Text()}
		if s.rnd.IntN(2) == 0 {
			r.Guard.Owner = &pull
		}
		return r
	case n < 15:
		return lockcluster.ReleaseByPull{Namespace: "default", Repo: "org/app", Pull: pull.Pull, Host: pull.Host}
	case n < 16:
		return lockcluster.LockCommand{Namespace: "default", Name: s.command(), Value: []byte(fmt.Sprint(s.now))}
	case n < 17:
		return lockcluster.UnlockCommand{Namespace: "default", Name: s.command()}
	case n < 19:
		r := lockcluster.PutDocument{Namespace: "default", Key: s.key().Project, Value: []byte(fmt.Sprint(s.now))}
		if s.rnd.IntN(3) == 0 {
			r.TTL = time.Minute
		}
		return r
	default:
		return lockcluster.DeleteDocument{Namespace: "default", Key: s.key().Project}
	}
}

// entry applies some waiting requests as one entry, in any order, and decides
// some reads.
func (s *sim) entry(tb testing.TB) {
	tb.Helper()
	var batch []*history.Op
	for range min(1+s.rnd.IntN(s.batch), len(s.waiting)) {
		batch = append(batch, take(s, &s.waiting))
	}
	if len(batch) > 0 {
		var commands []command.Command
		for _, op := range batch {
			commands = append(commands, command.Command{ID: op.ID, Request: op.Request})
		}
		for i, res := range s.apply(tb, commands) {
			batch[i].Result = res
		}
		s.applied = append(s.applied, batch...)
	}
	for range min(s.rnd.IntN(3), len(s.reading)) {
		op := take(s, &s.reading)
		s.decide(op.Read)
		s.applied = append(s.applied, op)
	}
}

func (s *sim) apply(tb testing.TB, commands []command.Command) fsm.Applied {
	tb.Helper()
	s.index += 1 + uint64(s.rnd.IntN(2))
	entry := history.LogEntry{Position: history.Position{Index: s.index, Term: 1, Time: time.UnixMilli(int64(s.now)).UTC()}}
	encoded := make([][]byte, len(commands))
	for i, c := range commands {
		b, err := command.EncodeCommand(c.ID, c.Request)
		if err != nil {
			tb.Fatal(err)
		}
		encoded[i] = b
	}
	data, err := command.EncodeEntry(entry.Time, encoded)
	if err != nil {
		tb.Fatal(err)
	}
	answers := s.fsm.Apply(&raft.Log{Index: s.index, Term: 1, Data: data}).(fsm.Applied)
	for i, c := range commands {
		entry.Commands = append(entry.Commands, history.LogCommand{ID: c.ID, Request: c.Request, Result: &answers[i]})
	}
	s.log = append(s.log, entry)
	return answers
}

func (s *sim) decide(r *history.Read) {
	view := s.fsm.Store().View()
	r.Index = view.Index()
	switch {
	case r.List:
		state.ListLocks(view, r.Namespace, state.LockFilter{Repo: r.Repo, Pull: r.Pull}, func(l *lockcluster.Lock) bool {
			r.Locks = append(r.Locks, *l)
			return true
		})
	case r.Space == lockcluster.SpaceLock:
		r.Lock = state.GetLock(view, r.Namespace, r.Key)
	case r.Space == lockcluster.SpaceCommand:
		r.CommandLock = state.GetCommandLock(view, r.Namespace, r.Key)
	default:
		r.Document = state.GetDocument(view, r.Namespace, r.Key)
	}
}

// answer lets one client have its answer, or lose it; a request may also get
// lost on its way, and one with an id is sent again.
func (s *sim) answer() {
	if len(s.waiting) > 0 && s.rnd.IntN(100) < s.losses/2 {
		op := take(s, &s.waiting) // never to be applied
		op.Outcome = history.Unknown
		s.idle = append(s.idle, op.Client)
		return
	}
	if len(s.applied) == 0 {
		return
	}
	op := take(s, &s.applied)
	op.Return, op.Outcome = s.now, history.Done
	if s.rnd.IntN(100) < s.losses {
		op.Outcome, op.Return, op.Result = history.Unknown, 0, lockcluster.Result{}
		if op.Request != nil && s.ids && s.rnd.IntN(2) == 0 {
			s.now++
			again := &history.Op{Client: op.Client, Invoke: s.now, ID: op.ID, Request: op.Request}
			s.ops = append(s.ops, again)
			s.waiting = append(s.waiting, again)
			return
		}
	}
	s.idle = append(s.idle, op.Client)
}

// expire ends a lease that nobody is told of.
func (s *sim) expire(tb testing.TB) {
	tb.Helper()
	var leases []state.Lease
	state.Leases(s.fsm.Store().View(), func(l state.Lease) bool { leases = append(leases, l); return true })
	if len(leases) == 0 || s.rnd.IntN(3) > 0 {
		return
	}
	l := leases[s.rnd.IntN(len(leases))]
	s.apply(tb, []command.Command{{Request: lockcluster.Expire{Namespace: l.Namespace, Space: l.Space, Key: l.Key, LeaseEpoch: l.Epoch, Term: 1}}})
}
