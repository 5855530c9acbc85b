package controller

import (
	"context"
	"errors"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/migration"
)

// homeOf returns the system that decides about req: that of the records it is
// about, or the one that a free key goes to. A transaction may be about records
// of both: then it is the enhanced system, once it has those elsewhere
// ([term.gather]).
func (t *term) homeOf(m *lockcluster.Migration, req lockcluster.Request) (home lockcluster.System, elsewhere []lockcluster.RecordRef) {
	held, free := map[lockcluster.System][]lockcluster.RecordRef{}, map[lockcluster.System]bool{}
	t.c.node.StaleRead(func(r state.Reader, _ uint64) {
		homesOf(r, m, req, func(ref lockcluster.RecordRef, h lockcluster.System, isHeld bool) {
			if isHeld {
				held[h] = append(held[h], ref)
			} else {
				free[h] = true
			}
		})
	})
	legacy := held[lockcluster.SystemLegacy]
	switch {
	case len(held) == 2:
		return lockcluster.SystemEnhanced, legacy
	case len(legacy) > 0, len(held) == 0 && len(free) == 1 && free[lockcluster.SystemLegacy]:
		return lockcluster.SystemLegacy, nil
	}
	return lockcluster.SystemEnhanced, nil // of nothing but conditions its copy can judge
}

// homesOf calls f with each record that req is about and its home, or, where
// there is none yet, the system that it goes to.
func homesOf(r state.Reader, m *lockcluster.Migration, req lockcluster.Request, f func(ref lockcluster.RecordRef, home lockcluster.System, held bool)) {
	switch q := req.(type) {
	case lockcluster.Txn:
		for _, inner := range q.Requests {
			homesOf(r, m, inner, f)
		}
		return
	case lockcluster.ReleaseByPull:
		state.ListLocks(r, q.Namespace, state.LockFilter{Repo: q.Repo}, func(l *lockcluster.Lock) bool {
			if l.Owner.ID == "" && l.Owner.Pull == q.Pull {
				f(lockcluster.RecordRef{Namespace: q.Namespace, Space: lockcluster.SpaceLock, Key: l.Key.Text()}, m.HomeOf(l.Home), true)
			}
			return true
		})
		return
	}
	list, _ := targets(req)
	for _, one := range list {
		ref := one.ref
		if ref.Space == lockcluster.SpaceLock {
			if l := state.FindLock(r, ref.Namespace, ref.Key); l != nil {
				ref.Key = l.Key.Text()
			}
		}
		home, held := homeThere(r, m, ref)
		if !held {
			home = routeOf(m, ref, req)
		}
		f(ref, home, held)
	}
}

// routeOf returns the system that a record goes to which is not there.
func routeOf(m *lockcluster.Migration, ref lockcluster.RecordRef, req lockcluster.Request) lockcluster.System {
	if a, ok := req.(lockcluster.Acquire); ok {
		return migration.Routes(a.Key, compat.Teams(a.Value), m)
	}
	return migration.RoutesText(ref.Namespace, ref.Key, m)
}

// gather makes the enhanced system the home of records that were the legacy
// system's, so that it can decide about all that a transaction is about. The
// caller holds their stripes. The enhanced system has them first: a record that
// both take for theirs, and that is the same in both, is the enhanced system's.
func (t *term) gather(m *lockcluster.Migration, refs []lockcluster.RecordRef) error {
	if len(refs) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(t.ctx, 2*legacyTimeout)
	defer cancel()
	b := &batch{}
	err := t.c.legacy.read(ctx, m, func(r state.Reader) {
		for _, ref := range refs {
			b.read(r, ref)
		}
	})
	if err != nil {
		return err
	}
	b.withHome(m, lockcluster.SystemEnhanced)
	out := *b
	out.deletes = nil // they are gone there
	if err = t.send(ctx, m, lockcluster.SystemEnhanced, b); err == nil {
		err = t.send(ctx, m, lockcluster.SystemLegacy, &out)
	}
	if err == nil {
		return nil
	}
	t.takeOverAgain() // until both agree on their home nobody may decide about them
	return errors.Join(errNotReady, err)
}
