package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/fsm/state"
)

const (
	// legacyTimeout bounds one operation of the legacy system. It does not end
	// with its client: half an operation would have to be found out about.
	legacyTimeout = 5 * time.Second
	dutyPause     = 100 * time.Millisecond
)

// term is the controller of the leader, for as long as it leads.
type term struct {
	c      *Controller
	number uint64
	ctx    context.Context        //nolint:containedctx // the life of the leadership
	ready  atomic.Bool            // the legacy system is fenced and compared: this node may decide
	why    atomic.Pointer[string] // why not, if it is not ready
	noting atomic.Bool            // ModeLegacy: note what changes, for the switch that begins

	claimMu sync.Mutex             // held while the store is claimed
	strange atomic.Pointer[string] // why the store is not used: it is another one than the attached

	gate       gate
	stripes    stripes
	toEnhanced *dirty // what the legacy system has changed: the enhanced mirror's work
	queue      *shadowQueue
	changing   chan struct{} // holds one token while the migration state is changed
	turns      atomic.Int32  // changes of the migration state that go on or wait for their turn
	wg         sync.WaitGroup
	doubtMu    sync.Mutex // guards doubts
	doubts     int        // since takeOverAgain is at work; 0: it is not
	spawnMu    sync.Mutex // guards ended
	ended      bool       // no more goroutines
}

func (c *Controller) currentTerm() *term {
	c.termMu.Lock()
	defer c.termMu.Unlock()
	return c.term
}

func (c *Controller) setTerm(t *term) {
	c.termMu.Lock()
	defer c.termMu.Unlock()
	c.term = t
}

// watch serves as leader whenever the node is one.
func (c *Controller) watch() {
	if c.cfg.Attached != nil || len(c.cfg.Settings) > 0 {
		c.wg.Go(c.attach)
	}
	if c.cfg.Attached != nil {
		c.wg.Go(c.hold)
	}
	for {
		number, ended, changed := c.node.Leading()
		if number != 0 {
			c.serveTerm(ended, number)
		}
		select {
		case <-changed:
		case <-ended.Done():
		case <-c.ctx.Done():
			return
		}
	}
}

// serveTerm works until this node no longer leads.
func (c *Controller) serveTerm(ended context.Context, number uint64) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	defer context.AfterFunc(ended, cancel)()
	t := &term{c: c, number: number, ctx: ctx, toEnhanced: newDirty(), queue: newShadowQueue(), changing: make(chan struct{}, 1)}
	c.changed.drop()
	c.setTerm(t)
	defer c.setTerm(nil)
	t.spawn(t.mirrorToLegacy)
	t.spawn(t.mirrorToEnhanced)
	t.spawn(t.runShadow)
	t.spawn(t.followLegacy)
	t.spawn(t.keepOpen)
	t.spawn(func() { t.takeOver(0) })
	<-ctx.Done()
	t.tellStrange()
	t.spawnMu.Lock()
	t.ended = true
	t.spawnMu.Unlock()
	t.wg.Wait()
}

// spawn runs f as a part of the term, unless that is over.
func (t *term) spawn(f func()) {
	t.spawnMu.Lock()
	defer t.spawnMu.Unlock()
	if !t.ended {
		t.wg.Go(f)
	}
}

// alone lets one change of the migration state at a time go on; done must
// follow.
func (t *term) alone(ctx context.Context) (done func(), err error) {
	t.turns.Add(1)
	select {
	case t.changing <- struct{}{}:
		return func() {
			<-t.changing
			t.turns.Add(-1)
		}, nil
	case <-ctx.Done():
		err = fmt.Errorf("%w: another change of the migration state is under way; try again in a moment", ErrRefused)
	case <-t.ctx.Done():
		err = errNotReady
	}
	t.turns.Add(-1)
	return nil, err
}

// align fences the legacy system and brings the mirrors up, as m's mode needs
// before anything may be decided.
func (t *term) align(ctx context.Context, m *lockcluster.Migration) error {
	if m.Decides(m.Namespace) == lockcluster.SystemEnhanced {
		if m.Mode == lockcluster.ModeBlueGreen {
			t.c.changed.addAll() // in the background: the legacy system decides nothing
		}
		return nil
	}
	if t.c.setting(settingTaken) != "" {
		if err := t.c.legacy.take(ctx, m); err != nil {
			return err
		}
	}
	if err := t.own(ctx, m); err != nil {
		return fmt.Errorf("fence the legacy system: %w", err)
	}
	if err := t.learnTokens(ctx, m); err != nil {
		return err
	}
	switch m.Mode {
	case lockcluster.ModeShadow:
		return t.copyAll(ctx, m, lockcluster.SystemEnhanced)
	case lockcluster.ModeBlueGreen:
		t.toEnhanced.addAll()
	case lockcluster.ModeGradual:
		return t.alignGradual(ctx, m)
	}
	return nil
}

// setMigration replaces the migration state if its epoch is still expected, and
// returns the new one. An unknown outcome is found out, as long as ctx lasts.
func (t *term) setMigration(ctx context.Context, expected uint64, next lockcluster.Migration) (lockcluster.Migration, error) {
	return t.propose(ctx, lockcluster.SetMigration{ExpectedEpoch: expected, Next: next})
}

func (t *term) propose(ctx context.Context, req lockcluster.SetMigration) (lockcluster.Migration, error) {
	res, err := t.c.node.Do(ctx, lockcluster.RequestID{}, req)
	switch {
	case err != nil:
		return lockcluster.Migration{}, err
	case res.Status == lockcluster.StatusInvalid:
		return lockcluster.Migration{}, fmt.Errorf("%w: %s", ErrRefused, res.Text)
	case res.Status != lockcluster.StatusApplied:
		return lockcluster.Migration{}, fmt.Errorf("%w: the migration state was changed by somebody else: %s", ErrRefused, res.Text)
	}
	var m lockcluster.Migration
	t.c.node.StaleRead(func(r state.Reader, _ uint64) { m = state.GetMigration(r) })
	if m.Epoch != res.Token.Epoch {
		return lockcluster.Migration{}, fmt.Errorf("%w: the migration state was changed again", ErrRefused)
	}
	return m, nil
}

// decide has req decided by the system that decides about it now. Only the
// leader may.
func (t *term) decide(ctx context.Context, id lockcluster.RequestID, req lockcluster.Request) (lockcluster.Result, error) {
	if err := t.gate.enter(ctx); err != nil {
		return lockcluster.Result{}, fmt.Errorf("%w: the gate is closed: a switch is under way", lockcluster.ErrNoLeader)
	}
	defer t.gate.leave()
	m := t.c.Migration()
	if t.ready.Load() && !m.GateClosed && m.Decides(lockcluster.NamespaceOf(req)) != lockcluster.SystemEnhanced {
		if res, err := t.c.remembered(id, req); res != nil || err != nil {
			return *cmp.Or(res, &lockcluster.Result{}), err
		}
	}
	switch {
	case m.GateClosed || t.ctx.Err() != nil:
		return lockcluster.Result{}, errNotReady
	case !t.ready.Load() && t.strange.Load() != nil && m.Decides(lockcluster.NamespaceOf(req)) != lockcluster.SystemEnhanced:
		return lockcluster.Result{}, t.strangeErr()
	case !t.ready.Load():
		if why := t.why.Load(); why != nil {
			return lockcluster.Result{}, fmt.Errorf("%w: %s", errNotReady, *why)
		}
		return lockcluster.Result{}, errNotReady
	case m.Decides(lockcluster.NamespaceOf(req)) == lockcluster.SystemLegacy:
		res, err := t.decideLegacy(&m, req)
		t.doubtStore(&m, err)
		return res, err
	case m.Decides(lockcluster.NamespaceOf(req)) == 0:
		res, err := t.decideGradual(&m, id, req)
		t.doubtStore(&m, err)
		return res, err
	}
	// Decided by the log; the caller's picture of the state is behind.
	return t.c.node.Do(ctx, id, req)
}

// decideLegacy lets the legacy system decide.
func (t *term) decideLegacy(m *lockcluster.Migration, req lockcluster.Request) (lockcluster.Result, error) {
	if m.Mode == lockcluster.ModeShadow {
		// Operations on one thing are shadowed in the order they were decided.
		defer t.stripes.lock(stripesOf(req))()
	}
	res, err := t.askLegacy(m, req)
	switch m.Mode {
	case lockcluster.ModeShadow:
		t.shadow(m, req, res, err)
	case lockcluster.ModeLegacy:
		if t.noting.Load() {
			t.note(req, &res, err)
		}
	case lockcluster.ModeBlueGreen:
		t.note(req, &res, err)
	}
	return res, err
}

// note tells the enhanced system's mirror what the legacy system has changed.
func (t *term) note(req lockcluster.Request, res *lockcluster.Result, err error) {
	if err != nil {
		t.toEnhanced.addAll() // it may have been done
		return
	}
	t.toEnhanced.add(changedBy(req, res)...)
}

// askLegacy has the legacy system decide req; its end does not depend on the
// client's patience.
func (t *term) askLegacy(m *lockcluster.Migration, req lockcluster.Request) (lockcluster.Result, error) {
	ctx, cancel := context.WithTimeout(t.ctx, legacyTimeout)
	defer cancel()
	start := time.Now()
	res, err := t.c.legacy.do(ctx, m, t.fence(m), req)
	if err != nil && !errors.Is(err, backends.ErrFenced) && !errors.Is(err, backends.ErrOtherStore) && !t.c.legacy.here(m) {
		// The call may still be on its way: under the next epoch it is refused.
		t.takeOverAgain()
	}
	if _, mirror := req.(lockcluster.Mirror); !mirror && err == nil {
		if r, ok := req.(lockcluster.Routed); ok {
			req = r.Request
		}
		t.c.observe(lockcluster.SystemLegacy, req, start, nil) // failures are the caller's to count
	}
	if err == nil {
		t.settle(&res)
	}
	return res, err
}

// settle tells those that wait for a lock that it was taken.
func (t *term) settle(res *lockcluster.Result) {
	switch {
	case len(res.Results) > 0:
		for i := range res.Results {
			t.settle(&res.Results[i])
		}
	case res.Status != lockcluster.StatusGranted:
	case res.Lock != nil:
		t.c.cfg.Settle(res.Lock.Key.Namespace, lockcluster.SpaceLock, res.Lock.Key.Text())
	case res.CommandLock != nil:
		t.c.cfg.Settle(res.CommandLock.Namespace, lockcluster.SpaceCommand, res.CommandLock.Name)
	}
}

// warn logs a failed duty, unless the term is over.
func (t *term) warn(msg string, err error) {
	if t.ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		t.c.log.Warn(msg, "err", err) //nolint:sloglint // the callers give constants
	}
}

// warnOnce is warn for a duty that is tried again and again: the same reason is
// told once.
func (t *term) warnOnce(msg string, err error) {
	text := msg + err.Error()
	t.c.toldMu.Lock()
	told := t.c.told == text
	t.c.told = text
	t.c.toldMu.Unlock()
	if !told {
		t.warn(msg, err)
	}
}

// sleep waits for d; false means that ctx or the controller ended.
func (c *Controller) sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-c.ctx.Done():
		return false
	}
}

// attach makes a new, empty cluster begin with the legacy system and the
// settings of this node. A cluster that holds locks is never changed by a
// configuration: that takes an administrator (cluster mode).
func (c *Controller) attach() {
	req := attachRequest{Settings: c.cfg.Settings}
	if c.cfg.Attached != nil {
		req.Kind, req.Host, req.Namespace = c.cfg.Attached.Kind, c.attachedHost(), c.cfg.Attached.Namespace
	}
	told := false
	for {
		ctx, cancel := context.WithTimeout(c.ctx, c.cfg.RequestTimeout)
		_, err := c.control(ctx, controlRequest{Attach: &req})
		cancel()
		switch {
		case err == nil:
			return
		case errors.Is(err, ErrRefused):
			c.log.Warn("the legacy system of this node was not attached by itself: the cluster holds locks, or was detached from one before",
				"advice", "to let the legacy system decide: lockcluster cluster mode legacy --authority legacy", "err", err)
			return
		case !told && !errors.Is(err, lockcluster.ErrNoLeader):
			c.log.Warn("the legacy system is not attached yet", "err", err)
			told = true
		}
		if !c.sleep(c.ctx, dutyPause) {
			return
		}
	}
}

// attachedHost is the node that has the legacy system: this one for a file,
// none in particular for a Redis.
func (c *Controller) attachedHost() string {
	if c.cfg.Attached.Kind == KindBoltDB {
		return c.cfg.NodeID
	}
	return ""
}

// Leads reports whether this node's controller is the leader's, and decides.
func (c *Controller) Leads() bool {
	t := c.currentTerm()
	return t != nil && t.ready.Load()
}

// Divergences returns how many differences between the systems this node has
// found as leader.
func (c *Controller) Divergences() uint64 { return c.shadow.counts().Total }
