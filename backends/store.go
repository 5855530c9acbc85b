package backends

import (
	"context"
	"errors"

	"github.com/lockcluster/lockcluster"
)

// place is where a store keeps one record.
type place struct {
	space lockcluster.Space
	// key is a lock key's text in any form that an Atlantis has written, a
	// command's name, or a document's key.
	key string
}

// entry is what a store has at a place.
type entry struct {
	value []byte // Atlantis's bytes; nil: there is nothing
	side  []byte // what Atlantis's format has no place for; nil: nothing
}

// change is one write. It is made only if the store has old at its place.
type change struct {
	place place
	old   []byte // nil: nothing
	new   entry  // no value: removed, with its side record
	// soft: where the store has something else than old, only this change is
	// left out. A side record is written so: if it does not fit any more, the
	// next look at the place finds out.
	soft bool
}

// foreign is something stored that can be no record.
type foreign struct {
	bad   Bad
	place place // where it is in the way; the zero place if nowhere
}

// content is everything that a store has.
type content struct {
	entries map[place]entry
	foreign []foreign
	fence   Fence
	id      string            // of the places that were asked for
	tokens  lockcluster.Token // greatest one so far
}

// store keeps records in Atlantis's own format. One goroutine uses it, but for
// check and identity. It has seven methods because it is one thing, a
// conditional store with a fence, and every caller needs all of it.
//
// Errors: [ErrFenced], [ErrUnavailable], and those below.
type store interface {
	// load returns everything.
	load(ctx context.Context) (content, error)
	// fetch returns what is at places, and the fence.
	fetch(ctx context.Context, places []place) (content, error)
	// commit makes all changes or none, if the store has that id ("": any), and
	// notes the greatest token. A store with slots gets changes of one slot.
	commit(ctx context.Context, f Fence, id string, tokens lockcluster.Token, changes []change) error
	// raise refuses all lower fences from now on, and gives the store its id.
	raise(ctx context.Context, f Fence, c Claim) error
	identity(ctx context.Context) (Identity, error)
	// check returns why the store cannot be used, or the id that it seems to have.
	check(ctx context.Context) (id string, err error)
	close() error
}

var (
	// errChanged: somebody else has written to a place; nothing was done.
	errChanged = errors.New("the stored record has changed")
	// errTaken: another open backend with the same fence writes; nothing was done.
	errTaken = errors.New("another backend writes under the same fence")
)

// brokenError wraps the error after which a store must not be used any more
// until it is opened anew.
type brokenError struct {
	err   error // with what became of the request that met it
	cause error
}

func (e *brokenError) Error() string {
	return e.err.Error() + "; it is not used any more until it is opened again"
}

func (e *brokenError) Unwrap() error { return e.err }
