package history

import (
	"bytes"
	"time"

	"github.com/lockcluster/lockcluster"
)

func (m *Model) acquire(at Position, r lockcluster.Acquire, renews bool) lockcluster.Result {
	n := name{r.Key.Namespace, r.Key.Text()}
	held, isHeld := m.locks[n]
	switch {
	case isHeld && !held.Owner.Same(r.Owner):
		return lockcluster.Result{Status: lockcluster.StatusHeld, Lock: &held, Token: held.Token}
	case m.boundElsewhere(r) && (!isHeld || r.Owner.ID == ""):
		return lockcluster.Result{Status: lockcluster.StatusHostConflict}
	case isHeld:
		switch {
		case renews && held.Kind == lockcluster.KindLeased && r.TTL > 0:
			held.TTL, held.RenewedAt, held.Revision, held.LeaseEpoch = r.TTL, at.Time, at.Index, m.nextLease()
			m.setLock(n, &held)
		case held.Kind == lockcluster.KindPull && held.Owner.Host == "" && r.Owner.Host != "":
			held.Owner.Host, held.Revision = r.Owner.Host, at.Index
			m.setLock(n, &held)
		}
		return lockcluster.Result{Status: lockcluster.StatusAlreadyHeld, Lock: &held, Token: held.Token}
	}
	lock := lockcluster.Lock{
		Key: r.Key, Kind: lockcluster.KindHeld, Owner: r.Owner, User: r.User, Priority: r.Priority,
		AcquiredAt: r.AcquiredAt, TTL: r.TTL, Revision: at.Index, Value: r.Value, Home: m.newHome(),
	}
	if lock.Priority == 0 {
		lock.Priority = lockcluster.PriorityNormal
	}
	if r.Owner.ID == "" {
		lock.Kind = lockcluster.KindPull
	}
	if lock.AcquiredAt.IsZero() {
		lock.AcquiredAt = at.Time
	}
	if r.TTL > 0 {
		lock.Kind, lock.RenewedAt, lock.LeaseEpoch = lockcluster.KindLeased, at.Time, m.nextLease()
	}
	lock.Token = m.nextToken()
	m.setLock(n, &lock)
	return lockcluster.Result{Status: lockcluster.StatusGranted, Lock: &lock, Token: lock.Token}
}

// boundElsewhere reports whether the repository has locks from another host.
func (m *Model) boundElsewhere(r lockcluster.Acquire) bool {
	p := m.repos[name{r.Key.Namespace, r.Key.Repo}]
	return p != nil && r.Owner.Host != "" && len(p.hosts) > 0 && p.hosts[r.Owner.Host] == 0
}

func (m *Model) release(r lockcluster.Release) lockcluster.Result {
	n := name{r.Namespace, r.Text}
	held, ok := m.locks[n]
	if !ok {
		return lockcluster.Result{Status: lockcluster.StatusNotFound}
	}
	g := r.Guard
	if g.Owner != nil && !g.Owner.Same(held.Owner) ||
		g.Pull != 0 && (held.Kind != lockcluster.KindPull || held.Owner.Pull != g.Pull) ||
		!g.Token.IsZero() && g.Token != held.Token ||
		g.Revision != 0 && g.Revision != held.Revision {
		return lockcluster.Result{Status: lockcluster.StatusNotHolder, Lock: &held, Token: held.Token}
	}
	m.setLock(n, nil)
	return lockcluster.Result{Status: lockcluster.StatusReleased, Lock: &held, Token: held.Token}
}

func (m *Model) releaseByPull(r lockcluster.ReleaseByPull) lockcluster.Result {
	res := lockcluster.Result{Status: lockcluster.StatusReleased}
	for _, l := range m.ListRepo(r.Namespace, r.Repo) {
		o := l.Owner
		if l.Kind != lockcluster.KindPull || o.Pull != r.Pull || r.Host != "" && o.Host != "" && o.Host != r.Host || m.elsewhere(&l) ||
			r.Upto != (lockcluster.Token{}) && r.Upto.Less(l.Token) {
			continue
		}
		m.setLock(name{r.Namespace, l.Key.Text()}, nil)
		res.Locks = append(res.Locks, l)
	}
	return res
}

func (m *Model) lockCommand(at Position, r lockcluster.LockCommand) lockcluster.Result {
	n := name{r.Namespace, r.Name}
	if held, ok := m.commands[n]; ok {
		status := lockcluster.StatusHeld
		if bytes.Equal(held.Value, r.Value) {
			status = lockcluster.StatusAlreadyHeld
		}
		return lockcluster.Result{Status: status, CommandLock: &held, Token: held.Token}
	}
	when := r.LockedAt
	if when.IsZero() {
		when = at.Time
	}
	c := lockcluster.CommandLock{
		Namespace: r.Namespace, Name: r.Name, LockedAt: when.Truncate(time.Second).UTC(),
		Token: m.nextToken(), Revision: at.Index, Value: r.Value, Home: m.newHome(),
	}
	m.setCommand(n, &c)
	return lockcluster.Result{Status: lockcluster.StatusGranted, CommandLock: &c, Token: c.Token}
}

func (m *Model) unlockCommand(r lockcluster.UnlockCommand) lockcluster.Result {
	n := name{r.Namespace, r.Name}
	held, ok := m.commands[n]
	switch {
	case !ok:
		return lockcluster.Result{Status: lockcluster.StatusNotFound}
	case r.Revision != 0 && r.Revision != held.Revision, !r.Token.IsZero() && r.Token != held.Token:
		return lockcluster.Result{Status: lockcluster.StatusNotHolder, CommandLock: &held, Token: held.Token}
	}
	m.setCommand(n, nil)
	return lockcluster.Result{Status: lockcluster.StatusReleased, CommandLock: &held, Token: held.Token}
}

func (m *Model) putDocument(at Position, r lockcluster.PutDocument) lockcluster.Result {
	n := name{r.Namespace, r.Key}
	old := m.Document(r.Namespace, r.Key)
	if r.Condition == lockcluster.PutIfAbsent && old != nil || r.Condition == lockcluster.PutIfPresent && old == nil ||
		r.Revision != 0 && m.Revision(r.Namespace, lockcluster.SpaceDocument, r.Key) != r.Revision {
		return lockcluster.Result{Status: lockcluster.StatusNotStored, Document: old}
	}
	d := lockcluster.Document{Namespace: r.Namespace, Key: r.Key, Value: r.Value, Revision: at.Index, Home: m.newHome()}
	if old != nil {
		d.Home = old.Home
	}
	switch {
	case r.KeepTTL && old != nil:
		d.TTL, d.LeaseEpoch, d.ArmedAt = old.TTL, old.LeaseEpoch, old.ArmedAt
	case r.TTL > 0:
		d.TTL, d.LeaseEpoch, d.ArmedAt = r.TTL, m.nextLease(), at.Time
	}
	m.setDocument(n, &d)
	return lockcluster.Result{Status: lockcluster.StatusStored, Document: old}
}

func (m *Model) deleteDocument(r lockcluster.DeleteDocument) lockcluster.Result {
	old := m.Document(r.Namespace, r.Key)
	switch {
	case old == nil:
		return lockcluster.Result{Status: lockcluster.StatusNotFound}
	case r.Revision != 0 && r.Revision != old.Revision:
		return lockcluster.Result{Status: lockcluster.StatusNotHolder, Document: old}
	}
	m.setDocument(name{r.Namespace, r.Key}, nil)
	return lockcluster.Result{Status: lockcluster.StatusDeleted, Document: old}
}

func (m *Model) setTTL(at Position, r lockcluster.SetTTL) lockcluster.Result {
	old := m.Document(r.Namespace, r.Key)
	if old == nil {
		return lockcluster.Result{Status: lockcluster.StatusNotFound}
	}
	d := *old
	d.TTL, d.LeaseEpoch, d.ArmedAt, d.Revision = r.TTL, 0, time.Time{}, at.Index
	if r.TTL > 0 {
		d.LeaseEpoch, d.ArmedAt = m.nextLease(), at.Time
	}
	m.setDocument(name{r.Namespace, r.Key}, &d)
	return lockcluster.Result{Status: lockcluster.StatusStored, Document: old}
}

func (m *Model) expire(at Position, r lockcluster.Expire) lockcluster.Result {
	n := name{r.Namespace, r.Key}
	if r.Term == at.Term && r.Space == lockcluster.SpaceLock {
		if l, ok := m.locks[n]; ok && l.TTL > 0 && l.LeaseEpoch == r.LeaseEpoch && m.MayExpire(n.ns, l.Home) {
			m.setLock(n, nil)
			return lockcluster.Result{Status: lockcluster.StatusExpired, Lock: &l, Token: l.Token}
		}
	}
	if r.Term == at.Term && r.Space == lockcluster.SpaceDocument {
		if d, ok := m.documents[n]; ok && d.TTL > 0 && d.LeaseEpoch == r.LeaseEpoch && m.MayExpire(n.ns, d.Home) {
			m.setDocument(n, nil)
			return lockcluster.Result{Status: lockcluster.StatusExpired, Document: &d}
		}
	}
	return lockcluster.Result{Status: lockcluster.StatusIgnored}
}
