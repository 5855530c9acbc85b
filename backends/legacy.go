package backends

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

const (
	queueMax    = 1024             // calls that may wait
	batchMax    = 64               // calls that are decided together
	waitDefault = 30 * time.Second // of a caller whose context has no deadline
)

// legacy is a [Backend] over a store: the lock rules over an image of it.
type legacy struct {
	kind, ns string
	store    store
	timeout  time.Duration
	shared   bool               // others may write to the store
	slot     func(place) uint16 // nil: any changes can be committed together
	mem      *state.Mem         // the image's records
	calls    chan *call         // to the worker
	closing  context.Context    //nolint:containedctx // ends the worker
	close    context.CancelFunc // of closing
	done     chan struct{}      // closed when the worker has ended
	failed   atomic.Pointer[brokenError]
	have     atomic.Pointer[string] // the store's id, as it was read last
	closed   sync.Once
	closeErr error

	// The rest is the worker's own.
	img    *image
	fence  Fence
	raised bool   // by this backend
	id     string // the store's, as it was asked for when the fence was raised
	stale  bool   // the image must be loaded before it is used
}

// call is something that the worker shall do.
type call struct {
	ctx    context.Context //nolint:containedctx // the caller's, for its deadline
	needs  needs
	fence  Fence
	now    time.Time
	req    lockcluster.Request // nil: no request
	raise  bool                // the fence
	claim  Claim               // with raise
	visit  func(*image)        // called when the needs are met
	strict bool                // refused with errUnsettled, see settle.go

	phase    atomic.Int32
	answer   chan answer // holds one
	res      lockcluster.Result
	err      error
	released []lockcluster.Lock // by earlier tries
}

type answer struct {
	res lockcluster.Result
	err error
}

// The phases of a call.
const (
	callWaits   = 0
	callTaken   = 1 // the worker has begun
	callDropped = 2 // the caller has gone
)

func newLegacy(kind, ns string, s store, timeout time.Duration) *legacy {
	b := &legacy{
		kind: kind, ns: ns, store: s, timeout: timeout, calls: make(chan *call, queueMax), done: make(chan struct{}),
		img: newImage(kind, ns, time.Now()), stale: true,
	}
	b.mem = b.img.mem
	b.have.Store(new(string))
	b.closing, b.close = context.WithCancel(context.Background())
	return b
}

// start loads the image, unless the store is shared and loaded when it is
// needed, and starts the worker.
func (b *legacy) start(ctx context.Context) error {
	if !b.shared {
		if err := b.freshen(ctx, needs{}); err != nil {
			b.close()
			return err
		}
	}
	go b.work()
	return nil
}

// Kind implements [Backend].
func (b *legacy) Kind() string { return b.kind }

// Do implements [Backend].
func (b *legacy) Do(ctx context.Context, f Fence, now time.Time, req lockcluster.Request) (lockcluster.Result, error) {
	if ns := namespaceOf(req); ns != b.ns {
		return lockcluster.Result{}, fmt.Errorf("%w: the legacy system covers namespace %q, the request %T is of %q", lockcluster.ErrInvalid, b.ns, req, ns)
	}
	return b.ask(ctx, &call{fence: f, now: now, req: req, needs: needsOf(req)})
}

// Raise implements [Backend].
func (b *legacy) Raise(ctx context.Context, f Fence) error {
	_, err := b.ask(ctx, &call{fence: f, raise: true, claim: Claim{ID: StoreOf(ctx)}})
	return err
}

// View implements [Backend].
func (b *legacy) View(ctx context.Context) (*state.View, error) {
	if !b.shared {
		return b.mem.View(), errors.Join(b.usable(), b.strange(ctx))
	}
	var view *state.View
	err := b.settled(ctx, "", needs{all: true}, func(m *image) { view = m.mem.View() })
	if err != nil {
		return nil, err
	}
	return view, nil
}

// Read implements [Backend].
func (b *legacy) Read(ctx context.Context, f func(r state.Reader)) error {
	if b.shared {
		r := &lazyReader{b: b, ctx: ctx}
		f(r)
		return r.err
	}
	if err := errors.Join(b.usable(), b.strange(ctx)); err != nil {
		return err
	}
	b.mem.Read(func(r state.Reader, _ uint64) { f(r) })
	return nil
}

// Unreadable implements [Inspector].
func (b *legacy) Unreadable(ctx context.Context) ([]Bad, error) {
	var all []Bad
	_, err := b.ask(ctx, &call{needs: needs{all: true}, visit: func(m *image) { all = m.unreadable() }})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Check implements [Backend].
func (b *legacy) Check(ctx context.Context) error {
	if err := b.usable(); err != nil {
		return err
	}
	id, err := b.store.check(ctx)
	if err != nil {
		return err
	}
	return Claim{ID: StoreOf(ctx)}.Refuses(id)
}

// usable returns why the backend is not, nil if it is.
func (b *legacy) usable() error {
	if err := b.failed.Load(); err != nil {
		return unavailable(fmt.Errorf("an earlier write failed (%w), and it is not used any more until it is opened again", err.cause))
	}
	if b.closing.Err() != nil {
		return lockcluster.ErrClosed
	}
	return nil
}

// Close implements [Backend].
func (b *legacy) Close() error {
	b.closed.Do(func() {
		b.close()
		<-b.done
		b.closeErr = b.store.close()
	})
	return b.closeErr
}

// ask hands c to the worker and waits for the answer, as long as ctx lasts.
func (b *legacy) ask(ctx context.Context, c *call) (lockcluster.Result, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, waitDefault)
		defer cancel()
	}
	c.ctx, c.answer = ctx, make(chan answer, 1)
	if err := b.usable(); err != nil {
		return lockcluster.Result{}, err
	}
	select {
	case b.calls <- c:
	default:
		return lockcluster.Result{}, fmt.Errorf("%w: %d requests wait for the legacy store", lockcluster.ErrOverloaded, queueMax)
	}
	select {
	case a := <-c.answer:
		return a.res, a.err
	case <-ctx.Done():
		if c.phase.CompareAndSwap(callWaits, callDropped) {
			return lockcluster.Result{}, unavailable(ctx.Err())
		}
		return lockcluster.Result{}, unknown(ctx.Err())
	case <-b.done:
		select { // it may have been the last one
		case a := <-c.answer:
			return a.res, a.err
		default:
			return lockcluster.Result{}, lockcluster.ErrClosed
		}
	}
}

func (c *call) done(res lockcluster.Result, err error) { c.answer <- answer{res, err} }

// work is the worker: it takes what waits, as one batch, until Close.
func (b *legacy) work() {
	defer close(b.done)
	for {
		select {
		case <-b.closing.Done():
			return
		case c := <-b.calls:
			b.process(b.batch(c))
		}
	}
}

// batch returns first and the calls that wait behind it.
func (b *legacy) batch(first *call) []*call {
	var all []*call
	add := func(c *call) {
		if c.phase.CompareAndSwap(callWaits, callTaken) {
			all = append(all, c)
		}
	}
	for add(first); len(all) < batchMax; {
		select {
		case c := <-b.calls:
			add(c)
		default:
			return all
		}
	}
	return all
}

// process answers calls in order. Those between two changes of the fence are
// decided together.
func (b *legacy) process(calls []*call) {
	for len(calls) > 0 {
		n := 0
		for n < len(calls) && !b.mustRaise(calls[n]) {
			n++
		}
		if n > 0 {
			b.together(calls[:n])
			calls = calls[n:]
			continue
		}
		first := calls[0]
		claim := first.claim
		if !first.raise {
			claim.ID = StoreOf(first.ctx)
		}
		err := b.raise(first.ctx, first.fence, claim)
		if first.raise || err != nil {
			first.done(lockcluster.Result{}, err)
			calls = calls[1:]
		}
	}
}

// mustRaise reports whether the store's fence is to be raised before c.
func (b *legacy) mustRaise(c *call) bool {
	if c.raise || c.req == nil {
		return c.raise
	}
	id := StoreOf(c.ctx)
	return !b.raised || b.fence.Less(c.fence) || id != "" && id != b.id
}

func (b *legacy) raise(ctx context.Context, f Fence, c Claim) error {
	if err := b.usable(); err != nil {
		return err
	}
	if b.raised && f.Less(b.fence) {
		return fenced(f, b.fence.String())
	}
	if err := b.store.raise(ctx, f, c); err != nil {
		return b.noted(err)
	}
	if b.fence, b.raised, b.id = f, true, c.ID; c.ID != "" {
		b.have.Store(&c.ID)
	}
	b.img.epoch = f.Epoch
	b.stale = b.stale || b.shared
	return nil
}

// fenced makes an [ErrFenced]; have is the store's fence.
func fenced(f Fence, have string) error {
	return fmt.Errorf("%w: the fence is %s, %s%s", ErrFenced, f, fencedHave, have)
}

// noted notes what an error of the store means for what comes.
func (b *legacy) noted(err error) error {
	var broken *brokenError
	if errors.As(err, &broken) {
		b.failed.CompareAndSwap(nil, broken)
	}
	if errors.Is(err, lockcluster.ErrOutcomeUnknown) || errors.Is(err, ErrOtherStore) {
		// Raising the fence anew keeps what is still under way from arriving.
		b.stale, b.raised = true, false
	}
	return err
}

// freshen makes the image what the store has now, as far as n asks.
func (b *legacy) freshen(ctx context.Context, n needs) error {
	var c content
	var err error
	switch {
	case b.stale || b.shared && n.all:
		if c, err = b.store.load(ctx); err != nil {
			return b.noted(err)
		}
		b.stale = false
		b.have.Store(&c.id)
		b.img.replace(c)
	case b.shared:
		if c, err = b.store.fetch(ctx, b.img.related(n.places)); err != nil {
			return b.noted(err)
		}
		b.have.Store(&c.id)
		b.img.update(c.entries, c.tokens)
	}
	if b.raised && b.fence.Less(c.fence) {
		return fenced(b.fence, c.fence.String())
	}
	return nil
}
