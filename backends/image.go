package backends

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// image is what a store has, as records of the lock rules. It is a function of
// what the store has, whoever wrote it; only records without a valid side
// record get something of their own, a token and a revision, which is then
// written to the store with the next commit.
//
// It is for one goroutine, but for mem, which anybody may read.
type image struct {
	kind, ns string
	usable   func(place) bool // nil: every place can be used
	mem      *state.Mem
	entries  map[place]entry
	locks    map[place]found    // readable entries of locks
	claims   map[string][]place // places by the lock they are about
	bad      map[place]string   // unreadable entries, and why
	refused  map[string]string  // locks that entries disagree about, and why
	foreign  []foreign
	pending  map[place]bool // side records that are to be written
	revision uint64
	epoch    uint64    // least epoch of new tokens
	now      time.Time // for records that have no time
}

// revisionBase is where the revisions of legacy systems begin: disjoint from
// log indexes, and below 2^53, where whole numbers in JSON end.
const revisionBase = 1 << 52

func newImage(kind, ns string, now time.Time) *image {
	return &image{
		kind: kind, ns: ns, mem: state.NewMem(), entries: map[place]entry{}, locks: map[place]found{}, claims: map[string][]place{},
		bad: map[place]string{}, refused: map[string]string{}, pending: map[place]bool{},
		revision: revisionBase + uint64(now.UnixMicro()), now: now,
	}
}

func (m *image) nextRevision() uint64 {
	m.revision++
	return m.revision
}

// passed makes every later revision greater than r, if r is one of a legacy
// system.
func (m *image) passed(r uint64) {
	if r > revisionBase {
		m.revision = max(m.revision, r)
	}
}

// replace makes the image that of all that a store has.
func (m *image) replace(c content) {
	all := maps.Clone(c.entries)
	for p := range m.entries {
		if _, ok := all[p]; !ok {
			all[p] = entry{}
		}
	}
	for _, f := range m.foreign {
		delete(m.bad, f.place)
	}
	m.foreign = c.foreign
	m.update(all, c.tokens)
	for _, f := range m.foreign {
		if f.place != (place{}) {
			m.bad[f.place] = f.bad.Reason
		}
	}
}

// update takes over what a store has at some places.
func (m *image) update(all map[place]entry, tokens lockcluster.Token) {
	texts := map[string]bool{}
	var changed []place
	for p, e := range all {
		if m.set(p, e, texts) {
			changed = append(changed, p)
		}
	}
	if len(texts) > 0 || len(m.refused) > 0 {
		for text := range m.refused { // what was in their way may be gone
			texts[text] = true
		}
	}
	slices.SortFunc(changed, comparePlaces)
	index, term := m.mem.Position()
	var last lockcluster.Token
	m.mem.Read(func(r state.Reader, _ uint64) { last = state.GetStats(r).LastToken })
	if len(changed)+len(texts) == 0 && !last.Less(tokens) {
		return
	}
	m.mem.Update(max(index, m.revision), term, func(tx state.Tx) {
		state.RaiseToken(tx, tokens)
		for _, p := range changed {
			m.settleOther(tx, p)
		}
		m.settleLocks(tx, texts)
	})
}

func comparePlaces(a, b place) int {
	return cmp.Or(cmp.Compare(a.space, b.space), strings.Compare(a.key, b.key))
}

// set notes what is at p now. It adds to texts the locks that p was or is
// about, and reports whether p is of another kind and has changed.
func (m *image) set(p place, e entry, texts map[string]bool) bool {
	old, had := m.entries[p]
	if had && same(old.value, e.value) && same(old.side, e.side) {
		return false
	}
	if !had && e.value == nil && e.side == nil {
		return false
	}
	delete(m.pending, p)
	delete(m.bad, p)
	if e.value == nil {
		delete(m.entries, p)
		if e.side != nil { // of a record that somebody else has removed
			m.entries[p] = e
			m.pending[p] = true
		}
	} else {
		m.entries[p] = e
	}
	if p.space != lockcluster.SpaceLock {
		return true
	}
	if was, ok := m.locks[p]; ok {
		text := was.lock.Key.Text()
		delete(m.locks, p)
		m.claims[text] = slices.DeleteFunc(m.claims[text], func(q place) bool { return q == p })
		if len(m.claims[text]) == 0 {
			delete(m.claims, text)
		}
		texts[text] = true
	}
	if e.value == nil {
		return false
	}
	f, err := readLock(m.ns, p, e)
	if err != nil {
		m.bad[p] = reasonOf(err)
		return false
	}
	text := f.lock.Key.Text()
	m.locks[p] = f
	m.claims[text] = append(m.claims[text], p)
	texts[text] = true
	return false
}

// same tells nothing from no bytes.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// reasonOf returns why a record is refused; such errors quote no value.
func reasonOf(err error) string {
	var re *compat.RecordError
	if errors.As(err, &re) {
		return re.Reason
	}
	return strings.TrimPrefix(err.Error(), lockcluster.ErrInvalid.Error()+": ")
}

// settleOther puts the command lock or document of p into the records.
func (m *image) settleOther(tx state.Tx, p place) {
	m.remove(tx, p.space, p.key)
	e, ok := m.entries[p]
	if !ok || e.value == nil {
		return
	}
	var err error
	if p.space == lockcluster.SpaceCommand {
		var c lockcluster.CommandLock
		var isNew bool
		if c, isNew, err = readCommand(m.ns, p.key, e); err == nil {
			if isNew {
				c.Token, c.Revision = m.mint(tx, p), m.nextRevision()
			}
			m.passed(c.Revision)
			err = state.InstallCommandLock(tx, c)
		}
	} else {
		d, isNew := readDocument(m.ns, p.key, e)
		if isNew {
			d.Revision = m.nextRevision()
			m.pending[p] = true
		}
		m.passed(d.Revision)
		err = state.InstallDocument(tx, d)
	}
	if err != nil {
		m.bad[p] = reasonOf(err)
		delete(m.pending, p)
	}
}

// mint returns a new token, for a record whose side record is to be written.
func (m *image) mint(r state.Reader, p place) lockcluster.Token {
	m.pending[p] = true
	last := state.GetStats(r).LastToken
	return lockcluster.Token{Epoch: max(last.Epoch, m.epoch, 1), Counter: last.Counter + 1}
}

func (m *image) remove(tx state.Tx, space lockcluster.Space, key string) {
	a := state.Begin(tx, state.Env{System: lockcluster.SystemLegacy})
	a.Apply(lockcluster.Mirror{Namespace: m.ns, Deletes: []lockcluster.RecordRef{{Namespace: m.ns, Space: space, Key: key}}})
	a.End()
}

// settleLocks decides which lock each text is, the oldest first: where two
// entries contradict each other, the older one was there first.
func (m *image) settleLocks(tx state.Tx, texts map[string]bool) {
	type claim struct {
		text string
		all  []found
	}
	var order []claim
	for text := range texts {
		m.remove(tx, lockcluster.SpaceLock, text)
		delete(m.refused, text)
		c := claim{text: text}
		for _, p := range m.claims[text] {
			delete(m.pending, p)
			c.all = append(c.all, m.locks[p])
		}
		if len(c.all) > 0 {
			slices.SortFunc(c.all, compareAge)
			order = append(order, c)
		}
	}
	slices.SortFunc(order, func(a, b claim) int { return cmp.Or(compareAge(a.all[0], b.all[0]), strings.Compare(a.text, b.text)) })
	for _, c := range order {
		if err := m.settle(tx, c.all); err != nil {
			m.refused[c.text] = reasonOf(err)
		}
	}
}

// compareAge puts known records first, then by time, then the present form of
// the key before the old one.
func compareAge(a, b found) int {
	unknown := func(f found) int {
		switch {
		case !f.new:
			return 0
		case !f.lock.AcquiredAt.IsZero():
			return 1
		}
		return 2
	}
	return cmp.Or(
		unknown(a)-unknown(b), a.lock.AcquiredAt.Compare(b.lock.AcquiredAt),
		cmp.Compare(b.form%2, a.form%2), strings.Compare(a.at.key, b.at.key),
	)
}

// settle installs the lock that all entries of one text, in order of age, are
// about. An error says why they are about none.
func (m *image) settle(tx state.Tx, all []found) error {
	first := all[0]
	for _, other := range all[1:] {
		if !other.lock.Owner.Same(first.lock.Owner) {
			return fmt.Errorf("pull requests #%d and #%d both have it, under %q and %q",
				first.lock.Owner.Pull, other.lock.Owner.Pull, first.at.key, other.at.key)
		}
	}
	lock := first.lock
	if first.new {
		lock.AcquiredAt = timeOr(lock.AcquiredAt, m.now)
		lock.Token, lock.Revision = m.mint(tx, first.at), m.nextRevision()
	}
	m.passed(lock.Revision)
	if err := state.InstallLock(tx, lock); err != nil {
		delete(m.pending, first.at)
		return err
	}
	return nil
}
