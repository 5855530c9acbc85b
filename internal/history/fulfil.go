package history

import (
	"github.com/lockcluster/lockcluster"
)

// fulfilLock makes the model hold w.lock: whoever is in its way must have been
// released unseen, and it must have been granted (or renewed) unseen.
func (c *checker) fulfilLock(w wish, op *Op) bool {
	n, want := w.record.name, w.lock
	have, last := c.model.Lock(n.ns, n.key), c.touched[w.record].index
	differ := func(got *lockcluster.Lock) bool {
		if w.anyValue && got != nil && want != nil {
			v := *got
			v.Value, got = want.Value, &v
		}
		return DiffLock(c.lock(want), c.lock(got)) != ""
	}
	is := func() bool { return !differ(c.model.Lock(n.ns, n.key)) }
	if is() {
		return true
	}
	renewed := want != nil && have != nil && want.Token == have.Token && want.Owner.Same(have.Owner)
	if have != nil && !renewed && !c.releasedUnseen(have, op) {
		return false
	}
	if want == nil {
		return true
	}
	if want.Revision > op.Index() || have != nil && want.Revision < have.Revision {
		return false
	}
	if last == want.Revision && (last < op.Index() || op.Read != nil) && c.granted[want.Token] == last {
		c.model.setLock(n, want) // the order within that entry was guessed wrongly
		return true
	}
	ok := false
	c.candidates(op, func(p *possible) bool {
		r, isAcquire := p.req.(lockcluster.Acquire)
		if !isAcquire || r.Key.Namespace != n.ns || r.Key.Text() != n.key {
			return true
		}
		ok = c.happens(p, want.Revision, func() bool {
			got := c.model.Lock(n.ns, n.key)
			if got == nil {
				return false
			}
			got.Token = want.Token
			if differ(got) {
				return false
			}
			c.model.setLock(n, got)
			return true
		})
		return !ok
	})
	if ok && c.model.token.Less(want.Token) {
		c.model.token = want.Token
	}
	return ok
}

// releasedUnseen removes a lock if its lease may have run out or an unseen
// request may have released it.
func (c *checker) releasedUnseen(have *lockcluster.Lock, op *Op) bool {
	n := name{have.Key.Namespace, have.Key.Text()}
	if have.TTL > 0 {
		if !c.step("its lease running out", nil) {
			return false
		}
		c.model.setLock(n, nil)
		return true
	}
	gone := func() bool { return c.model.Lock(n.ns, n.key) == nil }
	ok := false
	byPull := func(p *possible) {
		r, is := p.req.(lockcluster.ReleaseByPull)
		if is && r.Namespace == n.ns && r.Repo == have.Key.Repo && have.Kind == lockcluster.KindPull && r.Pull == have.Owner.Pull &&
			(r.Host == "" || have.Owner.Host == "" || r.Host == have.Owner.Host) {
			// It frees many locks at once, but they are wished away one by one:
			// so only this lock here, and it may be used again.
			if ok = c.step("", p.op); ok {
				c.model.setLock(n, nil)
			}
		}
	}
	// The choices that leave most for later come first.
	for _, use := range []func(p *possible){
		byPull,
		func(p *possible) { // one that can only mean this holder
			r, is := p.req.(lockcluster.Release)
			ok = is && r.Guard != (lockcluster.Guard{}) && r.Namespace == n.ns && r.Text == n.key && c.happens(p, op.Index(), gone)
		},
		func(p *possible) {
			r, is := p.req.(lockcluster.Release)
			ok = is && r.Namespace == n.ns && r.Text == n.key && c.happens(p, op.Index(), gone)
		},
	} {
		c.candidates(op, func(p *possible) bool {
			use(p)
			return !ok
		})
		if ok {
			return true
		}
	}
	return false
}

func (c *checker) fulfilCommand(w wish, op *Op) bool {
	n, want, last := w.record.name, w.command, c.touched[w.record].index
	is := func() bool {
		got := c.model.CommandLock(n.ns, n.key)
		if w.anyValue && got != nil && want != nil {
			got.Value = want.Value
		}
		return DiffCommandLock(c.commandLock(want), c.commandLock(got)) == ""
	}
	if is() {
		return true
	}
	have := c.model.CommandLock(n.ns, n.key)
	if have != nil {
		ok := false
		c.candidates(op, func(p *possible) bool {
			r, isUnlock := p.req.(lockcluster.UnlockCommand)
			ok = isUnlock && r.Namespace == n.ns && r.Name == n.key &&
				c.happens(p, op.Index(), func() bool { return c.model.CommandLock(n.ns, n.key) == nil })
			return !ok
		})
		if !ok {
			return false
		}
	}
	if want == nil {
		return true
	}
	if want.Revision > op.Index() || have != nil && want.Revision < have.Revision {
		return false
	}
	if last == want.Revision && (last < op.Index() || op.Read != nil) && c.granted[want.Token] == last {
		c.model.setCommand(n, want)
		return true
	}
	ok := false
	c.candidates(op, func(p *possible) bool {
		r, isLock := p.req.(lockcluster.LockCommand)
		ok = isLock && r.Namespace == n.ns && r.Name == n.key && c.happens(p, want.Revision, func() bool {
			got := c.model.CommandLock(n.ns, n.key)
			got.Token = want.Token
			c.model.setCommand(n, got)
			return is()
		})
		return !ok
	})
	if ok && c.model.token.Less(want.Token) {
		c.model.token = want.Token
	}
	return ok
}

// fulfilDocument looks for one unseen request that leads to w.document; a
// document's TTL may have run out before.
func (c *checker) fulfilDocument(w wish, op *Op) bool {
	n, want, last := w.record.name, w.document, c.touched[w.record].index
	is := func() bool {
		got := c.model.Document(n.ns, n.key)
		if w.anyValue && got != nil && want != nil {
			got.Value = want.Value
		}
		return DiffDocument(c.document(want), c.document(got)) == ""
	}
	if is() {
		return true
	}
	step := func(index uint64, reached func() bool) bool {
		ok := false
		c.candidates(op, func(p *possible) bool {
			if ok = aboutDocument(p.req, n) && c.happens(p, index, reached); ok && !is() {
				p.used = false // which of several led half the way is a guess
			}
			return !ok
		})
		return ok
	}
	absent := func() bool { return c.model.Document(n.ns, n.key) == nil }
	runOut := func() bool { // the TTL of what is there
		if have := c.model.Document(n.ns, n.key); have == nil || have.TTL == 0 || !c.step("its TTL running out", nil) {
			return false
		}
		c.model.setDocument(n, nil)
		return true
	}
	removed := func(index uint64) bool {
		mortal := func() bool { have := c.model.Document(n.ns, n.key); return have != nil && have.TTL > 0 }
		return runOut() || step(index, absent) || step(index, mortal) && runOut()
	}
	if want == nil {
		return removed(op.Index())
	}
	if want.Revision > op.Index() {
		return false
	}
	if last == want.Revision && (last < op.Index() || op.Read != nil) && c.stored[write{w.record, last, c.value(want.Value)}] {
		c.model.setDocument(n, want) // the order within that entry was guessed wrongly
		return true
	}
	if step(want.Revision, is) {
		return true
	}
	// Two steps: gone, then stored anew, or changed twice (stored, then its TTL).
	before := c.model.mark()
	if removed(want.Revision) && step(want.Revision, is) {
		return true
	}
	c.model.rollback(before)
	return step(want.Revision, func() bool { return !is() }) && step(want.Revision, is)
}

func aboutDocument(req lockcluster.Request, n name) bool {
	switch r := req.(type) {
	case lockcluster.PutDocument:
		return r.Namespace == n.ns && r.Key == n.key
	case lockcluster.DeleteDocument:
		return r.Namespace == n.ns && r.Key == n.key
	case lockcluster.SetTTL:
		return r.Namespace == n.ns && r.Key == n.key
	}
	return false
}

// adopt takes for true what an operation says it saw and did, so that one
// violation does not show as many.
func (c *checker) adopt(op *Op) {
	c.actor, c.actorOp = "", op
	for _, w := range c.wishes(op) {
		n := w.record.name
		switch w.record.space {
		case lockcluster.SpaceLock:
			c.model.setLock(n, w.lock)
		case lockcluster.SpaceCommand:
			c.model.setCommand(n, w.command)
		default:
			c.model.setDocument(n, w.document)
		}
	}
	if op.Read == nil {
		last := c.model.token
		if first := firstGrant(&op.Result); !first.IsZero() {
			c.model.token = lockcluster.Token{Epoch: first.Epoch, Counter: first.Counter - 1}
		}
		c.model.decide(Position{Index: op.Index()}, op.Request)
		if c.model.token.Less(last) {
			c.model.token = last
		}
	}
}
