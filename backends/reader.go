package backends

import (
	"context"
	"strings"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// lazyReader reads the image of a store that others may write to: each read
// first has the image made fresh as far as it goes.
type lazyReader struct {
	b   *legacy
	ctx context.Context //nolint:containedctx // of the one Read that it serves
	err error           // the first one; nothing is read after it
}

// Get implements [state.Reader].
func (r *lazyReader) Get(key string) (value []byte, ok bool) {
	if p, is := placeOfRecord(r.b.ns, key); is {
		var n needs
		n.record(p.space, p.key)
		r.fresh(n, key)
	} else {
		r.fresh(needs{}, "") // the counters: what has told of them is loaded
	}
	if r.err != nil {
		return nil, false
	}
	r.b.mem.Read(func(s state.Reader, _ uint64) { value, ok = s.Get(key) })
	return value, ok
}

// Scan implements [state.Reader].
func (r *lazyReader) Scan(prefix, from string, yield func(key string, value []byte) bool) {
	// No key has an empty part before its project, so a lock's text has "//" in
	// no place where looking for old forms of a present key would find it.
	if !strings.HasSuffix(prefix, "//") {
		r.fresh(needs{all: true}, "")
	}
	if r.err == nil {
		r.b.mem.View().Scan(prefix, from, yield)
	}
}

func (r *lazyReader) fresh(n needs, key string) {
	if r.err == nil {
		r.err = r.b.settled(r.ctx, key, n, nil)
	}
}

// placeOfRecord returns the present place of a record by its key in the rules'
// store; ok is false for what is no lock, command lock or document.
func placeOfRecord(ns, key string) (p place, ok bool) {
	if key == "" {
		return p, false
	}
	rest, ok := strings.CutPrefix(key[1:], ns+"\x00")
	if !ok {
		return p, false
	}
	p, ok = placeOfSide(key[:1] + rest)
	return p, ok
}

// related returns the places that can be used, and where else the image knows the same locks from.
func (m *image) related(places []place) []place {
	seen := map[place]bool{}
	var all []place
	add := func(p place) {
		if !seen[p] && (m.usable == nil || m.usable(p)) {
			seen[p] = true
			all = append(all, p)
		}
	}
	for _, p := range places {
		add(p)
		if p.space == lockcluster.SpaceLock {
			for _, q := range m.claims[p.key] {
				add(q)
			}
		}
	}
	return all
}
