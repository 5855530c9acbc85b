package backends

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// changes translates records that the rules have put or removed in r into
// writes to the store.
func (m *image) changes(r state.Reader, refs []lockcluster.RecordRef) ([]change, error) {
	var all []change
	for _, ref := range refs {
		if ref.Namespace != m.ns {
			return nil, fmt.Errorf("%w: namespace %q is not that of the legacy system, %q", lockcluster.ErrInvalid, ref.Namespace, m.ns)
		}
		switch ref.Space {
		case lockcluster.SpaceLock:
			all = m.lockChanges(all, ref.Key, state.GetLock(r, m.ns, ref.Key))
		case lockcluster.SpaceCommand:
			var e entry
			if c := state.GetCommandLock(r, m.ns, ref.Key); c != nil {
				e = commandEntry(c)
			}
			all = m.change(all, place{ref.Space, ref.Key}, e)
		case lockcluster.SpaceDocument:
			var e entry
			if d := state.GetDocument(r, m.ns, ref.Key); d != nil {
				e = documentEntry(d)
			}
			all = m.change(all, place{ref.Space, ref.Key}, e)
		}
	}
	return all, nil
}

func (m *image) change(all []change, p place, e entry) []change {
	old := m.entries[p]
	if old.value == nil && e.value == nil && old.side == nil {
		return all
	}
	return append(all, change{place: p, old: old.value, new: e})
}

// lockChanges writes the lock to its present key, and removes all entries
// under other ones.
func (m *image) lockChanges(all []change, text string, l *lockcluster.Lock) []change {
	target := place{lockcluster.SpaceLock, text}
	places := slices.Clone(m.claims[text])
	slices.SortFunc(places, comparePlaces)
	for _, p := range places {
		// The name of a directory that is not UTF-8: the key has its bytes, the
		// value cannot.
		if m.locks[p].form == compat.KeyPresent {
			target = p
			break
		}
	}
	for _, p := range places {
		if p != target || l == nil {
			all = m.change(all, p, entry{})
		}
	}
	if l != nil {
		all = m.change(all, target, lockEntry(l))
	}
	return all
}

// pendingMax is how many side records go with one commit.
const pendingMax = 2000

// pendingChanges returns writes of side records alone, of places that are not
// in others.
func (m *image) pendingChanges(others []change) []change {
	if len(m.pending) == 0 {
		return nil
	}
	taken := map[place]bool{}
	for _, c := range others {
		taken[c.place] = true
	}
	var all []change
	view := m.mem.View()
	for p := range m.pending {
		if taken[p] {
			continue
		}
		if len(all) == pendingMax {
			break
		}
		all = append(all, change{place: p, old: m.entries[p].value, new: m.pendingEntry(view, p), soft: true})
	}
	slices.SortFunc(all, func(a, b change) int { return strings.Compare(a.place.key, b.place.key) })
	return all
}

// pendingEntry is what p has, with the side record of its record.
func (m *image) pendingEntry(r state.Reader, p place) entry {
	e := entry{value: m.entries[p].value}
	switch p.space {
	case lockcluster.SpaceLock:
		if f, ok := m.locks[p]; ok {
			if l := state.GetLock(r, m.ns, f.lock.Key.Text()); l != nil {
				e.side = lockEntry(l).side
			}
		}
	case lockcluster.SpaceCommand:
		if c := state.GetCommandLock(r, m.ns, p.key); c != nil {
			e.side = commandEntry(c).side
		}
	case lockcluster.SpaceDocument:
		if d := state.GetDocument(r, m.ns, p.key); d != nil {
			e.side = documentEntry(d).side
		}
	}
	return e
}
