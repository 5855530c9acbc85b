package backends

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/lockcluster/lockcluster"
)

// A store that was attached has an id, beside its fence, so that another store
// of the same kind is not taken for it, nor the same one after it was emptied.
// Who knows the id says so with each call ([WithStore]). An id without a fence
// counts for none: who has removed one has removed what kept deposed leaders out.

// ErrOtherStore means that the store has another id than the one that was asked
// for, or none. It comes with [ErrUnavailable].
var ErrOtherStore = errors.New("the legacy store is not the one that was attached")

// What a [Claim] may replace, beside ids.
const (
	NoStore  = ""  // a store without an id
	AnyStore = "*" // whatever is there
)

// Claim gives a store an id, if it has that already or one of those in Over.
type Claim struct {
	ID   string   `json:"id"`
	Over []string `json:"over,omitempty"`
}

// over reports whether the claim may replace the id that a store has.
func (c Claim) over(have string) bool {
	return slices.Contains(c.Over, have) || slices.Contains(c.Over, AnyStore)
}

// Refuses returns why the claim does not hold for a store with the id have.
func (c Claim) Refuses(have string) error {
	if c.ID == "" || have == c.ID || c.over(have) {
		return nil
	}
	return otherStore(have)
}

// Identity is how a store is marked.
type Identity struct {
	// IDs are the ids that it has, [NoStore] among them where it has none: one,
	// but for a Redis Cluster of which a part was emptied or replaced.
	IDs   []string `json:"ids"`
	Fence Fence    `json:"fence"`
}

// Identified is what every backend of this package is, too.
type Identified interface {
	// Identity reads how the store is marked. It changes nothing.
	Identity(ctx context.Context) (Identity, error)
	// Adopt gives the store an id and raises its fence, in one step; refused with
	// [ErrOtherStore] if it has an id that the claim does not cover.
	Adopt(ctx context.Context, f Fence, c Claim) error
}

// NewStoreID returns a new id.
func NewStoreID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

type storeKey struct{}

// WithStore returns a context whose calls to a [Backend] are refused with
// [ErrOtherStore] if its store has not this id; "" asks for none.
func WithStore(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, storeKey{}, id)
}

// StoreOf returns the id that [WithStore] has given to ctx.
func StoreOf(ctx context.Context) string {
	id, _ := ctx.Value(storeKey{}).(string)
	return id
}

func otherStore(have string) error { return unavailable(anotherIs(have)) }

// anotherIs says what is in the place of the store.
func anotherIs(have string) error {
	if have == NoStore {
		return fmt.Errorf("%w: what is there has no id: it was emptied, or is another one", ErrOtherStore)
	}
	return fmt.Errorf("%w: what is there has the id %s", ErrOtherStore, have)
}

// oneID returns the id of a store with these ids; of several, a text that is no
// id.
func oneID(ids []string) string {
	if len(ids) == 1 {
		return ids[0]
	}
	return fmt.Sprintf("%q", ids)
}

// Identity implements [Identified].
func (b *legacy) Identity(ctx context.Context) (Identity, error) {
	if err := b.usable(); err != nil {
		return Identity{}, err
	}
	return b.store.identity(ctx)
}

// Adopt implements [Identified].
func (b *legacy) Adopt(ctx context.Context, f Fence, c Claim) error {
	_, err := b.ask(ctx, &call{fence: f, raise: true, claim: c})
	return err
}

// strange returns why the store, as it was read last, is not the one that ctx
// asks for.
func (b *legacy) strange(ctx context.Context) error {
	return Claim{ID: StoreOf(ctx)}.Refuses(*b.have.Load())
}

// sift answers those calls that ask for another store than there is, and
// returns the others.
func (b *legacy) sift(calls []*call) []*call {
	return slices.DeleteFunc(slices.Clone(calls), func(c *call) bool {
		err := b.strange(c.ctx)
		if err != nil {
			c.done(lockcluster.Result{}, err)
		}
		return err != nil
	})
}
