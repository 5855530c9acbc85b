package controller

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/migration"
)

const (
	// A mirror request is one log entry, or one transaction of a legacy store.
	mirrorRecordsMax = 200
	mirrorBytesMax   = 192 << 10
	mirrorRetry      = 200 * time.Millisecond
)

// errMoved means that the migration state has changed, so that a copy is
// nobody's business any more.
var errMoved = errors.New("the migration state has changed")

// mirrorToLegacy keeps the legacy system a copy of what the log decides.
func (t *term) mirrorToLegacy() {
	t.work(t.c.changed, lockcluster.SystemLegacy)
}

// mirrorToEnhanced keeps the enhanced system a copy of what the legacy system
// decides.
func (t *term) mirrorToEnhanced() {
	t.work(t.toEnhanced, lockcluster.SystemEnhanced)
}

// work brings a mirror up whenever something has changed.
func (t *term) work(d *dirty, into lockcluster.System) {
	for {
		select {
		case <-d.kick:
		case <-t.ctx.Done():
			return
		}
		for t.ctx.Err() == nil && t.mirrors(into) {
			if t.c.Migration().GateClosed {
				t.c.sleep(t.ctx, retryPause) // the change that has closed it copies what is left
				continue
			}
			refs, whole := d.take(mirrorRecordsMax)
			if len(refs) == 0 && !whole {
				break
			}
			err := t.bringUp(refs, whole, into)
			m := t.c.Migration()
			t.doubtStore(&m, err)
			if err == nil && into == lockcluster.SystemLegacy && m.Mode == lockcluster.ModeBlueGreen {
				t.noteStrange(&m, nil)
			}
			// What was sent under an epoch that is over is sent again.
			d.done(refs, whole, err != nil && t.mirrors(into))
			if err != nil && !errors.Is(err, errMoved) {
				t.warnOnce("the mirror is behind", err)
				t.c.sleep(t.ctx, mirrorRetry)
			}
		}
	}
}

// mirrors reports whether a system is the mirror of the other one now.
func (t *term) mirrors(into lockcluster.System) bool {
	m := t.c.Migration()
	if m.Mode == lockcluster.ModeGradual {
		return into == lockcluster.SystemLegacy
	}
	return m.Mode == lockcluster.ModeBlueGreen && m.Active == into.Other()
}

// bringUp copies what has changed into a mirror.
func (t *term) bringUp(refs []lockcluster.RecordRef, whole bool, into lockcluster.System) error {
	ctx, cancel := context.WithTimeout(t.ctx, 4*legacyTimeout)
	defer cancel()
	m := t.c.Migration()
	if err := t.strangeErr(); err != nil && into == lockcluster.SystemEnhanced {
		return err // an emptied store is no source
	}
	switch {
	case m.GateClosed:
		// Requests that were in flight when the gate closed may still be decided:
		// what is read now could be sent after the two systems were compared.
		return errMoved
	case m.Mode == lockcluster.ModeGradual && into == lockcluster.SystemLegacy:
		if whole {
			return t.alignGradual(ctx, &m)
		}
		return t.copyHomed(ctx, &m, refs)
	case m.Mode != lockcluster.ModeBlueGreen || m.Active == into:
		return errMoved
	}
	if into == lockcluster.SystemLegacy && t.c.storeID() == "" {
		// Attached before there were ids. A file that is followed is taken by the copy.
		if err := t.own(ctx, &m); err != nil && !errors.Is(err, migration.ErrFollowed) {
			return err
		}
	}
	switch {
	case whole:
		return t.copyAll(ctx, &m, into)
	}
	return t.copyRecords(ctx, &m, refs, into)
}

// copyRecords copies records, by name, from one system into the other.
func (t *term) copyRecords(ctx context.Context, m *lockcluster.Migration, refs []lockcluster.RecordRef, into lockcluster.System) error {
	var b batch
	if err := t.readFrom(ctx, m, into.Other(), func(r state.Reader) {
		for _, ref := range refs {
			b.read(r, ref)
		}
	}); err != nil {
		return err
	}
	return t.send(ctx, m, into, &b)
}

// copyAll makes everything in one system what it is in the other.
func (t *term) copyAll(ctx context.Context, m *lockcluster.Migration, into lockcluster.System) error {
	from, err := t.viewOf(ctx, m, into.Other())
	if err != nil {
		return err
	}
	to, err := t.viewOf(ctx, m, into)
	if err != nil {
		return err
	}
	b := difference(from, to, m.Namespace)
	return t.send(ctx, m, into, b)
}

// readFrom reads records of one system as they are now. The enhanced system is
// this node's state: it has applied what it decided as leader.
func (t *term) readFrom(ctx context.Context, m *lockcluster.Migration, s lockcluster.System, f func(r state.Reader)) error {
	if s == lockcluster.SystemLegacy {
		return t.c.legacy.read(ctx, m, f)
	}
	t.c.node.StaleRead(func(r state.Reader, _ uint64) { f(r) })
	return nil
}

func (t *term) viewOf(ctx context.Context, m *lockcluster.Migration, s lockcluster.System) (*state.View, error) {
	if s == lockcluster.SystemLegacy {
		return t.c.legacy.view(ctx, m)
	}
	view, _ := t.c.node.StaleView()
	return view, nil
}

// send has a system take over the records of b.
func (t *term) send(ctx context.Context, m *lockcluster.Migration, into lockcluster.System, b *batch) error {
	for {
		req, ok := b.next(m)
		if !ok {
			return nil
		}
		var res lockcluster.Result
		var err error
		if into == lockcluster.SystemLegacy {
			res, err = t.askLegacy(m, req)
		} else {
			res, err = t.c.node.Do(ctx, lockcluster.RequestID{}, req)
		}
		switch {
		case err != nil:
			return fmt.Errorf("copy %d records into the %s system: %w", b.sent, into, err)
		case res.Status == lockcluster.StatusIgnored:
			return errMoved
		case res.Status != lockcluster.StatusApplied:
			return fmt.Errorf("the %s system cannot take over a copy: %s %s", into, res.Status, res.Text)
		}
		if into == lockcluster.SystemEnhanced {
			t.followEpoch(m)
		}
	}
}

// followEpoch takes over an epoch that was raised by a copy: a legacy store that
// served another cluster may have tokens of higher epochs.
func (t *term) followEpoch(m *lockcluster.Migration) {
	now := t.c.Migration()
	if now.Epoch > m.Epoch && now.Mode == m.Mode && now.Active == m.Active && now.GateClosed == m.GateClosed && now.ChangedAt.Equal(m.ChangedAt) {
		m.Epoch = now.Epoch
	}
}

// batch is records on their way into a mirror.
type batch struct {
	deletes   []lockcluster.RecordRef
	locks     []lockcluster.Lock
	commands  []lockcluster.CommandLock
	documents []lockcluster.Document
	token     lockcluster.Token // goes with each request
	tokenOnly bool              // goes without a record, too
	sent      int
	seen      map[lockcluster.RecordRef]bool // what was read: a copy names a record once
}

func (b *batch) size() int {
	return len(b.deletes) + len(b.locks) + len(b.commands) + len(b.documents)
}

// read puts the record that ref names into b, or its absence.
func (b *batch) read(r state.Reader, ref lockcluster.RecordRef) {
	if b.seen[ref] {
		return
	}
	if b.seen == nil {
		b.seen = map[lockcluster.RecordRef]bool{}
	}
	b.seen[ref] = true
	switch ref.Space {
	case lockcluster.SpaceLock:
		if l := state.GetLock(r, ref.Namespace, ref.Key); l != nil {
			b.locks = append(b.locks, *l)
			return
		}
	case lockcluster.SpaceCommand:
		if l := state.GetCommandLock(r, ref.Namespace, ref.Key); l != nil {
			b.commands = append(b.commands, *l)
			return
		}
	case lockcluster.SpaceDocument:
		if d := state.GetDocument(r, ref.Namespace, ref.Key); d != nil {
			b.documents = append(b.documents, *d)
			return
		}
	}
	b.deletes = append(b.deletes, ref)
}

// next cuts a request off b.
func (b *batch) next(m *lockcluster.Migration) (lockcluster.Mirror, bool) {
	req := lockcluster.Mirror{Namespace: m.Namespace, Epoch: m.Epoch, Token: b.token}
	n, size := 0, 0
	room := func(bytes int) bool {
		if n > 0 && (n >= mirrorRecordsMax || size+bytes > mirrorBytesMax) {
			return false
		}
		n, size = n+1, size+bytes
		return true
	}
	for len(b.deletes) > 0 && room(len(b.deletes[0].Key)+64) {
		req.Deletes, b.deletes = append(req.Deletes, b.deletes[0]), b.deletes[1:]
	}
	for len(b.locks) > 0 && room(len(b.locks[0].Value)+len(b.locks[0].Key.Text())+256) {
		req.Locks, b.locks = append(req.Locks, b.locks[0]), b.locks[1:]
	}
	for len(b.commands) > 0 && room(len(b.commands[0].Value)+128) {
		req.CommandLocks, b.commands = append(req.CommandLocks, b.commands[0]), b.commands[1:]
	}
	for len(b.documents) > 0 && room(len(b.documents[0].Value)+len(b.documents[0].Key)+128) {
		req.Documents, b.documents = append(req.Documents, b.documents[0]), b.documents[1:]
	}
	b.sent += n
	ok := n > 0 || b.tokenOnly
	b.tokenOnly = false
	return req, ok
}

// difference is what to must take over to hold what from holds. Deletes of all
// come before all puts, so that a repository can change its VCS host.
func difference(from, to state.Reader, ns string) *batch {
	b := &batch{}
	for _, space := range []lockcluster.Space{lockcluster.SpaceLock, lockcluster.SpaceCommand, lockcluster.SpaceDocument} {
		state.Keys(to, ns, space, "", func(key string) bool {
			if state.Revision(from, ns, space, key) == 0 {
				b.deletes = append(b.deletes, lockcluster.RecordRef{Namespace: ns, Space: space, Key: key})
			}
			return true
		})
		state.Keys(from, ns, space, "", func(key string) bool {
			if !same(from, to, ns, space, key) {
				b.read(from, lockcluster.RecordRef{Namespace: ns, Space: space, Key: key})
			}
			return true
		})
	}
	return b
}

// same reports whether two systems hold a record alike. Homes, and what the
// enhanced system's timers go by, are each system's own.
func same(a, b state.Reader, ns string, space lockcluster.Space, key string) bool {
	switch space {
	case lockcluster.SpaceLock:
		x, y := state.GetLock(a, ns, key), state.GetLock(b, ns, key)
		if x == nil || y == nil {
			return x == y
		}
		return sameLock(*x, *y)
	case lockcluster.SpaceCommand:
		x, y := state.GetCommandLock(a, ns, key), state.GetCommandLock(b, ns, key)
		if x == nil || y == nil {
			return x == y
		}
		p, q := *x, *y
		p.Home, q.Home = lockcluster.Home{}, lockcluster.Home{}
		return reflect.DeepEqual(p, q)
	}
	x, y := state.GetDocument(a, ns, key), state.GetDocument(b, ns, key)
	if x == nil || y == nil {
		return x == y
	}
	return string(x.Value) == string(y.Value) && x.TTL == y.TTL && x.Revision == y.Revision
}

func sameLock(x, y lockcluster.Lock) bool {
	if !x.AcquiredAt.Equal(y.AcquiredAt) || string(x.Value) != string(y.Value) {
		return false
	}
	for _, l := range []*lockcluster.Lock{&x, &y} {
		l.Home, l.LeaseEpoch, l.Value = lockcluster.Home{}, 0, nil
		l.AcquiredAt, l.RenewedAt = time.Time{}, time.Time{}
	}
	return reflect.DeepEqual(x, y)
}
