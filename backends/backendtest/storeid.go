package backendtest

import (
	"context"
	"errors"
	"slices"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/fsm/state"
)

func (s *suite) ids() []string {
	s.Helper()
	id, err := s.Backend.(backends.Identified).Identity(s.ctx)
	if err != nil {
		s.Fatalf("identity: %v", err)
	}
	return id.IDs
}

// adopt has the store adopted, and returns the error.
func (s *suite) adopt(f backends.Fence, id string, over ...string) error {
	return s.Backend.(backends.Identified).Adopt(s.ctx, f, backends.Claim{ID: id, Over: over})
}

// everyUse asks for everything that a backend does with its store.
func (s *suite) everyUse(ctx context.Context, f backends.Fence) map[string]error {
	uses := map[string]error{
		"raise": s.Backend.Raise(ctx, f), "check": s.Backend.Check(ctx),
		"read": s.Backend.Read(ctx, func(r state.Reader) { state.GetLock(r, s.Namespace, "org/app/a/default/") }),
	}
	_, uses["do"] = s.Backend.Do(ctx, f, at, s.acquire(s.key("org/new", "a", "default", ""), 8))
	_, uses["held"] = s.Backend.Do(ctx, f, at, s.acquire(s.key("org/app", "a", "default", ""), 9))
	_, uses["view"] = s.Backend.View(ctx)
	_, uses["unreadable"] = s.Backend.(backends.Inspector).Unreadable(ctx)
	return uses
}

func (s *suite) wantUses(ctx context.Context, when string, f backends.Fence, want error) {
	s.Helper()
	for use, err := range s.everyUse(ctx, f) {
		if !errors.Is(err, want) || want != nil && !errors.Is(err, backends.ErrUnavailable) {
			s.Errorf("%s, %s: %v, want %v", when, use, err, want)
		}
	}
}

// Who asks for a store by its id is refused by any other one: nothing is read or
// written, nor is the fence raised. The id stays with the store, and changes only
// by who knows it.
func storeIDs(s *suite) {
	s.fill()
	f := s.Fence
	next := func() backends.Fence {
		f.Term++
		s.Fence = f
		return f
	}
	if got := s.ids(); !slices.Equal(got, []string{backends.NoStore}) {
		s.Fatalf("a store that nobody has marked has the ids %q", got)
	}
	mine, other := backends.NewStoreID(), backends.NewStoreID()
	s.wantUses(backends.WithStore(s.ctx, mine), "before there is an id", f, backends.ErrOtherStore)
	if err := s.adopt(next(), mine, backends.NoStore); err != nil {
		s.Fatal(err)
	}
	if got := s.ids(); !slices.Equal(got, []string{mine}) {
		s.Fatalf("the ids are %q", got)
	}
	s.wantUses(backends.WithStore(s.ctx, mine), "the right id", f, nil)
	s.want(lockcluster.StatusReleased, lockcluster.Release{Namespace: s.Namespace, Text: "org/new/a/default/"})
	before := s.digest()
	above := f
	above.Term += 10
	s.wantUses(backends.WithStore(s.ctx, other), "another id", above, backends.ErrOtherStore)
	if err := s.adopt(above, other, backends.NoStore, "yet another"); !errors.Is(err, backends.ErrOtherStore) {
		s.Errorf("an adoption of what is somebody else's: %v", err)
	}
	s.reopen()
	s.wantUses(backends.WithStore(s.ctx, other), "another id, opened again", above, backends.ErrOtherStore)
	if got := s.digest(); got != before || !slices.Equal(s.ids(), []string{mine}) {
		s.Errorf("refused calls have changed the store: %s, was %s, the ids are %q", got, before, s.ids())
	}
	if err := s.Backend.Raise(backends.WithStore(s.ctx, mine), next()); err != nil {
		s.Errorf("a refused call has raised the fence: %v", err)
	}
	for _, id := range []string{mine, other} { // again, and over what is known
		if err := s.adopt(next(), id, mine); err != nil {
			s.Errorf("adopt: %v", err)
		}
	}
	s.wantUses(backends.WithStore(s.ctx, mine), "the former id", f, backends.ErrOtherStore)
	if err := s.adopt(next(), mine, backends.AnyStore); err != nil {
		s.Errorf("adopt whatever is there: %v", err)
	}
	if f.Term--; s.adopt(f, mine, mine) == nil {
		s.Error("an adoption has lowered the fence")
	}
}
