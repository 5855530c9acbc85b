package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/migration"
)

// The systems of a legacy kind.
const (
	KindBoltDB = "boltdb"
	KindRedis  = "redis"
)

// Node is the replicated state machine as the controller needs it. A node of
// package cluster is one.
type Node interface {
	Do(ctx context.Context, id lockcluster.RequestID, req lockcluster.Request) (lockcluster.Result, error)
	Read(ctx context.Context, f func(r state.Reader, index uint64)) error
	View(ctx context.Context) (*state.View, error)
	StaleView() (*state.View, time.Duration)
	StaleRead(f func(r state.Reader, index uint64))
	// Leader returns the id and gRPC address of the leader, empty when not known.
	Leader() (id, grpcAddr string)
	// Leading returns the term in which this node may serve as leader, 0 when it
	// may not, a context that ends with that, and a channel that is closed when
	// any of this may have changed.
	Leading() (term uint64, ended context.Context, changed <-chan struct{})
	// Address returns the gRPC address of a node, empty when not known.
	Address(id string) string
	// Size returns how many nodes the cluster has.
	Size() int
}

// Calls reaches the controllers of other nodes.
type Calls interface {
	Call(ctx context.Context, addr, method string, body []byte) ([]byte, error)
}

// Observer is told about every decided request.
type Observer interface {
	Observe(system lockcluster.System, operation string, d time.Duration, failed bool)
}

// Metrics is told how the migration goes on.
type Metrics interface {
	ShadowDivergence(operation string)
	GateClosed(d time.Duration)
	SetState(m lockcluster.Migration)
	MirrorPending(n int)
	ShadowOperations(n int)
	// LegacyRefused says whether the legacy store is another one than the attached.
	LegacyRefused(is bool)
}

// Attached is the legacy system that this node was configured with.
type Attached struct {
	Kind string // KindBoltDB or KindRedis
	// Open opens the system. The controller calls it when it first needs it, and
	// again after the system was lost.
	Open func(ctx context.Context) (backends.Backend, error)
	// Namespace is what the legacy system covers.
	Namespace string
}

// Config is what a controller needs to know.
type Config struct {
	NodeID   string
	Node     Node
	Calls    Calls
	Attached *Attached // nil: none on this node
	// Settings are the replicated settings that a new cluster starts with.
	Settings map[string]string
	Observer Observer // this node's metrics; nil: nobody is told
	Window   Observer // on the leader, what happens on all nodes; nil: nobody is told
	Metrics  Metrics  // nil: nobody is told
	// Health returns, as JSON, the figures that go with a status; may be nil.
	Health func() json.RawMessage
	Settle func(namespace string, space lockcluster.Space, key string) // told of what the legacy system grants
	Logger *slog.Logger

	// RequestTimeout bounds a call whose context has no deadline (10 s).
	RequestTimeout time.Duration
	// MismatchesMax bounds the log of divergences (1000).
	MismatchesMax int
}

// Controller routes requests between the two systems. Use [Open].
type Controller struct {
	cfg    Config
	node   Node
	log    *slog.Logger
	legacy *legacy

	state atomic.Pointer[lockcluster.Migration] // as of the newest applied entry
	movMu sync.Mutex                            // guards moved
	moved chan struct{}                         // closed when state changes

	termMu sync.Mutex // guards term
	term   *term      // while this node leads and is ready, else nil

	toldMu sync.Mutex // guards told
	told   string     // the last warning that was told once

	shadow  *shadowLog
	history changeHistory
	founded atomic.Bool // see found.go; it never becomes false again
	changed *dirty      // what the log has changed: the legacy mirror's work
	samples samples

	ctx    context.Context // ends when the controller closes
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// errNotReady means that this node is not, or not yet, the leader that decides.
var errNotReady = errors.New("the leader does not decide yet")

// Open returns a controller. The node's hooks must be given to
// [Controller.NoteMigration] and [Controller.NoteChanges], which is why it
// starts nothing: see [Controller.Start].
func Open(cfg Config) *Controller {
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = 10 * time.Second
	}
	if cfg.MismatchesMax == 0 {
		cfg.MismatchesMax = 1000
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Settle == nil {
		cfg.Settle = func(string, lockcluster.Space, string) {}
	}
	c := &Controller{
		cfg: cfg, log: cfg.Logger.With("node_id", cfg.NodeID), moved: make(chan struct{}),
		changed: newDirty(), shadow: newShadowLog(cfg.MismatchesMax),
	}
	c.legacy = &legacy{c: c}
	if cfg.Metrics != nil {
		c.shadow.told, c.history.told = cfg.Metrics.ShadowDivergence, cfg.Metrics.GateClosed
	}
	c.state.Store(&lockcluster.Migration{Mode: lockcluster.ModeEnhanced, Active: lockcluster.SystemEnhanced})
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Start lets the controller work on node, which it did not know before.
func (c *Controller) Start(node Node) {
	c.node = node
	node.StaleRead(func(r state.Reader, _ uint64) { c.NoteMigration(state.GetMigration(r)) })
	c.wg.Go(c.watch)
	c.wg.Go(c.report)
}

// Close ends the controller's work and closes the legacy system.
func (c *Controller) Close() error {
	c.cancel()
	c.wg.Wait()
	return c.legacy.close()
}

// NoteMigration is the node's hook: the log has changed the migration state.
func (c *Controller) NoteMigration(m lockcluster.Migration) {
	c.movMu.Lock()
	defer c.movMu.Unlock()
	c.state.Store(&m)
	close(c.moved)
	c.moved = make(chan struct{})
	if c.cfg.Metrics != nil {
		c.cfg.Metrics.SetState(m)
	}
}

// NoteChanges is the node's hook: the log has changed these records.
func (c *Controller) NoteChanges(_ uint64, refs []lockcluster.RecordRef) {
	m := c.state.Load()
	if m.Mode != lockcluster.ModeGradual && (m.Mode != lockcluster.ModeBlueGreen || m.Active != lockcluster.SystemEnhanced) {
		return
	}
	if c.currentTerm() == nil {
		return // a new leader compares everything
	}
	mine := refs[:0:0]
	for _, ref := range refs {
		if ref.Namespace == m.Namespace {
			mine = append(mine, ref)
		}
	}
	c.changed.add(mine...)
}

// NoteRestored is the node's hook: a snapshot has replaced the state. If that was
// a restore, what this leader knew of the mirror is void.
func (c *Controller) NoteRestored() {
	if t := c.currentTerm(); t != nil {
		t.takeOverAgain()
	}
}

// Migration returns the migration state as of the newest entry this node has
// applied.
func (c *Controller) Migration() lockcluster.Migration { return *c.state.Load() }

// changedState returns the migration state and a channel that is closed when
// it changes.
func (c *Controller) changedState() (*lockcluster.Migration, <-chan struct{}) {
	c.movMu.Lock()
	defer c.movMu.Unlock()
	return c.state.Load(), c.moved
}

// Leader returns the id and gRPC address of the leader, empty when not known.
func (c *Controller) Leader() (id, grpcAddr string) { return c.node.Leader() }

// StaleView returns this node's own state of the enhanced system.
func (c *Controller) StaleView() (view *state.View, age time.Duration) { return c.node.StaleView() }

// Do has req decided by the system that decides about it now. It waits, until
// ctx ends, while the gate is closed, no leader is known or the legacy system
// cannot be reached. Errors are those of a node of package cluster.
func (c *Controller) Do(ctx context.Context, id lockcluster.RequestID, req lockcluster.Request) (lockcluster.Result, error) {
	ns := lockcluster.NamespaceOf(req)
	if ns != "" && !c.isFounded() {
		if err := c.awaitFounded(ctx); err != nil {
			return lockcluster.Result{}, err
		}
	}
	if m := c.state.Load(); m.Mode == lockcluster.ModeEnhanced || ns == "" {
		start := time.Now()
		res, err := c.node.Do(ctx, id, req)
		if err != nil || res.Status != lockcluster.StatusNotActive && res.Status != lockcluster.StatusPinned {
			c.observe(lockcluster.SystemEnhanced, req, start, err)
			return res, err
		}
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.cfg.RequestTimeout)
		defer cancel()
	}
	return c.route(ctx, id, req, ns)
}

// retryPause is between two tries while nothing tells that one would succeed.
const retryPause = 20 * time.Millisecond

// route tries until somebody has decided.
func (c *Controller) route(ctx context.Context, id lockcluster.RequestID, req lockcluster.Request, ns string) (lockcluster.Result, error) {
	if err := state.Validate(req); err != nil {
		return lockcluster.Result{}, err
	}
	start := time.Now()
	why := errors.New("the gate is closed: a switch is under way")
	var p pinned
	for {
		m, moved := c.changedState()
		if !m.GateClosed || ns != m.Namespace {
			res, err := c.tryPinned(ctx, m, id, req, &p)
			switch {
			case err == nil && res.Status == lockcluster.StatusPinned: // by an earlier call
				p = pinTo(req, res)
				p.tries++
				continue
			case err == nil && res.Status != lockcluster.StatusNotActive:
				answer, again, err := p.answer(req, res)
				if !again {
					return answer, err
				}
				p, id = pinned{released: answer.Locks}, lockcluster.RequestID{}
				continue
			case err != nil && (!retryable(err) || errors.Is(err, errOnce)):
				if c.failed(m, req, start, err); errors.Is(why, lockcluster.ErrOutcomeUnknown) {
					err = why // an earlier try may have been carried out
				}
				return res, err
			case err != nil:
				why = err
			default:
				why = errors.New(res.Text)
			}
		}
		timer := time.NewTimer(retryPause)
		select {
		case <-moved:
			timer.Stop()
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			c.failed(m, req, start, why)
			if errors.Is(why, lockcluster.ErrOutcomeUnknown) {
				return lockcluster.Result{}, why
			}
			return lockcluster.Result{}, fmt.Errorf("%w: %w", lockcluster.ErrNoLeader, why)
		}
	}
}

// errOnce is what is told of a transaction that is too large to be tried again
// safely.
var errOnce = fmt.Errorf("%w: the transaction has too many requests to tell whether it was done", lockcluster.ErrOutcomeUnknown)

// tryPinned pins req if need be, and asks once. What is pinned goes without the
// client's id: under that is what it was pinned to.
func (c *Controller) tryPinned(ctx context.Context, m *lockcluster.Migration, id lockcluster.RequestID, req lockcluster.Request, p *pinned) (res lockcluster.Result, err error) {
	if !p.by {
		now, answer, err := c.pin(ctx, m, id, req)
		if err != nil || answer.Status != 0 {
			return answer, err
		}
		now.tries += p.tries
		now.released = p.released
		*p = now
	}
	if p.by {
		id = lockcluster.RequestID{}
	}
	if p.once && p.tries > 0 {
		return res, errOnce
	}
	res, err = c.try(ctx, m, id, p.req)
	if err == nil && res.Status != lockcluster.StatusNotActive || err != nil && !errors.Is(err, errNotReady) {
		p.tries++
	}
	return res, err
}

// try asks once whoever decides by m.
func (c *Controller) try(ctx context.Context, m *lockcluster.Migration, id lockcluster.RequestID, req lockcluster.Request) (lockcluster.Result, error) {
	if m.Decides(lockcluster.NamespaceOf(req)) == lockcluster.SystemEnhanced {
		start := time.Now()
		res, err := c.node.Do(ctx, id, req)
		if err == nil && res.Status != lockcluster.StatusNotActive {
			c.observe(lockcluster.SystemEnhanced, req, start, nil)
		}
		return res, err
	}
	if t := c.currentTerm(); t != nil {
		return t.decide(ctx, id, req)
	}
	leader, addr := c.node.Leader()
	if addr == "" || leader == c.cfg.NodeID {
		return lockcluster.Result{}, errNotReady
	}
	return c.callDecide(ctx, addr, id, req)
}

// retryable tells the errors after which another try may succeed. A legacy
// system judges a repeated request anew; that is harmless: who holds a lock is
// told that it holds it, and what removes or replaces a record names the one
// that it means (pin.go).
func retryable(err error) bool {
	return errors.Is(err, errNotReady) || errors.Is(err, backends.ErrFenced) || errors.Is(err, backends.ErrUnavailable) ||
		errors.Is(err, lockcluster.ErrNoLeader) || errors.Is(err, lockcluster.ErrOutcomeUnknown)
}

// failed observes a request that nobody has decided, once, whatever number of
// tries it had. Bad input is no failure of a system.
func (c *Controller) failed(m *lockcluster.Migration, req lockcluster.Request, start time.Time, err error) {
	if errors.Is(err, lockcluster.ErrInvalid) || m.GateClosed {
		return
	}
	s := m.Decides(lockcluster.NamespaceOf(req))
	if s == 0 {
		s = lockcluster.SystemEnhanced
	}
	c.observe(s, req, start, err)
}

func (c *Controller) observe(s lockcluster.System, req lockcluster.Request, start time.Time, err error) {
	if c.cfg.Observer == nil {
		return
	}
	d, op := time.Since(start), migration.OperationOf(req)
	c.cfg.Observer.Observe(s, op, d, err != nil)
	if m := c.state.Load(); m.Legacy != "" && c.cfg.Window != nil {
		if c.currentTerm() != nil {
			c.cfg.Window.Observe(s, op, d, err != nil)
		} else {
			c.samples.add(sample{System: s, Operation: op, Duration: d, Failed: err != nil})
		}
	}
}
