package rpc

import (
	"testing"
	"testing/synctest"
	"time"
)

// The lowest unanswered number bounds what the cluster may forget, whatever
// the order of the answers.
func TestSequenceAcknowledges(t *testing.T) {
	s := newSequence("c")
	a, b, c := s.begin(), s.begin(), s.begin()
	if a.Sequence != 1 || b.Sequence != 2 || c.Sequence != 3 || c.AckedBelow != 1 {
		t.Fatalf("%+v %+v %+v", a, b, c)
	}
	for _, step := range []struct{ end, acked uint64 }{{2, 1}, {1, 3}, {3, 6}} {
		s.end(step.end, false)
		id := s.begin()
		if id.AckedBelow != step.acked {
			t.Fatalf("after the answer of %d everything below %d is acknowledged, want %d", step.end, id.AckedBelow, step.acked)
		}
		s.end(id.Sequence, false)
	}
}

// A number whose outcome is unknown stays good for a minute, or until its
// answer comes, or until too many have followed; never longer.
func TestSequenceKeepsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := func(s *sequence) uint64 {
			id := s.begin()
			s.end(id.Sequence, false)
			return id.AckedBelow
		}
		s := newSequence("c")
		s.end(s.begin().Sequence, true)
		time.Sleep(unknownKept)
		if got := next(s); got != 1 {
			t.Fatalf("acknowledged below %d within the minute", got)
		}
		time.Sleep(time.Second)
		if got := next(s); got != 3 {
			t.Fatalf("acknowledged below %d after the minute", got)
		}

		answered := newSequence("c")
		answered.end(answered.begin().Sequence, true)
		answered.end(1, false)
		if got := next(answered); got != 2 {
			t.Fatalf("acknowledged below %d after the answer", got)
		}
		answered.end(1, true) // late, and long acknowledged

		many := newSequence("c")
		many.end(many.begin().Sequence, true)
		for range unknownNewerMax {
			next(many)
		}
		if got := next(many); got <= 1 {
			t.Fatalf("acknowledged below %d after %d newer ones", got, unknownNewerMax)
		}
	})
}
