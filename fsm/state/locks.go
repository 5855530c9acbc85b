package state

import (
	"fmt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state/statepb"
)

// acquire decides r; renews says whether it may renew a lease that its owner
// has already.
func (a *Applier) acquire(r lockcluster.Acquire, renews bool) lockcluster.Result {
	ns, text := r.Key.Namespace, r.Key.Text()
	held := GetLock(a.tx, ns, text)
	if held != nil && !held.Owner.Same(r.Owner) {
		return lockcluster.Result{Status: lockcluster.StatusHeld, Lock: held, Token: held.Token}
	}
	// Also where the lock is held already: a pull whose host is not known
	// equals the pulls of that number on every host.
	if other := a.otherHost(ns, r.Key.Repo, r.Owner.Host); other != "" && (held == nil || r.Owner.ID == "") {
		return lockcluster.Result{Status: lockcluster.StatusHostConflict, Text: fmt.Sprintf(
			"repository %s is locked from VCS host %s in namespace %s; %s needs a namespace of its own",
			r.Key.Repo, other, ns, r.Owner.Host)}
	}
	if held != nil {
		switch {
		case renews && held.Kind == lockcluster.KindLeased && r.TTL > 0:
			a.renew(held, r)
		case held.Owner.ID == "" && held.Owner.Host == "" && r.Owner.Host != "":
			a.learnHost(held, r.Owner.Host)
		}
		return lockcluster.Result{Status: lockcluster.StatusAlreadyHeld, Lock: held, Token: held.Token}
	}
	lock := a.grant(r)
	return lockcluster.Result{Status: lockcluster.StatusGranted, Lock: lock, Token: lock.Token}
}

// grant stores the lock and all its index records; the key must be free.
func (a *Applier) grant(r lockcluster.Acquire) *lockcluster.Lock {
	ns, text := r.Key.Namespace, r.Key.Text()
	lock := &lockcluster.Lock{
		Key: r.Key, Kind: kindOf(r), Owner: r.Owner, User: r.User, Priority: r.Priority, Token: a.nextToken(),
		AcquiredAt: r.AcquiredAt, TTL: r.TTL, Revision: a.env.Index, Value: r.Value,
		Home: a.newHome(),
	}
	if lock.Priority == 0 {
		lock.Priority = lockcluster.PriorityNormal
	}
	if lock.AcquiredAt.IsZero() {
		lock.AcquiredAt = a.env.Now
	}
	if r.TTL > 0 {
		lock.RenewedAt = a.env.Now
		lock.LeaseEpoch = a.arm(lockcluster.SpaceLock, ns, text, r.TTL)
	}
	a.addLock(lock)
	return lock
}

// addLock stores a lock with its index records, but for its lease.
func (a *Applier) addLock(lock *lockcluster.Lock) {
	ns, text := lock.Key.Namespace, lock.Key.Text()
	a.tx.Put(lockKey(ns, text), encodeLock(lock))
	if lock.Owner.ID == "" {
		a.tx.Put(pullPrefix(ns, lock.Key.Repo, lock.Owner.Pull)+text, nil)
	}
	a.bindHost(ns, lock.Key.Repo, lock.Owner.Host, +1)
	a.meta.Locks++
}

func kindOf(r lockcluster.Acquire) lockcluster.Kind {
	switch {
	case r.Owner.ID == "":
		return lockcluster.KindPull
	case r.TTL > 0:
		return lockcluster.KindLeased
	}
	return lockcluster.KindHeld
}

// renew starts the lease of held anew with the TTL that r asks for.
func (a *Applier) renew(held *lockcluster.Lock, r lockcluster.Acquire) {
	ns, text := held.Key.Namespace, held.Key.Text()
	held.TTL, held.RenewedAt, held.Revision = r.TTL, a.env.Now, a.env.Index
	held.LeaseEpoch = a.arm(lockcluster.SpaceLock, ns, text, r.TTL)
	a.tx.Put(lockKey(ns, text), encodeLock(held))
}

// learnHost notes the VCS host of a pull lock whose owner did not name it. From
// then on the pull of that number on another host is another owner; without it
// both would be told that the lock is theirs. The repository must not be bound
// to another host.
func (a *Applier) learnHost(held *lockcluster.Lock, host string) {
	ns, text := held.Key.Namespace, held.Key.Text()
	held.Owner.Host, held.Revision = host, a.env.Index
	a.tx.Put(lockKey(ns, text), encodeLock(held))
	a.bindHost(ns, held.Key.Repo, host, +1)
}

// otherHost returns the VCS host that repo is bound to if that is not host.
// A lock key has no host, as in Atlantis; binding the repository name to one
// host while it holds locks keeps equal names on two hosts apart.
func (a *Applier) otherHost(ns, repo, host string) string {
	var rec statepb.RepoRecord
	if host == "" || !getRepo(a.tx, ns, repo, &rec) || string(rec.GetHost()) == host {
		return ""
	}
	return string(rec.GetHost())
}

func (a *Applier) bindHost(ns, repo, host string, delta int) {
	if host == "" {
		return
	}
	var rec statepb.RepoRecord
	getRepo(a.tx, ns, repo, &rec)
	if rec.Hosted > 0 && string(rec.Host) != host || delta < 0 && rec.Hosted == 0 {
		panic("repository is bound to another host, or to none")
	}
	rec.Hosted = uint64(int64(rec.Hosted) + int64(delta))
	if rec.Hosted == 0 {
		a.tx.Delete(repoKey(ns, repo))
		return
	}
	a.tx.Put(repoKey(ns, repo), encodeRepo(host, rec.Hosted))
}

func (a *Applier) release(r lockcluster.Release) lockcluster.Result {
	held := GetLock(a.tx, r.Namespace, r.Text)
	if held == nil {
		return lockcluster.Result{Status: lockcluster.StatusNotFound}
	}
	if !guardMatches(r.Guard, held) {
		return lockcluster.Result{Status: lockcluster.StatusNotHolder, Lock: held, Token: held.Token}
	}
	a.remove(held)
	return lockcluster.Result{Status: lockcluster.StatusReleased, Lock: held, Token: held.Token}
}

func guardMatches(g lockcluster.Guard, held *lockcluster.Lock) bool {
	return (g.Owner == nil || g.Owner.Same(held.Owner)) &&
		(g.Pull == 0 || held.Owner.ID == "" && g.Pull == held.Owner.Pull) &&
		(g.Token.IsZero() || g.Token == held.Token) &&
		(g.Revision == 0 || g.Revision == held.Revision)
}

// remove deletes the lock and all its index records.
func (a *Applier) remove(held *lockcluster.Lock) {
	ns, text := held.Key.Namespace, held.Key.Text()
	if a.meta.Locks == 0 {
		panic("more locks removed than granted")
	}
	a.tx.Delete(lockKey(ns, text))
	if held.Owner.ID == "" {
		a.tx.Delete(pullPrefix(ns, held.Key.Repo, held.Owner.Pull) + text)
	}
	if held.TTL > 0 {
		a.disarm(lockcluster.SpaceLock, ns, text)
	}
	a.bindHost(ns, held.Key.Repo, held.Owner.Host, -1)
	a.meta.Locks--
}

func (a *Applier) releaseByPull(r lockcluster.ReleaseByPull) lockcluster.Result {
	prefix := pullPrefix(r.Namespace, r.Repo, r.Pull)
	var texts []string
	a.tx.Scan(prefix, "", func(key string, _ []byte) bool {
		texts = append(texts, key[len(prefix):])
		return true
	})
	res := lockcluster.Result{Status: lockcluster.StatusReleased}
	for _, text := range texts {
		held := GetLock(a.tx, r.Namespace, text)
		if held == nil {
			panic("pull index without its lock")
		}
		if r.Host != "" && held.Owner.Host != "" && r.Host != held.Owner.Host {
			continue
		}
		if a.routed != nil && !a.atHome(held.Home) || !r.Upto.IsZero() && r.Upto.Less(held.Token) {
			continue
		}
		a.remove(held)
		res.Locks = append(res.Locks, *held)
	}
	return res
}
