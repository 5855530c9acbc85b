package history_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/internal/history"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// TestRightHistoriesPass: whatever a correct cluster answered, with answers
// lost, requests retried and leases run out, is found to be right, with its log
// and without. None may stay undecided: a record of these histories has some ten
// requests unseen, far fewer than a trial can look at.
func TestRightHistoriesPass(t *testing.T) {
	rnd := testutil.Rand(t)
	requests, reads := 0, 0
	for round := range 200 {
		s := newSim(rnd, round%2 == 0, []int{0, 10, 30}[round%3])
		s.hosts = round%5 == 0
		s.run(t, 400)
		for _, o := range []history.Options{{Log: s.log, Validate: state.Validate}, {}, {Log: s.log, Essential: true}, {Essential: true}} {
			report := mustCheck(t, s.history(), o)
			if err := report.Err(); err != nil {
				t.Fatalf("round %d, log %t, essential %t: %s\n%v", round, o.Log != nil, o.Essential, report, err)
			}
			if report.Undecided > 0 {
				t.Errorf("round %d, log %t, essential %t: %s", round, o.Log != nil, o.Essential, report)
			}
			requests, reads = requests+report.Requests, reads+report.Reads
		}
	}
	if requests < 200*4*20 || reads < 200*4*5 { // less than half of what they have on average
		t.Errorf("only %d requests and %d reads were looked at", requests, reads)
	}
}

func mustCheck(tb testing.TB, ops []history.Op, o history.Options) *history.Report {
	tb.Helper()
	report, err := history.Check(ops, o)
	if err != nil {
		tb.Fatal(err)
	}
	return report
}

// mutant is one way in which a cluster may answer wrongly.
type mutant struct {
	name string
	// plant changes the history, if it has a place for the mutant.
	plant func(rnd *rand.Rand, ops []history.Op) bool
	// logOnly: without the log such an answer could be right.
	logOnly bool
}

// answered returns the places of the operations for which fits is true.
func answered(ops []history.Op, fits func(*history.Op) bool) []int {
	var at []int
	for i := range ops {
		if ops[i].Outcome == history.Done && ops[i].Index() > 0 && fits(&ops[i]) {
			at = append(at, i)
		}
	}
	return at
}

// change applies f to one of the operations for which fits is true.
func change(fits func(*history.Op) bool, f func(*history.Op)) func(*rand.Rand, []history.Op) bool {
	return func(rnd *rand.Rand, ops []history.Op) bool {
		at := answered(ops, fits)
		if len(at) == 0 {
			return false
		}
		f(&ops[at[rnd.IntN(len(at))]])
		return true
	}
}

func is[R lockcluster.Request](s lockcluster.Status) func(*history.Op) bool {
	return func(op *history.Op) bool {
		_, ok := op.Request.(R)
		return ok && op.Result.Status == s
	}
}

func editLock(l *lockcluster.Lock, f func(*lockcluster.Lock)) *lockcluster.Lock {
	c := *l
	f(&c)
	return &c
}

var mutants = []mutant{
	{name: "granted although held", plant: change(func(op *history.Op) bool {
		return is[lockcluster.Acquire](lockcluster.StatusHeld)(op) && op.Result.Lock.TTL == 0 // a lease may have run out
	}, func(op *history.Op) {
		r := op.Request.(lockcluster.Acquire)
		op.Result.Status = lockcluster.StatusGranted
		op.Result.Token.Counter += 1000
		op.Result.Lock = editLock(op.Result.Lock, func(l *lockcluster.Lock) {
			l.Owner, l.Value, l.User, l.Token, l.Revision = r.Owner, r.Value, r.User, op.Result.Token, op.Result.Index
		})
	})},
	{name: "refused although free", plant: change(is[lockcluster.Acquire](lockcluster.StatusGranted), func(op *history.Op) {
		op.Result.Status = lockcluster.StatusHeld
		op.Result.Lock = editLock(op.Result.Lock, func(l *lockcluster.Lock) { l.Owner = lockcluster.Owner{Repo: "org/app", Pull: 99} })
	})},
	{name: "wrong holder told", plant: change(is[lockcluster.Acquire](lockcluster.StatusHeld), func(op *history.Op) {
		op.Result.Lock = editLock(op.Result.Lock, func(l *lockcluster.Lock) { l.Owner = lockcluster.Owner{Repo: "org/app", Pull: 99} })
	})},
	{name: "token given twice", plant: func(rnd *rand.Rand, ops []history.Op) bool {
		at := answered(ops, is[lockcluster.Acquire](lockcluster.StatusGranted))
		if len(at) < 2 {
			return false
		}
		a, b := &ops[at[0]], &ops[at[1+rnd.IntN(len(at)-1)]]
		b.Result.Token = a.Result.Token
		b.Result.Lock = editLock(b.Result.Lock, func(l *lockcluster.Lock) { l.Token = a.Result.Token })
		return true
	}},
	{name: "token going back", plant: func(_ *rand.Rand, ops []history.Op) bool {
		at := answered(ops, is[lockcluster.Acquire](lockcluster.StatusGranted))
		slices.SortFunc(at, func(i, j int) int { return int(ops[i].Result.Token.Counter) - int(ops[j].Result.Token.Counter) })
		if len(at) < 3 {
			return false
		}
		last := &ops[at[len(at)-1]]
		if last.Result.Index == ops[at[0]].Result.Index {
			return false
		}
		last.Result.Token = lockcluster.Token{Epoch: 1, Counter: 0}
		last.Result.Lock = editLock(last.Result.Lock, func(l *lockcluster.Lock) { l.Token = last.Result.Token })
		return true
	}},
	{name: "released by another", plant: change(func(op *history.Op) bool {
		r, ok := op.Request.(lockcluster.Release)
		return ok && op.Result.Status == lockcluster.StatusNotHolder && r.Guard.Owner != nil
	}, func(op *history.Op) { op.Result.Status = lockcluster.StatusReleased })},
	{name: "nothing found where there is a lock", plant: change(is[lockcluster.Release](lockcluster.StatusReleased), func(op *history.Op) {
		op.Result = lockcluster.Result{Status: lockcluster.StatusNotFound, Index: op.Result.Index}
	}), logOnly: true},
	{name: "a release lost", plant: change(is[lockcluster.Release](lockcluster.StatusReleased), func(op *history.Op) {
		op.Result.Index += 10_000
	}), logOnly: true},
	{name: "old state read", plant: change(func(op *history.Op) bool { return op.Read != nil && op.Read.Lock != nil },
		func(op *history.Op) { op.Read.Lock = nil }), logOnly: true},
	{name: "lock read that nobody has", plant: change(func(op *history.Op) bool {
		return op.Read != nil && op.Read.Space == lockcluster.SpaceLock && op.Read.Lock == nil
	}, func(op *history.Op) {
		key := lockcluster.Key{Namespace: "default", Repo: "org/app", Path: ".", Workspace: "default", Project: op.Read.Key[len(op.Read.Key)-1:]}
		op.Read.Lock = &lockcluster.Lock{
			Key: key, Kind: lockcluster.KindPull, Owner: lockcluster.Owner{Repo: "org/app", Pull: 99},
			Token: lockcluster.Token{Epoch: 1, Counter: 1}, Revision: 1,
		}
	})},
	{name: "lock missing in a list", plant: change(func(op *history.Op) bool {
		return op.Read != nil && len(op.Read.Locks) > 0 && op.Read.Locks[0].TTL == 0
	}, func(op *history.Op) { op.Read.Locks = op.Read.Locks[1:] })},
	{name: "document of another time", plant: change(is[lockcluster.DeleteDocument](lockcluster.StatusDeleted), func(op *history.Op) {
		d := *op.Result.Document
		d.Value = []byte("never stored")
		op.Result.Document = &d
	})},
	{name: "read before it was asked", plant: func(rnd *rand.Rand, ops []history.Op) bool {
		return backInTime(rnd, ops, func(op *history.Op) bool { return op.Read != nil && !op.Read.Stale },
			func(op *history.Op, index uint64) { op.Read.Index = index })
	}},
	{name: "written before it was asked", plant: func(rnd *rand.Rand, ops []history.Op) bool {
		return backInTime(rnd, ops, func(op *history.Op) bool { return op.Request != nil },
			func(op *history.Op, index uint64) { op.Result.Index = index })
	}},
}

// backInTime gives an operation the index of one that had returned long before.
func backInTime(rnd *rand.Rand, ops []history.Op, fits func(*history.Op) bool, set func(*history.Op, uint64)) bool {
	at := answered(ops, fits)
	rnd.Shuffle(len(at), func(i, j int) { at[i], at[j] = at[j], at[i] })
	for _, i := range at {
		for j := range ops {
			for k := range ops[:j] {
				a, b := &ops[k], &ops[j]
				if a.Outcome == history.Done && b.Outcome == history.Done && 0 < a.Index() && a.Index() < b.Index() && b.Return < ops[i].Invoke && ops[i].ID.IsZero() {
					set(&ops[i], a.Index())
					return true
				}
			}
		}
	}
	return false
}

// TestMutantsAreCaught: a single wrong answer in an otherwise right history is
// found, and shown with few operations, the wrong one among them.
func TestMutantsAreCaught(t *testing.T) {
	rnd := testutil.Rand(t)
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			planted, missed := 0, 0
			for range 60 {
				s := newSim(rnd, false, 0)
				s.run(t, 300)
				ops := s.history()
				if !m.plant(rnd, ops) {
					continue
				}
				planted++
				for _, o := range []history.Options{{Log: s.log}, {}} {
					if o.Log == nil && m.logOnly {
						continue
					}
					report := mustCheck(t, ops, o)
					switch {
					case len(report.Violations) > 0:
						if v := report.Violations[0]; len(v.Ops) > 6 {
							t.Errorf("shown with %d operations", len(v.Ops))
						}
					case o.Log != nil:
						t.Fatalf("not seen: %s", report)
					default: // within one entry it may even be right
						missed++
					}
				}
			}
			if planted < 10 {
				t.Errorf("planted only %d times", planted)
			}
			if missed*8 > planted {
				t.Errorf("without the log %d of %d were not seen", missed, planted)
			}
		})
	}
}

// TestLogMutantsAreCaught: a log that does not agree with what its node or the
// clients say is found out.
func TestLogMutantsAreCaught(t *testing.T) {
	rnd := testutil.Rand(t)
	for name, m := range map[string]struct {
		rule   string
		mutate func(history.Log) history.Log
	}{
		"acknowledged entries lost": {"lost", func(l history.Log) history.Log { return l[:len(l)/2] }},
		"entry lost in the middle":  {"", func(l history.Log) history.Log { return slices.Delete(l, len(l)/2, len(l)/2+1) }},
		"a command applied twice": {"", func(l history.Log) history.Log {
			for i, e := range l {
				for _, c := range e.Commands {
					if c.Result.Status == lockcluster.StatusGranted {
						l[i].Commands = append(slices.Clone(l[i].Commands), c)
						return l
					}
				}
			}
			return l
		}},
		"the node decides by other rules": {"log", func(l history.Log) history.Log {
			res := *l[len(l)/2].Commands[0].Result
			res.Status = lockcluster.StatusIgnored
			l[len(l)/2].Commands[0].Result = &res
			return l
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSim(rnd, false, 0)
			s.run(t, 400)
			report := mustCheck(t, s.history(), history.Options{Log: m.mutate(s.log), ViolationsMax: 1000})
			if !slices.ContainsFunc(report.Violations, func(v history.Violation) bool { return m.rule == "" || v.Rule == m.rule }) {
				t.Fatalf("%s\n%v", report, report.Err())
			}
		})
	}
}

// TestUnreadableLogs: a log that begins too late or runs backwards is an error,
// not a verdict.
func TestUnreadableLogs(t *testing.T) {
	late := history.Log{{Position: history.Position{Index: 5000}}}
	backwards := history.Log{{Position: history.Position{Index: 2}}, {Position: history.Position{Index: 2}}}
	for want, l := range map[string]history.Log{"compacted": late, "do not rise": backwards} {
		if _, err := history.Check(nil, history.Options{Log: l}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error that says %q, got %v", want, err)
		}
	}
}

// TestLargeEntries: the order of hundreds of requests that share one index is
// found, also where some of them see many locks.
func TestLargeEntries(t *testing.T) {
	rnd := testutil.Rand(t)
	for range 3 {
		s := newSim(rnd, true, 3)
		s.keys, s.batch, s.gather = 150, 300, 200
		for i := range 500 {
			s.idle = append(s.idle, fmt.Sprintf("more-%d", i))
		}
		start := time.Now()
		s.run(t, 15_000)
		largest := 0
		for _, e := range s.log {
			largest = max(largest, len(e.Commands))
		}
		if largest < 100 {
			t.Fatalf("the largest entry has %d requests", largest)
		}
		simulated := time.Since(start)
		report := mustCheck(t, s.history(), history.Options{})
		if err := report.Err(); err != nil {
			t.Fatalf("%s\n%v", report, err)
		}
		t.Logf("largest entry %d, simulated in %v, checked in %v: %s", largest, simulated, time.Since(start)-simulated, report)
	}
}

// TestCheckIsFast: a history of 20,000 operations is judged within seconds.
func TestCheckIsFast(t *testing.T) {
	s := newSim(rand.New(rand.NewPCG(1, 1)), true, 5)
	s.run(t, 60_000)
	start := time.Now()
	for _, o := range []history.Options{{Log: s.log}, {}} {
		if err := mustCheck(t, s.history(), o).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}
