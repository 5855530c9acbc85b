package history_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/internal/history"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// TestRightHistoriesAreNeverConvicted: whatever a correct cluster answered, a
// trial of each record finds what can have happened, also where nothing seems
// wrong.
func TestRightHistoriesAreNeverConvicted(t *testing.T) {
	rnd := testutil.Rand(t)
	for round := range 120 {
		s := newSim(rnd, round%2 == 0, []int{10, 30, 60}[round%3])
		s.hosts = round%5 < 2
		s.run(t, 400)
		for _, essential := range []bool{false, true} {
			wrong, undecided := history.TryAll(s.history(), history.Options{Essential: essential})
			if len(wrong) > 0 || undecided > 0 {
				t.Fatalf("round %d, essential %t: wrong are %q, %d undecided", round, essential, wrong, undecided)
			}
		}
	}
}

func handDocument(revision uint64) *lockcluster.Document {
	return &lockcluster.Document{Namespace: "default", Key: "d", Revision: revision}
}

func (h *hand) document(from int, index, revision uint64) *hand {
	return h.add("reader", from, from+1, history.Op{
		Read: &history.Read{Namespace: "default", Space: lockcluster.SpaceDocument, Key: "d", Index: index, Document: handDocument(revision)},
	})
}

// TestAnotherExplanation: where a later answer shows that something else has
// happened unseen than was thought first, nobody is accused; where nothing else
// can have happened, the answer is.
func TestAnotherExplanation(t *testing.T) {
	put := lockcluster.PutDocument{Namespace: "default", Key: "d", Value: []byte("x")}
	unseen := func() *hand { // what stands at 5 must have been imported, or nothing could stand at 9
		return new(hand).add("a", 1, 0, history.Op{Request: put}).
			add("b", 2, 0, history.Op{Request: lockcluster.Import{Namespace: "default", Documents: []lockcluster.PutDocument{put}}}).
			document(3, 6, 5).document(5, 10, 9)
	}
	report := mustCheck(t, unseen().ops, history.Options{Essential: true})
	if err := report.Err(); err != nil || report.Tried != 1 || report.Undecided != 0 {
		t.Errorf("%s\n%v", report, err)
	}
	report = mustCheck(t, unseen().document(7, 14, 13).ops, history.Options{Essential: true})
	if len(report.Violations) != 1 || report.Violations[0].Ops[len(report.Violations[0].Ops)-1].Read.Index != 14 {
		t.Errorf("a third change by two requests: %s\n%v", report, report.Err())
	}
}

// TestTooManyPossibilities: a record of which too much can have happened is
// counted as undecided, and nobody is accused.
func TestTooManyPossibilities(t *testing.T) {
	const puts = 24
	h := new(hand)
	for i := range puts {
		h.add(fmt.Sprint(i), 1, 0, history.Op{Request: lockcluster.PutDocument{Namespace: "default", Key: "d", Value: []byte{byte(i)}}})
	}
	for i := range puts + 1 { // one more than there can be
		h.document(10+2*i, uint64(10+i), uint64(10+i))
	}
	report := mustCheck(t, h.ops, history.Options{Essential: true})
	if report.Undecided != 1 || len(report.Violations) > 0 || !strings.Contains(report.String(), "1 undecided") {
		t.Errorf("%s\n%v", report, report.Err())
	}
}

// TestForgottenTries: a try that came too late for an answer does not tell
// that the first one has not happened.
func TestForgottenTries(t *testing.T) {
	h := new(hand).acquire("a", 1, 0, 1, 0, 0, nil).
		acquire("a", 3, 4, 1, lockcluster.StatusForgotten, 12, nil).
		get("b", 5, 6, 14, handLock(1, 1, 10))
	h.ops[0].ID = lockcluster.RequestID{ClientID: "a", Sequence: 1}
	h.ops[1].ID = h.ops[0].ID
	if report := mustCheck(t, h.ops, history.Options{}); report.Err() != nil {
		t.Errorf("%s\n%v", report, report.Err())
	}
}

// TestOtherHost: a lock from another host than the one that a repository is
// bound to is wrong, unless the binding may have ended unseen.
func TestOtherHost(t *testing.T) {
	lock := func(project, host string, token, revision uint64) *lockcluster.Lock {
		l := handLock(1, token, revision)
		l.Key.Project, l.Owner.Host = project, host
		return l
	}
	acquire := func(l *lockcluster.Lock) history.Op {
		return history.Op{
			Request: lockcluster.Acquire{Key: l.Key, Owner: l.Owner, Value: l.Value},
			Result:  lockcluster.Result{Status: granted, Index: l.Revision, Token: l.Token, Lock: l},
		}
	}
	first, second := lock("a", "one.test", 1, 10), lock("b", "two.test", 2, 14)
	h := new(hand).add("a", 1, 2, acquire(first)).add("b", 5, 6, acquire(second))
	if report := mustCheck(t, h.ops, history.Options{}); len(report.Violations) != 1 {
		t.Errorf("bound to another host: %s\n%v", report, report.Err())
	}
	h.add("c", 3, 0, history.Op{Request: lockcluster.Release{Namespace: "default", Text: first.Key.Text()}})
	if report := mustCheck(t, h.ops, history.Options{}); report.Err() != nil || report.Tried != 1 {
		t.Errorf("the binding may have ended: %s\n%v", report, report.Err())
	}
}
