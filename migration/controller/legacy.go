package controller

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/migration"
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

	views remoteViews
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
	case l.another() != nil:
		return nil, l.another()
	case l.backend != nil && (!l.suspect || l.backend.Check(backends.WithStore(ctx, "")) == nil):
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
		if l.failed == nil || !errors.Is(l.failed, err) && l.failed.Error() != unopened(err).Error() {
			l.c.log.Warn("the legacy system cannot be opened", "kind", l.c.cfg.Attached.Kind, "err", err)
		}
		l.failed, l.retryAt = unopened(err), time.Now().Add(reopenPause)
		return nil, l.failed
	}
	l.backend, l.suspect, l.failed = b, false, nil
	return b, nil
}

// another returns an error if this node was started with another legacy system
// than the attached one, whose locks it would not know.
func (l *legacy) another() error {
	m, own := l.c.state.Load(), l.c.cfg.Attached
	if m.Legacy == "" || m.Legacy == own.Kind && m.Namespace == own.Namespace {
		return nil
	}
	return fmt.Errorf("%w: this node was started with another legacy system (%s, namespace %s) than the one that is attached (%s, namespace %s)",
		backends.ErrUnavailable, own.Kind, own.Namespace, m.Legacy, m.Namespace)
}

func unopened(err error) error { return fmt.Errorf("%w: %w", backends.ErrUnavailable, err) }

// use calls f with the system that this node has, and a context that asks for
// the attached store, unless ctx asks for another one. After a failure the system
// is looked at, and opened again if need be, before it is used once more.
func (l *legacy) use(ctx context.Context, f func(ctx context.Context, b backends.Backend) error) error {
	b, err := l.local(ctx)
	if err != nil {
		return err
	}
	switch backends.StoreOf(ctx) {
	case backends.AnyStore:
		ctx = backends.WithStore(ctx, "")
	case "":
		ctx = backends.WithStore(ctx, l.c.storeID())
	}
	err = f(ctx, b)
	if errors.Is(err, migration.ErrFollowed) {
		return err // it is well: it is not ours
	}
	if errors.Is(err, backends.ErrUnavailable) || errors.Is(err, lockcluster.ErrClosed) {
		l.mu.Lock()
		l.suspect = true
		l.mu.Unlock()
	}
	return err
}

func (l *legacy) close() error {
	l.views.close()
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
	err = l.use(ctx, func(ctx context.Context, b backends.Backend) error {
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
	return l.use(ctx, func(ctx context.Context, b backends.Backend) error { return b.Raise(ctx, fence) })
}

// identity reads how the store is marked.
func (l *legacy) identity(ctx context.Context, m *lockcluster.Migration) (id backends.Identity, err error) {
	out, err := l.ask(ctx, m, methodIdentity, nil)
	if err != nil {
		return id, err
	}
	return id, json.Unmarshal(out, &id)
}

// adopt gives the store its id.
func (l *legacy) adopt(ctx context.Context, m *lockcluster.Migration, fence backends.Fence, claim backends.Claim) error {
	b, err := json.Marshal(claim)
	if err != nil {
		return err
	}
	_, err = l.ask(ctx, m, methodAdopt, append(encodeFence(fence), b...))
	return err
}

// ask has the legacy system answer, wherever it is.
func (l *legacy) ask(ctx context.Context, m *lockcluster.Migration, method string, body []byte) (out []byte, err error) {
	if !l.here(m) {
		return l.call(ctx, m, method, body)
	}
	err = l.use(ctx, func(ctx context.Context, b backends.Backend) (err error) {
		out, err = serveLegacy(ctx, b, method, body)
		return err
	})
	return out, err
}

// whole returns all that the store holds that ctx asks for.
func (l *legacy) whole(ctx context.Context, m *lockcluster.Migration) (state.Reader, error) {
	if l.here(m) {
		return l.view(ctx, m)
	}
	r, mem := &remoteReader{ctx: ctx, l: l, m: m}, state.NewMem()
	mem.Update(1, 1, func(tx state.Tx) {
		r.Scan("", "", func(key string, value []byte) bool {
			tx.Put(key, value)
			return true
		})
	})
	return mem.View(), r.err
}

// check returns nil if the legacy system can serve.
func (l *legacy) check(ctx context.Context, m *lockcluster.Migration) error {
	if !l.here(m) {
		_, err := l.call(ctx, m, methodCheck, nil)
		return err
	}
	return l.use(ctx, func(ctx context.Context, b backends.Backend) error { return b.Check(ctx) })
}

// CheckLegacy returns why the legacy system cannot decide about locks now, nil if
// it can, or if it does not decide about any.
func (c *Controller) CheckLegacy(ctx context.Context) error {
	m := c.Migration()
	if m.Legacy == "" || m.Decides(m.Namespace) == lockcluster.SystemEnhanced {
		return nil
	}
	return c.legacy.check(ctx, &m)
}

// read calls f with the legacy system's present records.
func (l *legacy) read(ctx context.Context, m *lockcluster.Migration, f func(r state.Reader)) error {
	if !l.here(m) {
		r := &remoteReader{ctx: ctx, l: l, m: m}
		f(r)
		return r.err
	}
	return l.use(l.settling(ctx, m), func(ctx context.Context, b backends.Backend) error { return b.Read(ctx, f) })
}

// view returns a picture of all that the legacy system holds.
func (l *legacy) view(ctx context.Context, m *lockcluster.Migration) (view *state.View, err error) {
	if !l.here(m) {
		return l.callView(ctx, m)
	}
	err = l.use(l.settling(ctx, m), func(ctx context.Context, b backends.Backend) error {
		view, err = b.View(ctx)
		return err
	})
	return view, err
}

// settleTimeout bounds the question of a read that can do without its answer.
const settleTimeout = time.Second

// settling has reads on this node ask the leader, which writes, for the tokens of
// what a stock Atlantis has stored.
func (l *legacy) settling(ctx context.Context, m *lockcluster.Migration) context.Context {
	leader, addr := l.c.node.Leader()
	if addr == "" || leader == l.c.cfg.NodeID || l.c.currentTerm() != nil {
		return ctx
	}
	return backends.WithSettle(ctx, func(ctx context.Context, key string) error {
		method, body := methodGet, key
		if key == "" {
			method, body = methodDigest, m.Namespace
		}
		if id := l.c.storeID(); id != "" {
			method += "@" + id
		}
		limited, cancel := context.WithTimeout(ctx, settleTimeout)
		defer cancel()
		_, err := l.c.ask(limited, addr, method, []byte(body))
		return err
	})
}

// digest returns the content digest of all that the legacy system holds, and how
// many records that is.
func (l *legacy) digest(ctx context.Context, m *lockcluster.Migration) (digest []byte, records int, err error) {
	if !l.here(m) {
		out, err := l.call(ctx, m, methodDigest, []byte(m.Namespace))
		if err != nil || len(out) < 8 {
			return nil, 0, err
		}
		return out[8:], int(binary.BigEndian.Uint64(out)), nil //nolint:gosec // a count
	}
	view, err := l.view(ctx, m)
	if err != nil {
		return nil, 0, err
	}
	digest, records = state.ContentDigest(view, m.Namespace)
	return digest, records, nil
}

// unreadable lists the stored records of the legacy system that are left alone.
func (l *legacy) unreadable(ctx context.Context, m *lockcluster.Migration) (bad []backends.Bad, err error) {
	if !l.here(m) {
		out, err := l.call(ctx, m, methodUnreadable, nil)
		if err != nil {
			return nil, err
		}
		return bad, json.Unmarshal(out, &bad)
	}
	err = l.use(ctx, func(ctx context.Context, b backends.Backend) error {
		bad, err = unreadableOf(ctx, b)
		return err
	})
	return bad, err
}

func unreadableOf(ctx context.Context, b backends.Backend) ([]backends.Bad, error) {
	if i, ok := b.(backends.Inspector); ok {
		return i.Unreadable(ctx)
	}
	return nil, nil
}

// Unreadable lists the stored records of the legacy system that cannot be read
// and are left alone; none without a legacy system.
func (c *Controller) Unreadable(ctx context.Context) ([]backends.Bad, error) {
	m := c.Migration()
	if m.Legacy == "" {
		return []backends.Bad{}, nil
	}
	bad, err := c.legacy.unreadable(ctx, &m)
	if bad == nil {
		bad = []backends.Bad{}
	}
	return bad, err
}

// followed is a legacy system that an Atlantis owns until it is taken.
type followed interface {
	Take(ctx context.Context) error
	MayTake(ctx context.Context) error
	LetGo() error
}

// take makes a followed legacy system the cluster's own; of any other it is that
// already.
func (l *legacy) take(ctx context.Context, m *lockcluster.Migration) error {
	return l.ownership(ctx, m, methodTake)
}

// mayTake returns why take would fail now; it takes nothing. A node of a version
// that cannot tell leaves that to take.
func (l *legacy) mayTake(ctx context.Context, m *lockcluster.Migration) error {
	if err := l.ownership(ctx, m, methodMayTake); !errors.Is(err, lockcluster.ErrInvalid) {
		return err
	}
	return nil
}

// letGo gives a followed legacy system back to its Atlantis.
func (l *legacy) letGo(ctx context.Context, m *lockcluster.Migration) error {
	return l.ownership(ctx, m, methodLetGo)
}

func (l *legacy) ownership(ctx context.Context, m *lockcluster.Migration, method string) error {
	_, err := l.ask(ctx, m, method, nil)
	return err
}

// serveOwnership takes a followed legacy system, asks whether that could be taken, or
// lets it go; any other is the cluster's own.
func serveOwnership(ctx context.Context, b backends.Backend, method string) error {
	f, ok := b.(followed)
	switch {
	case !ok:
		return nil
	case method == methodTake:
		return f.Take(ctx)
	case method == methodMayTake:
		return f.MayTake(ctx)
	}
	return f.LetGo()
}
