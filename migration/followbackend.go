package migration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// followRevision is the first revision of a followed record; see package
// backends for why it is that large.
const followRevision = 1 << 52

// ErrFollowed means that an Atlantis owns the file: it decides, and what is
// here only follows.
var ErrFollowed = errors.New("an Atlantis has the file open and decides about its locks; to go on, stop it")

// FollowedFile is an atlantis.db that an Atlantis owns, as a backend. It can be
// read. It is not written to, nor kept from its Atlantis, before the cutover:
// [FollowedFile.Take], or the first copy of what the enhanced system decides.
type FollowedFile struct {
	file, namespace string

	taking sync.Mutex // one Take at a time

	mu      sync.Mutex // guards what follows
	owned   backends.Backend
	source  *BoltFollow
	version string
	plan    *Plan
	mem     *state.Mem
	next    uint64 // revision of the next change
	bad     []backends.Bad
	closed  bool
}

// OpenFollowed reads the file once, so that a file that is none is told now.
func OpenFollowed(ctx context.Context, file, namespace string) (*FollowedFile, error) {
	f := &FollowedFile{
		file: file, namespace: namespace, source: FollowBolt(file, ""), mem: state.NewMem(),
		next: followRevision + uint64(time.Now().UnixMicro()), //nolint:gosec // after 1970
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.freshen(ctx); err != nil {
		_ = f.source.Close() // the first error counts
		return nil, err
	}
	return f, nil
}

// Kind implements [backends.Backend].
func (f *FollowedFile) Kind() string { return "boltdb" }

// Do implements [backends.Backend]. Only a copy makes it own the file: copies
// come only when Atlantis no longer decides.
func (f *FollowedFile) Do(ctx context.Context, fence backends.Fence, now time.Time, req lockcluster.Request) (lockcluster.Result, error) {
	b, err := f.own()
	if _, copies := req.(lockcluster.Mirror); copies && err != nil {
		if err = f.Take(ctx); err == nil {
			b, err = f.own()
		}
	}
	if err != nil {
		return lockcluster.Result{}, err
	}
	return b.Do(ctx, fence, now, req)
}

// Raise implements [backends.Backend].
func (f *FollowedFile) Raise(ctx context.Context, fence backends.Fence) error {
	b, err := f.own()
	if err != nil {
		return err
	}
	return b.Raise(ctx, fence)
}

// Identity implements [backends.Identified]: the marks of a file are its owner's
// to read.
func (f *FollowedFile) Identity(ctx context.Context) (backends.Identity, error) {
	b, err := f.own()
	if err != nil {
		return backends.Identity{}, err
	}
	return b.(backends.Identified).Identity(ctx)
}

// Adopt implements [backends.Identified].
func (f *FollowedFile) Adopt(ctx context.Context, fence backends.Fence, c backends.Claim) error {
	b, err := f.own()
	if err != nil {
		return err
	}
	return b.(backends.Identified).Adopt(ctx, fence, c)
}

// Check implements [backends.Backend]: a file that can be read is well.
func (f *FollowedFile) Check(ctx context.Context) error {
	if b, err := f.own(); err == nil {
		return b.Check(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.freshen(ctx)
}

// own returns the file as one that this process owns.
func (f *FollowedFile) own() (backends.Backend, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return nil, lockcluster.ErrClosed
	case f.owned == nil:
		return nil, fmt.Errorf("%w: %w", backends.ErrUnavailable, ErrFollowed)
	}
	return f.owned, nil
}

// Take makes the file this process's own, so that no Atlantis can start on it;
// refused with [ErrFollowed] while one has it.
func (f *FollowedFile) Take(ctx context.Context) error {
	f.taking.Lock()
	defer f.taking.Unlock()
	if _, err := f.own(); err == nil || errors.Is(err, lockcluster.ErrClosed) {
		return err
	}
	b, err := backends.Open(ctx, backends.Options{Backend: "boltdb", Path: f.file, Namespace: f.namespace})
	switch {
	case errors.Is(err, backends.ErrInUse):
		return fmt.Errorf("%w: %w", backends.ErrUnavailable, ErrFollowed)
	case err != nil:
		return fmt.Errorf("%w: %w", backends.ErrUnavailable, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errors.Join(lockcluster.ErrClosed, b.Close())
	}
	f.owned = b
	return nil
}

// MayTake returns nil if [FollowedFile.Take] could have the file now, else why not.
// It takes nothing: a lock that it gets is shared, and let go at once.
func (f *FollowedFile) MayTake(context.Context) error {
	if _, err := f.own(); err == nil || errors.Is(err, lockcluster.ErrClosed) {
		return err
	}
	file, err := os.OpenFile(f.file, os.O_RDWR, 0) // as its owner needs it
	if err != nil {
		return fmt.Errorf("%w: open the legacy database: %w", backends.ErrUnavailable, err)
	}
	defer func() { _ = file.Close() }() // lets the lock go; nothing was written
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return fmt.Errorf("%w: %w", backends.ErrUnavailable, ErrFollowed)
	case err != nil:
		return fmt.Errorf("%w: ask for the lock of %s: %w", backends.ErrUnavailable, f.file, err)
	}
	return nil
}

// LetGo gives the file back to its Atlantis, after a cutover that was given up.
func (f *FollowedFile) LetGo() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.owned == nil {
		return nil
	}
	err := f.owned.Close()
	f.owned = nil
	return err
}

// Read implements [backends.Backend].
func (f *FollowedFile) Read(ctx context.Context, visit func(r state.Reader)) error {
	view, err := f.View(ctx)
	if err == nil {
		visit(view)
	}
	return err
}

// View implements [backends.Backend].
func (f *FollowedFile) View(ctx context.Context) (*state.View, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.owned != nil {
		return f.owned.View(ctx)
	}
	if err := f.freshen(ctx); err != nil {
		return nil, err
	}
	return f.mem.View(), nil
}

// Unreadable implements [backends.Inspector].
func (f *FollowedFile) Unreadable(ctx context.Context) ([]backends.Bad, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i, ok := f.owned.(backends.Inspector); ok {
		return i.Unreadable(ctx)
	}
	return f.bad, nil
}

// Close implements [backends.Backend].
func (f *FollowedFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	err := f.source.Close()
	if f.owned != nil {
		err = errors.Join(err, f.owned.Close())
	}
	return err
}

// freshen takes over what has changed in the file; the caller holds mu. Records
// that have not changed keep their tokens and revisions.
func (f *FollowedFile) freshen(ctx context.Context) error {
	version, err := f.source.Version(ctx)
	if err != nil || version == f.version {
		return err
	}
	src, version, err := f.source.Read(ctx)
	if err != nil {
		return err
	}
	plan, err := BuildPlan(src, PlanOptions{Namespace: f.namespace})
	if err != nil {
		return err
	}
	f.apply(DiffPlans(f.plan, plan))
	f.plan, f.version, f.bad = plan, version, []backends.Bad{}
	for _, q := range plan.Quarantined {
		f.bad = append(f.bad, backends.Bad{Bucket: q.Bucket, Key: q.Key, Reason: q.Reason})
	}
	for _, c := range plan.Conflicts {
		f.bad = append(f.bad, backends.Bad{Bucket: BucketLocks, Key: c.Identity, Reason: c.Reason})
	}
	return nil
}

func (f *FollowedFile) apply(d Diff) {
	requests := make([]lockcluster.Request, 0, len(d.Removed)+2*len(d.Changed)+1)
	for _, rec := range append(append([]PlanRecord{}, d.Removed...), d.Changed...) {
		requests = append(requests, removal(f.namespace, rec))
	}
	requests = append(requests, requestOf(f.namespace, append(append([]PlanRecord{}, d.Added...), d.Changed...)))
	f.next++
	f.mem.Update(f.next, 1, func(tx state.Tx) {
		a := state.Begin(tx, state.Env{Index: f.next, Term: 1, Now: time.Now(), System: lockcluster.SystemLegacy})
		for _, req := range requests {
			a.Apply(req)
		}
		a.End()
	})
}
