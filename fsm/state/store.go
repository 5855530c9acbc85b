package state

import (
	"github.com/tidwall/btree"
)

// Reader reads ordered records. Returned values belong to the store: callers
// must not change them, and may keep them.
type Reader interface {
	// Get returns the value of key, and whether there is one.
	Get(key string) ([]byte, bool)
	// Scan calls yield for each record whose key begins with prefix and is not
	// less than from, in ascending byte order, until yield returns false.
	// The store must not be written to while Scan runs.
	Scan(prefix, from string, yield func(key string, value []byte) bool)
}

// Tx is one transaction over a store. It takes ownership of the values it is
// given; they are not changed afterwards.
type Tx interface {
	Reader
	Put(key string, value []byte)
	Delete(key string)
}

// Overlay is a transaction on top of a Reader: its writes are seen by its own
// reads and reach nothing else until [Overlay.Flush]. It is for one goroutine.
type Overlay struct {
	base   Reader
	writes btree.Map[string, *[]byte] // nil: deleted
}

// NewOverlay returns an empty overlay over base, which must not change while
// the overlay is in use.
func NewOverlay(base Reader) *Overlay { return &Overlay{base: base} }

// Get implements [Reader].
func (o *Overlay) Get(key string) ([]byte, bool) {
	if v, ok := o.writes.Get(key); ok {
		if v == nil {
			return nil, false
		}
		return *v, true
	}
	return o.base.Get(key)
}

// Put implements [Tx].
func (o *Overlay) Put(key string, value []byte) { o.writes.Set(key, &value) }

// Delete implements [Tx].
func (o *Overlay) Delete(key string) { o.writes.Set(key, nil) }

// Flush writes all changes into tx in key order.
func (o *Overlay) Flush(tx Tx) {
	o.writes.Scan(func(key string, value *[]byte) bool {
		if value == nil {
			tx.Delete(key)
		} else {
			tx.Put(key, *value)
		}
		return true
	})
}

// Scan implements [Reader] by merging the base with the writes.
func (o *Overlay) Scan(prefix, from string, yield func(string, []byte) bool) {
	if from < prefix {
		from = prefix
	}
	it := o.writes.Iter()
	more := it.Seek(from)
	inRange := func() bool { return more && hasPrefix(it.Key(), prefix) }
	stopped := false
	emit := func() bool { // the write under the cursor, then advance
		if v := it.Value(); v != nil && !yield(it.Key(), *v) {
			stopped = true
			return false
		}
		more = it.Next()
		return true
	}
	o.base.Scan(prefix, from, func(key string, value []byte) bool {
		for inRange() && it.Key() < key {
			if !emit() {
				return false
			}
		}
		if inRange() && it.Key() == key {
			return emit()
		}
		if !yield(key, value) {
			stopped = true
			return false
		}
		return true
	})
	for !stopped && inRange() {
		if !emit() {
			return
		}
	}
}

func hasPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && s[:len(prefix)] == prefix
}
