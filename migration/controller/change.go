package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/migration"
)

// ErrRefused means that a change of the migration state was refused or given
// up; the state is what it was.
var ErrRefused = errors.New("refused")

// change is one change of the migration state, as it goes on.
type change struct {
	before, next lockcluster.Migration
	// authority is the system whose records count; the other is made equal.
	authority lockcluster.System
	// unverified leaves out what needs the legacy system.
	unverified bool
	reopened   bool // it was given up, and the state is what it was

	carried   int // records that were still to be copied when the gate closed
	gateSince time.Time
	gateTime  time.Duration
	after     lockcluster.Migration
}

// Steps are the points of a change, in order, at which tests stop a node.
var Steps = []string{"begin", "close", "drain", "fence", "copy", "verify", "commit", "committed", "open"}

// run makes the change: close the gate, drain, bring the mirror up, compare,
// commit, open. Until the commit any failure opens the gate again with nothing
// changed; a crash leaves it to the next leader to open. The caller is
// alone.
func (t *term) run(ctx context.Context, c *change) error {
	step("begin")
	defer t.noting.Store(false)
	if err := t.prepareOpen(ctx, c); err != nil {
		return err
	}
	closed, err := t.closeGate(ctx, c)
	if err == nil {
		err = t.prepare(ctx, c, &closed)
	}
	if err != nil {
		if c.before.Mode == lockcluster.ModeLegacy {
			t.toEnhanced.drop() // the enhanced system is left alone again
		}
		return errors.Join(err, t.reopen(&closed, c))
	}
	next := c.next
	next.GateClosed = false
	step("commit")
	c.after, err = t.setMigration(t.ctx, closed.Epoch, next)
	if err != nil {
		// Whether it happened is in the log: this leader finds out before it
		// opens the gate, or the next one does.
		if c.after, err = t.settled(closed.Epoch, err); err != nil {
			return errors.Join(err, t.reopen(&closed, c))
		}
	}
	step("committed")
	t.ready.Store(false)
	defer t.openGate(c)
	t.toEnhanced.drop()
	if err := t.alignAfter(ctx, c); err != nil {
		t.spawn(func() { t.realignAfter(0) })
		return nil // the change has happened; deciding waits until the systems are aligned
	}
	t.decideAgain(0)
	step("open")
	return nil
}

// alignAfter makes the new state ready to serve.
func (t *term) alignAfter(ctx context.Context, c *change) error {
	m := &c.after
	if m.Decides(m.Namespace) == lockcluster.SystemEnhanced {
		return nil
	}
	// What is copied is equal already: only the fence has to follow the epoch.
	if err := t.own(ctx, m); err != nil {
		return err
	}
	return t.learnTokens(ctx, m)
}

// settled finds out whether the state was replaced in spite of an error.
func (t *term) settled(epoch uint64, cause error) (lockcluster.Migration, error) {
	var m lockcluster.Migration
	for {
		err := t.c.node.Read(t.ctx, func(r state.Reader, _ uint64) { m = state.GetMigration(r) })
		switch {
		case err == nil && m.Epoch > epoch && !m.GateClosed:
			return m, nil
		case err == nil, t.ctx.Err() != nil:
			return m, cause
		}
		if !t.c.sleep(t.ctx, dutyPause) {
			return m, cause
		}
	}
}

// closeGate stops all requests of the namespace, on this node and in the log,
// and waits for those in flight.
func (t *term) closeGate(ctx context.Context, c *change) (lockcluster.Migration, error) {
	c.gateSince = time.Now()
	t.gate.shut()
	step("close")
	closed := c.before
	closed.GateClosed, closed.Reason = true, c.next.Reason
	closed, err := t.setMigration(ctx, c.before.Epoch, closed)
	if err != nil {
		return c.before, fmt.Errorf("close the gate: %w", err)
	}
	step("drain")
	if err := t.gate.drained(ctx); err != nil {
		return closed, fmt.Errorf("drain the requests in flight: %w", err)
	}
	return closed, nil
}

// prepare makes both systems equal, with the gate closed.
func (t *term) prepare(ctx context.Context, c *change, closed *lockcluster.Migration) error {
	if c.unverified && closed.Mode == lockcluster.ModeShadow {
		t.await(ctx, t.queue.idle()) // what was acknowledged and not shadowed yet
	}
	if c.unverified || c.next.Mode == lockcluster.ModeLegacy && c.authority == lockcluster.SystemLegacy && closed.Mode != lockcluster.ModeGradual {
		return t.mayAttach(ctx, closed) // the enhanced system is left alone
	}
	step("fence")
	// Nothing that was sent before counts any more.
	err := t.own(ctx, closed)
	switch {
	case errors.Is(err, migration.ErrFollowed) && c.next.Mode == lockcluster.ModeBlueGreen && c.next.Active == lockcluster.SystemLegacy:
		return nil // an Atlantis goes on deciding, and the enhanced system follows
	case errors.Is(err, migration.ErrFollowed):
		return fmt.Errorf("%w: %w; until then the only other mode is blue-green, in which this cluster holds a live copy", ErrRefused, err)
	case err != nil:
		return fmt.Errorf("fence the legacy system: %w", err)
	}
	if err := t.learnTokens(ctx, closed); err != nil {
		return err
	}
	if closed.Mode == lockcluster.ModeShadow {
		select {
		case <-t.queue.idle():
		case <-ctx.Done():
			return fmt.Errorf("finish shadowing: %w", ctx.Err())
		}
	}
	step("copy")
	c.carried = t.c.changed.size() + t.toEnhanced.size()
	if closed.Mode == lockcluster.ModeGradual {
		if err := t.alignGradual(ctx, closed); err != nil {
			return fmt.Errorf("bring both systems up: %w", err)
		}
		step("verify")
		return t.verify(ctx, closed)
	}
	into := c.authority.Other()
	if err := t.copyRest(ctx, closed, into); err != nil {
		return fmt.Errorf("bring the %s system up: %w", into, err)
	}
	step("verify")
	if err := t.verify(ctx, closed); !errors.Is(err, errDiffer) {
		return err
	}
	// The names of what has changed are not all: somebody else writes to the
	// legacy store, or this leader is new.
	if err := t.copyAll(ctx, closed, into); err != nil {
		return fmt.Errorf("bring the %s system up: %w", into, err)
	}
	return t.verify(ctx, closed)
}

// mayAttach takes a store that is about to be attached and to decide, as long as
// there is a way back: another cluster may have been faster.
func (t *term) mayAttach(ctx context.Context, closed *lockcluster.Migration) error {
	if closed.Mode != lockcluster.ModeEnhanced || closed.Legacy == "" {
		return nil
	}
	step("fence")
	if err := t.own(ctx, closed); err != nil && !errors.Is(err, migration.ErrFollowed) {
		return fmt.Errorf("%w: fence the legacy system: %w", ErrRefused, err)
	}
	return nil
}

// prepareOpen brings the target up while the gate is still open, so that it has
// to be closed only for what changes meanwhile.
func (t *term) prepareOpen(ctx context.Context, c *change) error {
	m := &c.before
	if c.unverified || m.Mode == lockcluster.ModeGradual || m.Mode == lockcluster.ModeShadow || m.Mode == lockcluster.ModeEnhanced ||
		c.next.Mode == lockcluster.ModeLegacy && c.authority == lockcluster.SystemLegacy {
		return nil
	}
	if m.Mode == lockcluster.ModeBlueGreen {
		t.await(ctx, t.c.changed.idle(), t.toEnhanced.idle())
		return nil
	}
	t.noting.Store(true) // from here on every change is named
	if err := t.copyAll(ctx, m, c.authority.Other()); err != nil {
		return fmt.Errorf("bring the %s system up: %w", c.authority.Other(), err)
	}
	return nil
}

// awaitMax bounds the wait for a mirror that is behind, before the gate closes.
const awaitMax = 2 * time.Second

func (t *term) await(ctx context.Context, idle ...<-chan struct{}) {
	timer := time.NewTimer(awaitMax)
	defer timer.Stop()
	for _, c := range idle {
		select {
		case <-c:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// copyRest copies what is known to have changed; the gate is closed.
func (t *term) copyRest(ctx context.Context, m *lockcluster.Migration, into lockcluster.System) error {
	d := t.c.changed
	if into == lockcluster.SystemEnhanced {
		d = t.toEnhanced
	}
	for {
		refs, whole := d.take(mirrorRecordsMax)
		if whole {
			err := t.copyAll(ctx, m, into)
			d.done(nil, true, err != nil)
			return err
		}
		if len(refs) == 0 {
			return nil
		}
		err := t.copyRecords(ctx, m, refs, into)
		d.done(refs, false, err != nil)
		if err != nil {
			return err
		}
	}
}

// errDiffer means that the two systems do not hold the same.
var errDiffer = fmt.Errorf("%w: the two systems differ", ErrRefused)

// verify compares what the two systems hold.
func (t *term) verify(ctx context.Context, m *lockcluster.Migration) error {
	mine, _ := t.c.node.StaleView()
	var a []byte
	var n int
	var wg sync.WaitGroup
	wg.Go(func() { a, n = state.ContentDigest(mine, m.Namespace) })
	b, k, err := t.c.legacy.digest(ctx, m)
	wg.Wait()
	if err != nil {
		return fmt.Errorf("read the legacy system back: %w", err)
	}
	if n != k || !bytes.Equal(a, b) {
		return fmt.Errorf("%w after everything was copied (%d records in the enhanced, %d in the legacy system); "+
			"look at \"lockcluster migration compare\"", errDiffer, n, k)
	}
	return nil
}

// reopen gives a change up. The next leader does it if this one cannot.
func (t *term) reopen(closed *lockcluster.Migration, c *change) error {
	c.gateTime = time.Since(c.gateSince)
	defer t.gate.open()
	m := t.c.Migration()
	if !m.GateClosed {
		return nil
	}
	ctx, cancel := context.WithTimeout(t.ctx, t.c.cfg.RequestTimeout)
	defer cancel()
	next := reopened(c.before, "a change of the migration state was given up")
	m, err := t.setMigration(ctx, max(m.Epoch, closed.Epoch), next)
	c.reopened = err == nil
	if err == nil && m.Decides(m.Namespace) != lockcluster.SystemEnhanced {
		if err = t.own(ctx, &m); errors.Is(err, migration.ErrFollowed) {
			return nil // its Atlantis goes on deciding
		}
	}
	if err != nil {
		t.ready.Store(false)
		t.spawn(t.reopenLater)
		return fmt.Errorf("open the gate again: %w (it is tried on)", err)
	}
	return nil
}

// reopened is m with its gate open. What was to be attached is not.
func reopened(m lockcluster.Migration, reason string) lockcluster.Migration {
	m.GateClosed, m.Reason = false, reason
	if m.Mode == lockcluster.ModeEnhanced {
		m.Legacy, m.LegacyHost = "", ""
	}
	return m
}

// reopenLater opens the gate again as soon as that can be done.
func (t *term) reopenLater() {
	for {
		if m := t.c.Migration(); !m.GateClosed {
			break
		}
		if t.inherited() || !t.c.sleep(t.ctx, dutyPause) {
			break
		}
	}
	t.realignAfter(0)
}

func (t *term) openGate(c *change) {
	c.gateTime = time.Since(c.gateSince)
	t.gate.open()
}
