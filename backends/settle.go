package backends

import (
	"context"
	"errors"
	"slices"
)

// A record that somebody else has stored gets a token and a revision from who
// reads it. The backend that writes puts them beside the record, so that they are
// true for all; one that only reads has others of its own, and who is told those
// could not name the record to the one that writes.

// errUnsettled means that a read met such a record.
var errUnsettled = errors.New("a stored record has no token yet")

type settleKey struct{}

// Settle asks who writes to the store to read the record of that key, or all if
// it is empty.
type Settle func(ctx context.Context, key string) error

// WithSettle returns a context whose reads of a [Backend] that does not write call
// settle where a record has no token yet, and read again. If it fails they make
// do with tokens of their own.
func WithSettle(ctx context.Context, settle Settle) context.Context {
	return context.WithValue(ctx, settleKey{}, settle)
}

// settled has the image made fresh as far as n asks, and calls visit with it. key
// is that of the record that n asks for, empty for all.
func (b *legacy) settled(ctx context.Context, key string, n needs, visit func(*image)) error {
	settle, _ := ctx.Value(settleKey{}).(Settle)
	_, err := b.ask(ctx, &call{needs: n, visit: visit, strict: settle != nil})
	if !errors.Is(err, errUnsettled) {
		return err
	}
	_ = settle(ctx, key) // nobody else can say better
	_, err = b.ask(ctx, &call{needs: n, visit: visit})
	return err
}

// unsettled reports whether the image has records, among those that are needed,
// whose tokens are not stored.
func (m *image) unsettled(n needs) bool {
	if len(m.pending) == 0 {
		return false
	}
	is := func(p place) bool { return m.pending[p] && m.entries[p].value != nil }
	if !n.all {
		return slices.ContainsFunc(m.related(n.places), is)
	}
	for p := range m.pending {
		if is(p) {
			return true
		}
	}
	return false
}
