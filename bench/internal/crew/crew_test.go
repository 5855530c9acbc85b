package crew

import (
	"context"
	"errors"
	"testing"
	"time"
)

func at(second float64) time.Time {
	return time.Unix(1000, 0).Add(time.Duration(second * float64(time.Second)))
}

func crewOf(ends ...float64) *Crew {
	w := &Crew{acks: ackLog{base: at(0)}, changed: make(chan struct{})}
	for _, e := range ends {
		w.acks.add(at(e-0.1), at(e))
	}
	return w
}

// The longest gap is the longest time without an acknowledgement, the edges of
// the time that is asked for included.
func TestLongestGap(t *testing.T) {
	w := crewOf(1, 2, 2.5, 6, 7)
	for _, c := range []struct{ from, to, want float64 }{
		{0, 8, 3.5}, {3, 5, 2}, {2, 2.5, 0.5}, {6.5, 10, 3}, {-5, 1, 6}, {6, 7, 1},
	} {
		if got := w.LongestGap(at(c.from), at(c.to)).Seconds(); got != c.want {
			t.Errorf("from %g to %g: %g s, want %g s", c.from, c.to, got, c.want)
		}
	}
	if got := w.Rate(at(1), at(6)); got != 0.6 {
		t.Errorf("rate %g, want 0.6", got)
	}
}

// Next passes over writes that had begun before, and tells of a writer that
// failed and of the end of its time.
func TestNext(t *testing.T) {
	w := crewOf(1, 2, 3)
	if got, err := w.Next(t.Context(), at(1.95)); err != nil || !got.Equal(at(3)) {
		t.Errorf("got %v, %v", got, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Next(ended, at(9)); !errors.Is(err, context.Canceled) {
		t.Errorf("when its time ended: %v", err)
	}
	broken := errors.New("broken")
	w.fail(broken)
	if _, err := w.Next(t.Context(), at(9)); !errors.Is(err, broken) {
		t.Errorf("when a writer failed: %v", err)
	}
}

// The acks are told in their order, over the edges of the pieces that hold them.
func TestAckLogOverItsPieces(t *testing.T) {
	l := ackLog{base: at(0)}
	const n = 2*acksPerChunk + 3
	for i := range n {
		l.add(at(float64(i)), at(float64(i)+0.5))
	}
	if l.len() != n {
		t.Fatalf("%d acks, want %d", l.len(), n)
	}
	for _, i := range []int{0, 1, acksPerChunk - 1, acksPerChunk, 2 * acksPerChunk, n - 1} {
		if !l.start(i).Equal(at(float64(i))) || !l.end(i).Equal(at(float64(i)+0.5)) {
			t.Errorf("ack %d: from %v to %v", i, l.start(i), l.end(i))
		}
		if got := l.first(at(float64(i) + 0.5)); got != i {
			t.Errorf("%d acks ended before the %dth, want %d", got, i, i)
		}
	}
	if got := l.first(at(n + 1)); got != n {
		t.Errorf("%d acks ended before a later time, want %d", got, n)
	}
}
