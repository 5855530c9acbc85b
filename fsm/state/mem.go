package state

import (
	"sync"

	"github.com/tidwall/btree"
)

// nodeDegree is the B-tree's degree. Small nodes make the copies that follow a
// snapshot cheap; measured against 32 and 64 it costs lookups nothing visible.
const nodeDegree = 16

// Mem is the in-memory store of a node: a copy-on-write B-tree (see
// docs/adr/0002). One goroutine writes; any number read.
type Mem struct {
	mu     sync.RWMutex // guards all below
	tree   *btree.Map[string, []byte]
	hashes Hashes
	index  uint64
	term   uint64
	view   *View  // copy of the present state, nil when a write came since
	buf    []byte // scratch of recordHash
}

// NewMem returns an empty store.
func NewMem() *Mem { return &Mem{tree: btree.NewMap[string, []byte](nodeDegree)} }

// View is an unchanging picture of the state as of a log index. It stays valid
// as long as it is kept, and costs nothing but the memory of what changes.
type View struct {
	tree   *btree.Map[string, []byte]
	hashes Hashes
	index  uint64
	term   uint64
}

// Get implements [Reader].
func (v *View) Get(key string) ([]byte, bool) { return v.tree.Get(key) }

// Scan implements [Reader].
func (v *View) Scan(prefix, from string, yield func(string, []byte) bool) {
	scanTree(v.tree, prefix, from, yield)
}

// Index returns the log index the view stands at.
func (v *View) Index() uint64 { return v.index }

// Term returns the term of that log index.
func (v *View) Term() uint64 { return v.term }

// Hashes returns the state's digests.
func (v *View) Hashes() Hashes { return v.hashes }

// Len returns the number of records, indexes and bookkeeping included.
func (v *View) Len() int { return v.tree.Len() }

func scanTree(tree *btree.Map[string, []byte], prefix, from string, yield func(string, []byte) bool) {
	if from < prefix {
		from = prefix
	}
	tree.Ascend(from, func(key string, value []byte) bool {
		return hasPrefix(key, prefix) && yield(key, value)
	})
}

// View returns a picture of the present state.
func (m *Mem) View() *View {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.viewLocked()
}

func (m *Mem) viewLocked() *View {
	if m.view == nil {
		m.view = &View{tree: m.tree.Copy(), hashes: m.hashes, index: m.index, term: m.term}
	}
	return m.view
}

// Read calls f with the present state and its log index. Writers wait while f
// runs, so it must be short: point reads, no I/O. It saves the copies that a
// [View] would cause.
func (m *Mem) Read(f func(r Reader, index uint64)) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	f(memReader{m.tree}, m.index)
}

type memReader struct{ tree *btree.Map[string, []byte] }

func (r memReader) Get(key string) ([]byte, bool) { return r.tree.Get(key) }

func (r memReader) Scan(prefix, from string, yield func(string, []byte) bool) {
	scanTree(r.tree, prefix, from, yield)
}

// Update calls f with a transaction and then moves the state to index and
// term. Readers wait while f runs. If f panics the store must not be used again.
func (m *Mem) Update(index, term uint64, f func(tx Tx)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.view = nil
	f((*memTx)(m))
	m.index, m.term = index, term
}

// Position returns the log index and term the state stands at.
func (m *Mem) Position() (index, term uint64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.index, m.term
}

// Replace makes m hold what other holds, in one step. Views taken before stay
// as they were. other must not be used afterwards.
func (m *Mem) Replace(other *Mem) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tree, m.hashes, m.index, m.term, m.view = other.tree, other.hashes, other.index, other.term, nil
}

// Restore fills an empty store with records; see the snapshot codec.
func (m *Mem) Restore(index, term uint64, next func(put func(key string, value []byte)) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.view = nil
	err := next((*memTx)(m).Put)
	m.index, m.term = index, term
	return err
}

// RestoringHashes returns the digests so far, for the function that
// [Mem.Restore] has called.
func (m *Mem) RestoringHashes() Hashes { return m.hashes }

// Hashes returns the present digests and the index they belong to.
func (m *Mem) Hashes() (Hashes, uint64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.hashes, m.index
}

// memTx is Mem's transaction; the caller holds mu.
type memTx Mem

func (t *memTx) Get(key string) ([]byte, bool) { return t.tree.Get(key) }

func (t *memTx) Scan(prefix, from string, yield func(string, []byte) bool) {
	scanTree(t.tree, prefix, from, yield)
}

func (t *memTx) Put(key string, value []byte) {
	old, had := t.tree.Set(key, value)
	h := t.hashes.of(key)
	if had {
		h.sub(recordHash(&t.buf, key, old))
	}
	h.add(recordHash(&t.buf, key, value))
}

func (t *memTx) Delete(key string) {
	if old, had := t.tree.Delete(key); had {
		t.hashes.of(key).sub(recordHash(&t.buf, key, old))
	}
}
