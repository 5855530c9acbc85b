package controller

import (
	"sync"

	"github.com/lockcluster/lockcluster"
)

// dirtyMax is the number of changed records after which a mirror is not
// brought up record by record any more but compared as a whole.
const dirtyMax = 100_000

// dirty is the set of records that a mirror still has to be told about. It
// holds names, not values: what counts is what the records are when they are
// copied, so the order of changes does not matter and none is lost.
type dirty struct {
	mu    sync.Mutex // guards what follows
	refs  map[lockcluster.RecordRef]uint64
	busy  map[lockcluster.RecordRef]bool // taken, not done yet
	seq   uint64
	whole bool // too many: compare everything
	kick  chan struct{}
	idleC chan struct{}
}

func newDirty() *dirty {
	return &dirty{refs: map[lockcluster.RecordRef]uint64{}, busy: map[lockcluster.RecordRef]bool{}, kick: make(chan struct{}, 1)}
}

// add notes that records have changed.
func (d *dirty) add(refs ...lockcluster.RecordRef) {
	if len(refs) == 0 {
		return
	}
	d.mu.Lock()
	for _, ref := range refs {
		d.seq++
		d.refs[ref] = d.seq
	}
	if len(d.refs) > dirtyMax {
		clear(d.refs)
		d.whole = true
	}
	d.mu.Unlock()
	d.wake()
}

// addAll has the worker compare everything.
func (d *dirty) addAll() {
	d.mu.Lock()
	clear(d.refs)
	d.whole = true
	d.mu.Unlock()
	d.wake()
}

func (d *dirty) wake() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// take returns up to n names, or whole. done or back must follow.
func (d *dirty) take(n int) (refs []lockcluster.RecordRef, whole bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.whole {
		d.whole = false
		d.busy[lockcluster.RecordRef{}] = true
		return nil, true
	}
	for ref := range d.refs {
		if len(refs) == n {
			break
		}
		refs = append(refs, ref)
		delete(d.refs, ref)
		d.busy[ref] = true
	}
	return refs, false
}

// done ends a take; failed puts what was taken back.
func (d *dirty) done(refs []lockcluster.RecordRef, whole, failed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if whole {
		delete(d.busy, lockcluster.RecordRef{})
		d.whole = d.whole || failed
	}
	for _, ref := range refs {
		delete(d.busy, ref)
		if _, again := d.refs[ref]; failed && !again {
			d.seq++
			d.refs[ref] = d.seq
		}
	}
	if d.idleC != nil && d.emptyLocked() {
		close(d.idleC)
		d.idleC = nil
	}
}

func (d *dirty) emptyLocked() bool { return !d.whole && len(d.refs) == 0 && len(d.busy) == 0 }

// drop forgets everything.
func (d *dirty) drop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.refs)
	d.whole = false
}

// size returns how many names wait or are on their way.
func (d *dirty) size() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.refs) + len(d.busy)
}

// idle returns a channel that is closed once nothing waits any more.
func (d *dirty) idle() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.idleC == nil {
		d.idleC = make(chan struct{})
		if d.emptyLocked() {
			c := d.idleC
			close(c)
			d.idleC = nil
			return c
		}
	}
	return d.idleC
}
