package migration

import (
	"bytes"

	"github.com/lockcluster/lockcluster/compat"
)

// planMemo remembers what the values of a source say from one plan to the
// next: most of them are the same, and to read them is most of the work. A nil
// memo remembers nothing. It is for one goroutine.
type planMemo struct {
	before, now map[SourceRef]memoEntry
}

// memoEntry is what a value says; err if it cannot be read.
type memoEntry struct {
	value []byte
	lock  compat.LockRecord
	pull  compat.PullStatusRecord
	err   error
}

func newPlanMemo() *planMemo {
	return &planMemo{before: map[SourceRef]memoEntry{}, now: map[SourceRef]memoEntry{}}
}

// get returns what is remembered of a record with this very value.
func (m *planMemo) get(r SourceRecord, read func(*memoEntry)) memoEntry {
	if m == nil {
		var e memoEntry
		read(&e)
		return e
	}
	ref := SourceRef{r.Bucket, r.Key}
	e, ok := m.now[ref]
	if !ok {
		e, ok = m.before[ref]
	}
	if !ok || !bytes.Equal(e.value, r.Value) {
		e = memoEntry{value: r.Value}
		read(&e)
	}
	m.now[ref] = e
	return e
}

func (m *planMemo) lock(r SourceRecord) (compat.LockRecord, error) {
	e := m.get(r, func(e *memoEntry) { e.lock, e.err = compat.ParseLock(r.Value) })
	return e.lock, e.err
}

func (m *planMemo) pull(r SourceRecord) (compat.PullStatusRecord, error) {
	e := m.get(r, func(e *memoEntry) { e.pull, e.err = compat.ParsePullStatus(r.Value) })
	return e.pull, e.err
}

// turn ends a plan: what it did not use is forgotten.
func (m *planMemo) turn() {
	if m == nil {
		return
	}
	m.before, m.now = m.now, map[SourceRef]memoEntry{}
}
