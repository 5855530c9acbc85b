package state

import (
	"fmt"

	"github.com/lockcluster/lockcluster"
)

// mirror makes records what the other system has, all or none.
func (a *Applier) mirror(r lockcluster.Mirror) lockcluster.Result {
	if a.env.System != lockcluster.SystemLegacy && r.Epoch != a.meta.TokenEpoch {
		return lockcluster.Result{Status: lockcluster.StatusIgnored, Text: textEpoch}
	}
	sub, overlay := a.nested()
	sub.passToken(r.Token)
	if err := sub.replace(r); err != nil {
		return a.invalid(err)
	}
	a.moved = a.moved || sub.meta.TokenEpoch != a.meta.TokenEpoch
	a.take(sub, overlay)
	return lockcluster.Result{Status: lockcluster.StatusApplied}
}

// replace removes everything first, so that no record that comes can be in the
// way of one that goes: a repository may have moved to another VCS host.
func (a *Applier) replace(r lockcluster.Mirror) error {
	for _, ref := range r.Deletes {
		a.drop(ref.Space, ref.Namespace, ref.Key)
	}
	for i := range r.Locks {
		a.drop(lockcluster.SpaceLock, r.Namespace, r.Locks[i].Key.Text())
	}
	for i := range r.CommandLocks {
		a.drop(lockcluster.SpaceCommand, r.Namespace, r.CommandLocks[i].Name)
	}
	for i := range r.Documents {
		a.drop(lockcluster.SpaceDocument, r.Namespace, r.Documents[i].Key)
	}
	for i := range r.Locks {
		if err := a.installLock(r.Locks[i]); err != nil {
			return err
		}
	}
	for i := range r.CommandLocks {
		if err := a.installCommandLock(r.CommandLocks[i]); err != nil {
			return err
		}
	}
	for i := range r.Documents {
		if err := a.installDocument(r.Documents[i]); err != nil {
			return err
		}
	}
	return nil
}

// drop removes a record if it is there.
func (a *Applier) drop(space lockcluster.Space, ns, key string) {
	switch space {
	case lockcluster.SpaceLock:
		if held := GetLock(a.tx, ns, key); held != nil {
			a.remove(held)
		}
	case lockcluster.SpaceCommand:
		if held := GetCommandLock(a.tx, ns, key); held != nil {
			a.removeCommandLock(held)
		}
	case lockcluster.SpaceDocument:
		if doc := GetDocument(a.tx, ns, key); doc != nil {
			a.removeDocument(doc)
		}
	}
}

func errTwice(what, key string) error {
	return fmt.Errorf("%w: %s %q is there already", lockcluster.ErrInvalid, what, key)
}

// installLock stores a lock as it is, with its index records. Only the lease
// epoch is this system's own.
func (a *Applier) installLock(l lockcluster.Lock) error {
	ns, text := l.Key.Namespace, l.Key.Text()
	if _, ok := a.tx.Get(lockKey(ns, text)); ok {
		return errTwice("lock", text)
	}
	if other := a.otherHost(ns, l.Key.Repo, l.Owner.Host); other != "" {
		return fmt.Errorf("%w: repository %s has locks of VCS host %s, lock %q is of %s: a namespace knows a repository from one host",
			lockcluster.ErrInvalid, l.Key.Repo, other, text, l.Owner.Host)
	}
	l.LeaseEpoch = a.armInstalled(Lease{ns, lockcluster.SpaceLock, text, l.TTL, l.LeaseEpoch})
	a.raiseToken(l.Token)
	a.addLock(&l)
	return nil
}

func (a *Applier) installCommandLock(c lockcluster.CommandLock) error {
	key := commandKey(c.Namespace, c.Name)
	if _, ok := a.tx.Get(key); ok {
		return errTwice("command lock", c.Name)
	}
	a.raiseToken(c.Token)
	a.tx.Put(key, encode(commandLockRecord(&c)))
	a.meta.CommandLocks++
	return nil
}

func (a *Applier) installDocument(d lockcluster.Document) error {
	key := documentKey(d.Namespace, d.Key)
	if _, ok := a.tx.Get(key); ok {
		return errTwice("document", d.Key)
	}
	d.LeaseEpoch = a.armInstalled(Lease{d.Namespace, lockcluster.SpaceDocument, d.Key, d.TTL, d.LeaseEpoch})
	a.tx.Put(key, encode(documentRecord(&d)))
	a.meta.Documents++
	return nil
}

// armInstalled returns the lease epoch of a record that is installed. The
// legacy system only keeps what it is given, for the way back.
func (a *Applier) armInstalled(l Lease) uint64 {
	switch {
	case a.env.System == lockcluster.SystemLegacy:
		return l.Epoch
	case l.TTL > 0:
		return a.arm(l.Space, l.Namespace, l.Key, l.TTL)
	}
	return 0
}

// raiseToken makes every later grant's token greater than t, which the other
// system has granted.
func (a *Applier) raiseToken(t lockcluster.Token) {
	a.meta.Mirrored = true
	if t.Epoch < a.meta.TokenEpoch {
		return
	}
	a.meta.TokenEpoch = t.Epoch
	a.meta.TokenCounter = max(a.meta.TokenCounter, t.Counter)
}

// passToken is raiseToken for a token of no record, where that is not certain
// yet.
func (a *Applier) passToken(t lockcluster.Token) {
	if (lockcluster.Token{Epoch: a.meta.TokenEpoch, Counter: a.meta.TokenCounter}).Less(t) {
		a.raiseToken(t)
	}
}

// RaiseTokens makes every later grant's token one of epoch or later.
func RaiseTokens(tx Tx, epoch uint64) {
	a := Begin(tx, Env{System: lockcluster.SystemLegacy})
	a.meta.TokenEpoch = max(a.meta.TokenEpoch, epoch)
	a.End()
}

// InstallLock puts a lock into the image of a legacy system exactly as it is,
// with its index records. An error, which wraps [lockcluster.ErrInvalid], means
// that nothing was changed: the lock is not valid, is there already, or its
// repository has locks of another VCS host.
func InstallLock(tx Tx, l lockcluster.Lock) error {
	return install(tx, validateMirrorLock(l.Key.Namespace, &l), func(a *Applier) error { return a.installLock(l) })
}

// InstallCommandLock is [InstallLock] for a command lock.
func InstallCommandLock(tx Tx, c lockcluster.CommandLock) error {
	return install(tx, validateMirrorCommand(c.Namespace, &c), func(a *Applier) error { return a.installCommandLock(c) })
}

// InstallDocument is [InstallLock] for a document.
func InstallDocument(tx Tx, d lockcluster.Document) error {
	return install(tx, validateMirrorDocument(d.Namespace, &d), func(a *Applier) error { return a.installDocument(d) })
}

func install(tx Tx, invalid error, f func(*Applier) error) error {
	if invalid != nil {
		return invalid
	}
	a := Begin(tx, Env{System: lockcluster.SystemLegacy})
	if err := f(a); err != nil {
		return err
	}
	a.End()
	return nil
}
