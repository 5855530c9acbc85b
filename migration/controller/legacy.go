package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// legacy is the way to the legacy system: opened here, or on the node that has
// it. The system is opened when it is first needed and after it was lost.
type legacy struct {
	c *Controller

	mu      sync.Mutex // guards what follows; held while the system is opened
	backend backends.Backend
	suspect bool // an operation has failed: ask whether it has to be opened again
	closed  bool
	failed  error // why it could not be opened last
	retryAt time.Time

	viewMu sync.Mutex // guards known
	known  *state.View
}

// reopenPause is between two tries to open a legacy system.
const reopenPause = 250 * time.Millisecond

// local returns the system that this node has, opening it if need be.
func (l *legacy) local(ctx context.Context) (backends.Backend, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, lockcluster.ErrClosed
	case l.c.cfg.Attached == nil:
		return nil, fmt.Errorf("%w: this node has no legacy system: start it with --legacy-boltdb or --legacy-redis", backends.ErrUnavailable)
	case l.backend != nil && (!l.suspect || l.backend.Check(ctx) == nil):
		l.suspect = false
		return l.backend, nil
	case time.Now().Before(l.retryAt):
		return nil, l.failed
	}
	if l.backend != nil {
		_ = l.backend.Close() // it is broken: its error was told when it broke
		l.backend = nil
	}
	b, err := l.c.cfg.Attached.Open(ctx)
	if err != nil {
		l.failed, l.retryAt = fmt.Errorf("%w: %w", backends.ErrUnavailable, err), time.Now().Add(reopenPause)
		l.c.log.Warn("the legacy system cannot be opened", "kind", l.c.cfg.Attached.Kind, "err", err)
		return nil, l.failed
	}
	l.backend, l.suspect = b, false
	return b, nil
}

// use calls f with the system that this node has. After a failure it is looked
// at, and opened again if need be, before it is used once more.
func (l *legacy) use(ctx context.Context, f func(b backends.Backend) error) error {
	b, err := l.local(ctx)
	if err != nil {
		return err
	}
	if err = f(b); errors.Is(err, backends.ErrUnavailable) || errors.Is(err, lockcluster.ErrClosed) {
		l.mu.Lock()
		l.suspect = true
		l.mu.Unlock()
	}
	return err
}

func (l *legacy) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.backend == nil {
		return nil
	}
	err := l.backend.Close()
	l.backend = nil
	return err
}

// here reports whether this node reaches the legacy system of m by itself.
func (l *legacy) here(m *lockcluster.Migration) bool {
	return m.LegacyHost == "" || m.LegacyHost == l.c.cfg.NodeID
}

// host returns the gRPC address of the node that has the legacy system.
func (l *legacy) host(m *lockcluster.Migration) (string, error) {
	addr := l.c.node.Address(m.LegacyHost)
	if addr == "" {
		return "", fmt.Errorf("%w: the address of node %s, which has the legacy system, is not known", backends.ErrUnavailable, m.LegacyHost)
	}
	return addr, nil
}

// do has the legacy system decide req.
func (l *legacy) do(ctx context.Context, m *lockcluster.Migration, fence backends.Fence, req lockcluster.Request) (res lockcluster.Result, err error) {
	if !l.here(m) {
		return l.callDo(ctx, m, fence, req)
	}
	return l.write(ctx, fence, time.Now(), req)
}

// write has the legacy system of this node decide req for whoever leads by
// fence.
func (l *legacy) write(ctx context.Context, fence backends.Fence, now time.Time, req lockcluster.Request) (res lockcluster.Result, err error) {
	step("write")
	err = l.use(ctx, func(b backends.Backend) error {
		res, err = b.Do(ctx, fence, now, req)
		return err
	})
	if errors.Is(err, backends.ErrFenced) {
		l.c.log.Warn("the legacy system refused a write: another leader or epoch has taken over", "term", fence.Term, "epoch", fence.Epoch)
	}
	return res, err
}

// raise makes the legacy system refuse every fence below.
func (l *legacy) raise(ctx context.Context, m *lockcluster.Migration, fence backends.Fence) error {
	if !l.here(m) {
		_, err := l.call(ctx, m, methodRaise, encodeFence(fence))
		return err
	}
	return l.use(ctx, func(b backends.Backend) error { return b.Raise(ctx, fence) })
}

// check returns nil if the legacy system can serve.
func (l *legacy) check(ctx context.Context, m *lockcluster.Migration) error {
	if !l.here(m) {
		_, err := l.call(ctx, m, methodCheck, nil)
		return err
	}
	return l.use(ctx, func(b backends.Backend) error { return b.Check(ctx) })
}

// read calls f with the legacy system's present records.
func (l *legacy) read(ctx context.Context, m *lockcluster.Migration, f func(r state.Reader)) error {
	if !l.here(m) {
		r := &remoteReader{ctx: ctx, l: l, m: m}
		f(r)
		return r.err
	}
	return l.use(ctx, func(b backends.Backend) error { return b.Read(ctx, f) })
}

// view returns a picture of all that the legacy system holds.
func (l *legacy) view(ctx context.Context, m *lockcluster.Migration) (view *state.View, err error) {
	if !l.here(m) {
		return l.callView(ctx, m)
	}
	err = l.use(ctx, func(b backends.Backend) error {
		view, err = b.View(ctx)
		return err
	})
	return view, err
}
