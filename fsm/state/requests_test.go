package state

import (
	"fmt"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
)

// books is a small cluster state whose limits a test can set.
type books struct {
	t      *testing.T
	mem    *Mem
	limits limits
	now    time.Time
	index  uint64
}

func newBooks(t *testing.T, change func(*limits)) *books {
	b := &books{t: t, mem: NewMem(), limits: standardLimits(), now: time.UnixMilli(1_700_000_000_000)}
	change(&b.limits)
	return b
}

// do decides one request, a put of a document that counts how often it ran.
func (b *books) do(client string, seq, acked uint64, size int) lockcluster.Result {
	b.t.Helper()
	b.index++
	var res lockcluster.Result
	b.mem.Update(b.index, 1, func(tx Tx) {
		a := Begin(tx, Env{Index: b.index, Term: 1, Now: b.now})
		a.limits = b.limits
		res = a.Do(command.Command{
			ID:      lockcluster.RequestID{ClientID: client, Sequence: seq, AckedBelow: acked},
			Request: lockcluster.PutDocument{Namespace: "default", Key: client, Value: make([]byte, size)},
		})
		a.End()
	})
	if b.index%64 == 0 { // it reads the whole state
		b.check()
	}
	return res
}

func (b *books) check() {
	b.t.Helper()
	if err := CheckInvariants(b.mem.View()); err != nil {
		b.t.Fatalf("after %d requests: %v", b.index, err)
	}
}

func (b *books) answers() uint64 { return GetStats(b.mem.View()).Answers }
func (b *books) clients() uint64 { return GetStats(b.mem.View()).Clients }

// remembered reports whether a retry gets its first answer.
func (b *books) remembered(client string, seq uint64) bool {
	b.t.Helper()
	before := b.index
	res := b.do(client, seq, 0, 0)
	return res.Status == lockcluster.StatusStored && res.Index <= before
}

// TestAnswersStayAtLeastADayAndTheNewest: an answer goes only when it is older
// than 24 hours and enough newer ones are there.
func TestAnswersStayAtLeastADayAndTheNewest(t *testing.T) {
	b := newBooks(t, func(l *limits) { l.answersMin = 100 })
	for seq := range uint64(300) {
		b.do("old", seq+1, 0, 0)
	}
	if got := b.answers(); got != 300 {
		t.Fatalf("%d answers of the last minute, want all 300", got)
	}
	b.now = b.now.Add(24*time.Hour - time.Millisecond)
	b.do("new", 1, 0, 0)
	if got := b.answers(); got != 301 {
		t.Fatalf("%d answers a millisecond before a day, want all 301", got)
	}
	b.now = b.now.Add(2 * time.Millisecond)
	b.do("new", 2, 0, 0)
	if got := b.answers(); got != 302-16 {
		t.Fatalf("%d answers, want %d: one request drops 16 at most", got, 302-16)
	}
	for seq := range uint64(40) {
		b.do("new", seq+3, 0, 0)
	}
	if got := b.answers(); got != 100 {
		t.Fatalf("%d answers, want the newest 100 however old", got)
	}
	if !b.remembered("old", 300) || !b.remembered("new", 1) {
		t.Error("one of the newest answers is forgotten")
	}
	b.check()
}

// TestLeaderClockRunningBack: a leader whose clock is behind shortens no
// answer's life.
func TestLeaderClockRunningBack(t *testing.T) {
	b := newBooks(t, func(l *limits) { l.answersMin = 1 })
	b.do("a", 1, 0, 0)
	b.now = b.now.Add(30 * 24 * time.Hour)
	b.do("a", 1, 0, 0) // a retry, from a leader whose clock is ahead
	b.now = b.now.Add(-30 * 24 * time.Hour)
	for seq := range uint64(50) {
		b.do("b", seq+1, 0, 0)
	}
	b.now = b.now.Add(30*24*time.Hour + time.Hour)
	b.do("c", 1, 0, 0)
	if got := b.answers(); got != 51 {
		t.Errorf("%d answers, want the 51 that were given within a day by the clock that was ahead", got)
	}
}

// TestAnswersHardBounds: past the bounds in number and bytes the oldest answers
// go however young they are; memory stays bounded by bytes before all else.
func TestAnswersHardBounds(t *testing.T) {
	b := newBooks(t, func(l *limits) { l.answersMin, l.answersMax = 50, 200 })
	for seq := range uint64(1000) {
		b.do("c", seq+1, 0, 0)
		if got := b.answers(); got > 200 {
			t.Fatalf("%d answers, bound 200", got)
		}
	}
	if !b.remembered("c", 1000-199) || b.remembered("c", 1000-200) {
		t.Error("not the oldest went first")
	}

	b = newBooks(t, func(l *limits) { l.sizeMax = 100_000 })
	for seq := range uint64(300) {
		b.do(fmt.Sprintf("c%d", seq), 1, 0, 4000) // stores
		b.do(fmt.Sprintf("c%d", seq), 2, 0, 4000) // its answer holds the old 4000 bytes
		if size := b.size(); size > 100_000+5000 {
			t.Fatalf("%d bytes of answers, bound 100000", size)
		}
	}
	if got := b.answers(); got < 20 {
		t.Errorf("%d answers in 100000 bytes", got)
	}
	// One answer beyond the bound is still remembered: it was just given.
	b.do("big", 1, 0, 500_000)
	b.do("big", 2, 0, 0)
	if !b.remembered("big", 2) {
		t.Error("the newest answer is forgotten")
	}
	b.check()
}

func (b *books) size() uint64 { return Begin(NewOverlay(b.mem.View()), Env{}).books.SizeBytes }

// TestStandardLimits: with the limits that nodes run with, 100,000 answers stay
// for more than a day and the rest goes.
func TestStandardLimits(t *testing.T) {
	mem := NewMem()
	now := time.UnixMilli(1_700_000_000_000)
	put := lockcluster.PutDocument{Namespace: "default", Key: "k"}
	entry := func(index uint64, at time.Time, first, n uint64) {
		mem.Update(index, 1, func(tx Tx) {
			a := Begin(tx, Env{Index: index, Term: 1, Now: at})
			for seq := first; seq < first+n; seq++ {
				a.Do(command.Command{ID: lockcluster.RequestID{ClientID: "c", Sequence: seq}, Request: put})
			}
			a.End()
		})
	}
	entry(1, now, 1, 100_500)
	entry(2, now.Add(23*time.Hour), 100_501, 500)
	if got := GetStats(mem.View()).Answers; got != 101_000 {
		t.Fatalf("%d answers within a day, want all 101000", got)
	}
	entry(3, now.Add(24*time.Hour), 101_001, 100)
	if got := GetStats(mem.View()).Answers; got != 100_000 {
		t.Fatalf("%d answers after a day, want the newest 100000", got)
	}
}

// TestAcknowledgedAnswersAreDropped: what a client has acknowledged goes, in
// bounded steps, and a late duplicate of it is refused, not applied.
func TestAcknowledgedAnswersAreDropped(t *testing.T) {
	b := newBooks(t, func(l *limits) { l.drops = 50 })
	for seq := range uint64(200) {
		b.do("c", seq+1, 1, 0)
	}
	if got := b.answers(); got != 200 {
		t.Fatalf("%d answers, want 200", got)
	}
	b.do("c", 201, 201, 0)
	if got := b.answers(); got != 201-50 {
		t.Fatalf("%d answers, want %d: one request drops 50 at most", got, 201-50)
	}
	for seq := range uint64(4) {
		b.do("c", 202+seq, 201, 0)
	}
	if got := b.answers(); got != 5 {
		t.Fatalf("%d answers, want the 5 that are not acknowledged", got)
	}
	data, _ := b.mem.Hashes()
	if res := b.do("c", 7, 0, 9); res.Status != lockcluster.StatusForgotten {
		t.Errorf("a duplicate of an acknowledged request: %s", res.Status)
	}
	if after, _ := b.mem.Hashes(); after.Data != data.Data {
		t.Error("a duplicate of an acknowledged request changed something")
	}
	if !b.remembered("c", 201) {
		t.Error("an answer that is not acknowledged is forgotten")
	}
	// Nobody's acknowledgement touches another client's answers, also where
	// one id begins with the other.
	b.do("c1", 1, 0, 0)
	b.do("c", 300, 300, 0)
	if !b.remembered("c1", 1) {
		t.Error("the answer of another client is forgotten")
	}
	b.check()
}

// TestClientsAreBounded: what is known of clients that were not seen for a day
// goes, and past the bound that of the ones not seen longest.
func TestClientsAreBounded(t *testing.T) {
	b := newBooks(t, func(l *limits) { l.clientsMax = 100 })
	for i := range 150 {
		b.do(fmt.Sprintf("client-%03d", i), 40, 40, 0)
		if got := b.clients(); got > 100 {
			t.Fatalf("%d clients, bound 100", got)
		}
	}
	if res := b.do("client-149", 39, 0, 0); res.Status != lockcluster.StatusForgotten {
		t.Errorf("the client seen last is not known any more: %s", res.Status)
	}
	b.now = b.now.Add(25 * time.Hour)
	for i := range uint64(10) {
		b.do("another", 1+i, 0, 0)
	}
	if got := b.clients(); got != 0 {
		t.Errorf("%d clients after a day, want none", got)
	}
	b.check()
}

// TestRequestIDs: an id that cannot stand in a key is bad input, and is not
// remembered.
func TestRequestIDs(t *testing.T) {
	b := newBooks(t, func(*limits) {})
	for _, id := range []string{"with space", "nul\x00", "\xff", "ü", string(make([]byte, 65))} {
		if res := b.do(id, 1, 0, 0); res.Status != lockcluster.StatusInvalid || res.Text == "" {
			t.Errorf("client id %q: %s", id, res.Status)
		}
	}
	if res := b.do("c", 0, 0, 0); res.Status != lockcluster.StatusInvalid {
		t.Errorf("sequence 0: %s", res.Status)
	}
	if got := b.answers(); got != 0 {
		t.Errorf("%d answers remembered", got)
	}
}
