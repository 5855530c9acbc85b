package history_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster/internal/history"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

const perKey = 5 * time.Second

// TestRegistersOfRightHistories: the second opinion agrees on what a correct
// cluster answered, with lost answers and retries.
func TestRegistersOfRightHistories(t *testing.T) {
	rnd := testutil.Rand(t)
	for round := range 60 {
		s := newSim(rnd, round%2 == 0, []int{0, 10, 30}[round%3])
		s.leases, s.many = false, false
		s.run(t, 300)
		ops := history.Registers(s.history())
		report := history.CheckRegisters(ops, perKey)
		if err := report.Err(); err != nil {
			t.Fatal(err)
		}
		if len(report.Undecided) > 0 || report.Keys < 2 || report.Ops < 8 {
			t.Fatalf("round %d: %d keys, %d calls, undecided %q", round, report.Keys, report.Ops, report.Undecided)
		}
	}
}

// call builds a RegisterOp from a line: client, from, to (or ?), what, who,
// answer; the answer of a refused acquire or a get is a holder, "-" is nobody.
func call(t *testing.T, line string) history.RegisterOp {
	t.Helper()
	var op history.RegisterOp
	var from, to, what, answer string
	if _, err := fmt.Sscan(line, &op.Client, &from, &to, &what, &op.Holder, &answer); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	op.Key = "k"
	op.Outcome = history.Done
	must := func(s string) time.Duration {
		d, err := time.ParseDuration(s + "ms")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	op.Invoke = must(from)
	if to == "?" {
		op.Outcome = history.Unknown
	} else {
		op.Return = must(to)
	}
	op.Kind = map[string]history.RegisterKind{
		"acquire": history.RegisterAcquire, "release": history.RegisterRelease, "get": history.RegisterGet,
	}[what]
	op.OK = answer == "ok"
	if op.Holder == "-" {
		op.Holder = ""
	}
	if answer != "ok" && answer != "no" && answer != "-" {
		op.Seen = answer
	}
	if answer == "no" {
		op.SeenUnknown = true
	}
	return op
}

// TestRegisterHistories: hand-made histories of one lock, without log indexes,
// are judged right.
func TestRegisterHistories(t *testing.T) {
	for _, c := range []struct {
		name  string
		right bool
		lines string
	}{
		{"one after the other", true, `
			a 1 2 acquire A ok
			b 3 4 acquire B A
			a 5 6 release A ok
			b 7 8 acquire B ok`},
		{"both granted", false, `
			a 1 2 acquire A ok
			b 3 4 acquire B ok`},
		{"both granted at the same moment", false, `
			a 1 10 acquire A ok
			b 1 10 acquire B ok`},
		{"granted beside a release", true, `
			a 1 2 acquire A ok
			a 3 9 release A ok
			b 3 9 acquire B ok`},
		{"granted before the release", false, `
			a 1 2 acquire A ok
			b 3 4 acquire B ok
			a 5 6 release A ok`},
		{"wrong holder told", false, `
			a 1 2 acquire A ok
			b 3 4 acquire B C`},
		{"refused, nobody told", true, `
			a 1 2 acquire A ok
			b 3 4 acquire B no`},
		{"refused although free", false, `
			b 3 4 acquire B no`},
		{"stale read", false, `
			a 1 2 acquire A ok
			b 3 4 get - -`},
		{"read beside the acquire", true, `
			a 1 5 acquire A ok
			b 2 3 get - -
			c 3 6 get - A`},
		{"read back in time", false, `
			a 1 9 acquire A ok
			b 2 3 get - A
			c 4 5 get - -`},
		{"acknowledged acquire lost", false, `
			a 1 2 acquire A ok
			b 3 4 acquire B ok
			b 5 6 get - B`},
		{"unknown acquire that happened", true, `
			a 1 ? acquire A no
			b 3 4 acquire B A`},
		{"unknown acquire that did not happen", true, `
			a 1 ? acquire A no
			b 3 4 acquire B ok
			b 5 6 get - B`},
		{"unknown acquire that happens late", true, `
			a 1 ? acquire A no
			b 3 4 get - -
			b 5 6 get - A`},
		{"unknown acquire does not happen twice", false, `
			a 1 ? acquire A no
			b 3 4 get - A
			b 5 6 release A ok
			b 7 8 get - A`},
		{"unknown acquire before it was sent", false, `
			b 1 2 get - A
			a 3 ? acquire A no`},
		{"unknown release explains the next grant", true, `
			a 1 2 acquire A ok
			a 3 ? release A no
			b 5 6 acquire B ok`},
		{"unknown release of another does not", false, `
			a 1 2 acquire A ok
			c 3 ? release C no
			b 5 6 acquire B ok`},
		{"the next holder's lock released", false, `
			a 1 2 acquire A ok
			a 3 4 release A ok
			b 5 6 acquire B ok
			a 7 8 release A ok`},
		{"the same holder twice", true, `
			a 1 2 acquire A ok
			c 3 4 acquire A ok`},
		{"released twice", false, `
			a 1 2 acquire A ok
			a 3 4 release - ok
			a 5 6 release - ok`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ops []history.RegisterOp
			// Around it a long right history, which must not be in the report.
			for i := range 40 {
				ops = append(ops, call(t, fmt.Sprintf("z %d %d acquire Z ok", 4*i-1000, 4*i-999)),
					call(t, fmt.Sprintf("z %d %d release Z ok", 4*i-998, 4*i-997)))
			}
			for line := range strings.Lines(c.lines) {
				if strings.TrimSpace(line) != "" {
					ops = append(ops, call(t, line))
				}
			}
			report := history.CheckRegisters(ops, perKey)
			if right := report.Err() == nil; right != c.right {
				t.Fatalf("found right: %t, is: %t\n%v", right, c.right, report.Err())
			}
			for _, v := range report.Violations {
				if len(v.Ops) > 5 {
					t.Errorf("shown with %d calls:\n%v", len(v.Ops), report.Err())
				}
			}
		})
	}
}

// TestRegistersSeeDoubleGrants: the second opinion finds a planted double grant
// without looking at an index.
func TestRegistersSeeDoubleGrants(t *testing.T) {
	rnd := testutil.Rand(t)
	planted, missed := 0, 0
	for range 40 {
		s := newSim(rnd, false, 0)
		s.leases, s.many = false, false
		s.run(t, 300)
		ops := s.history()
		if !mutants[0].plant(rnd, ops) {
			continue
		}
		planted++
		if report := history.CheckRegisters(history.Registers(ops), perKey); len(report.Violations) == 0 {
			missed++ // a release beside it makes it right
		}
	}
	if planted < 10 || missed*3 > planted {
		t.Errorf("%d of %d were not seen", missed, planted)
	}
}
