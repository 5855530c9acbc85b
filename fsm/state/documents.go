package state

import (
	"bytes"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state/statepb"
)

func (a *Applier) lockCommand(r lockcluster.LockCommand) lockcluster.Result {
	if held := GetCommandLock(a.tx, r.Namespace, r.Name); held != nil {
		status := lockcluster.StatusHeld
		if bytes.Equal(held.Value, r.Value) {
			status = lockcluster.StatusAlreadyHeld
		}
		return lockcluster.Result{Status: status, CommandLock: held, Token: held.Token}
	}
	at := r.LockedAt
	if at.IsZero() {
		at = a.env.Now
	}
	token := a.nextToken()
	home := a.newHome()
	rec := &statepb.CommandLockRecord{
		LockedUnix: at.Unix(), TokenEpoch: token.Epoch, TokenCounter: token.Counter, Revision: a.env.Index, Value: r.Value,
		HomeSystem: uint32(home.System), HomeEpoch: home.Epoch,
	}
	a.tx.Put(commandKey(r.Namespace, r.Name), encode(rec))
	a.meta.CommandLocks++
	return lockcluster.Result{Status: lockcluster.StatusGranted, CommandLock: commandLockFrom(r.Namespace, r.Name, rec), Token: token}
}

func (a *Applier) unlockCommand(r lockcluster.UnlockCommand) lockcluster.Result {
	held := GetCommandLock(a.tx, r.Namespace, r.Name)
	if held == nil {
		return lockcluster.Result{Status: lockcluster.StatusNotFound}
	}
	if r.Revision != 0 && r.Revision != held.Revision || !r.Token.IsZero() && r.Token != held.Token {
		return lockcluster.Result{Status: lockcluster.StatusNotHolder, CommandLock: held, Token: held.Token}
	}
	a.removeCommandLock(held)
	return lockcluster.Result{Status: lockcluster.StatusReleased, CommandLock: held, Token: held.Token}
}

func (a *Applier) removeCommandLock(held *lockcluster.CommandLock) {
	a.tx.Delete(commandKey(held.Namespace, held.Name))
	a.meta.CommandLocks--
}

func (a *Applier) putDocument(r lockcluster.PutDocument) lockcluster.Result {
	old := GetDocument(a.tx, r.Namespace, r.Key)
	if r.Condition == lockcluster.PutIfAbsent && old != nil || r.Condition == lockcluster.PutIfPresent && old == nil ||
		r.Revision != 0 && (old == nil || old.Revision != r.Revision) {
		return lockcluster.Result{Status: lockcluster.StatusNotStored, Document: old}
	}
	home := a.newHome()
	if old != nil {
		home = old.Home
	}
	rec := &statepb.DocumentRecord{Value: r.Value, Revision: a.env.Index, HomeSystem: uint32(home.System), HomeEpoch: home.Epoch}
	switch {
	case r.KeepTTL && old != nil && old.TTL > 0:
		rec.TtlNs, rec.LeaseEpoch, rec.ArmedUnixMs = int64(old.TTL), old.LeaseEpoch, old.ArmedAt.UnixMilli()
	default:
		a.setDocumentTTL(rec, r.Namespace, r.Key, r.TTL, old != nil && old.TTL > 0)
	}
	a.tx.Put(documentKey(r.Namespace, r.Key), encode(rec))
	if old == nil {
		a.meta.Documents++
	}
	return lockcluster.Result{Status: lockcluster.StatusStored, Document: old}
}

func (a *Applier) setDocumentTTL(rec *statepb.DocumentRecord, ns, key string, ttl time.Duration, had bool) {
	rec.TtlNs, rec.LeaseEpoch, rec.ArmedUnixMs = int64(ttl), 0, 0
	switch {
	case ttl > 0:
		rec.ArmedUnixMs = a.env.Now.UnixMilli()
		rec.LeaseEpoch = a.arm(lockcluster.SpaceDocument, ns, key, ttl)
	case had:
		a.disarm(lockcluster.SpaceDocument, ns, key)
	}
}

func (a *Applier) deleteDocument(r lockcluster.DeleteDocument) lockcluster.Result {
	old := GetDocument(a.tx, r.Namespace, r.Key)
	if old == nil {
		return lockcluster.Result{Status: lockcluster.StatusNotFound}
	}
	if r.Revision != 0 && r.Revision != old.Revision {
		return lockcluster.Result{Status: lockcluster.StatusNotHolder, Document: old}
	}
	a.removeDocument(old)
	return lockcluster.Result{Status: lockcluster.StatusDeleted, Document: old}
}

func (a *Applier) removeDocument(d *lockcluster.Document) {
	if a.meta.Documents == 0 {
		panic("more documents removed than stored")
	}
	a.tx.Delete(documentKey(d.Namespace, d.Key))
	if d.TTL > 0 {
		a.disarm(lockcluster.SpaceDocument, d.Namespace, d.Key)
	}
	a.meta.Documents--
}

func (a *Applier) setTTL(r lockcluster.SetTTL) lockcluster.Result {
	key := documentKey(r.Namespace, r.Key)
	var rec statepb.DocumentRecord
	if !get(a.tx, key, &rec) {
		return lockcluster.Result{Status: lockcluster.StatusNotFound}
	}
	old := documentFrom(r.Namespace, r.Key, &rec)
	a.setDocumentTTL(&rec, r.Namespace, r.Key, r.TTL, old.TTL > 0)
	rec.Revision = a.env.Index
	a.tx.Put(key, encode(&rec))
	return lockcluster.Result{Status: lockcluster.StatusStored, Document: old}
}

// expire ends a lease only if it is still the one the leader's timer was set
// for, and the leader is still the one that set it (etcd issue 15247 is what
// happens otherwise).
func (a *Applier) expire(r lockcluster.Expire) lockcluster.Result {
	ignored := lockcluster.Result{Status: lockcluster.StatusIgnored}
	var lease statepb.LeaseRecord
	if r.Term != a.env.Term || !get(a.tx, leaseKey(r.Space, r.Namespace, r.Key), &lease) || lease.GetLeaseEpoch() != r.LeaseEpoch {
		return ignored
	}
	if r.Space == lockcluster.SpaceLock {
		held := GetLock(a.tx, r.Namespace, r.Key)
		if held == nil || held.LeaseEpoch != r.LeaseEpoch {
			panic("lease without its lock")
		}
		if !a.mayExpire(r.Namespace, held.Home) {
			return ignored
		}
		a.remove(held)
		return lockcluster.Result{Status: lockcluster.StatusExpired, Lock: held, Token: held.Token}
	}
	doc := GetDocument(a.tx, r.Namespace, r.Key)
	if doc == nil || doc.LeaseEpoch != r.LeaseEpoch {
		panic("lease without its document")
	}
	if !a.mayExpire(r.Namespace, doc.Home) {
		return ignored
	}
	a.removeDocument(doc)
	return lockcluster.Result{Status: lockcluster.StatusExpired, Document: doc}
}
