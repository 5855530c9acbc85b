package controller

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"slices"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// pinned is a request whose repetition does no harm. A legacy system remembers
// no answers: a release that names no lock in particular, sent again because its
// answer was lost, could free the lock of whoever came next, and a document
// that is stored again could undo a later one. So a request is made to name what
// is there now. For a client that numbers its requests that is in the log
// ([lockcluster.Pin]), so that it holds for its own repetitions, too, whichever
// node and system they come to; for one that does not, in this call.
type pinned struct {
	req   lockcluster.Request
	found lockcluster.Result // what the client's request was about
	by    bool               // it was pinned here
	tries int                // that may have decided it, those of earlier calls included
}

// nobody is a token that no lock has, and never a revision that no record has.
var nobody = lockcluster.Token{Epoch: math.MaxUint64, Counter: math.MaxUint64}

const never = math.MaxUint64

// mustPin reports whether a system that judges req anew may do harm.
func mustPin(req lockcluster.Request) bool {
	switch r := req.(type) {
	case lockcluster.Release:
		return r.Guard.Token.IsZero() && r.Guard.Revision == 0
	case lockcluster.UnlockCommand:
		return r.Token.IsZero() && r.Revision == 0
	case lockcluster.ReleaseByPull:
		return r.Upto.IsZero()
	case lockcluster.PutDocument:
		return r.Revision == 0
	case lockcluster.DeleteDocument:
		return r.Revision == 0
	case lockcluster.Txn: // what it has done may be why its own conditions do not hold any more
		return len(r.Conditions)+len(r.Ranges) > 0 || slices.ContainsFunc(r.Requests, mustPin)
	}
	return false // who holds it is told so
}

// pin reads what req is about, if it has to be pinned. An answer with a status
// is the client's: it was decided before.
func (c *Controller) pin(ctx context.Context, m *lockcluster.Migration, id lockcluster.RequestID, req lockcluster.Request) (p pinned, answer lockcluster.Result, err error) {
	if m.Decides(namespaceOf(req)) == lockcluster.SystemEnhanced || !mustPin(req) {
		return pinned{req: req}, answer, nil
	}
	var found lockcluster.Result
	if err = c.Read(ctx, func(r state.Reader, _ uint64) { found = lookFor(r, req) }); err != nil {
		return p, answer, err
	}
	if id.IsZero() {
		return pinTo(req, found), answer, nil
	}
	found.Text = rand.Text()
	digest, err := command.DigestOf(req)
	if err != nil {
		return p, answer, err
	}
	res, err := c.node.Do(ctx, id, lockcluster.Pin{Namespace: namespaceOf(req), Digest: digest, Found: found})
	if err != nil || res.Status != lockcluster.StatusPinned {
		return p, res, err
	}
	p = pinTo(req, res)
	if res.Text != found.Text { // by an earlier call, which may have been decided
		p.tries++
	}
	return p, answer, nil
}

// remembered returns the answer that the enhanced system has given to a request
// which the legacy system is to decide now.
func (c *Controller) remembered(id lockcluster.RequestID, req lockcluster.Request) (res *lockcluster.Result, err error) {
	if id.IsZero() {
		return nil, nil //nolint:nilnil // there is none
	}
	digest, err := command.DigestOf(req)
	if err != nil {
		return nil, err
	}
	c.node.StaleRead(func(r state.Reader, _ uint64) { res, err = state.Remembered(r, id, digest) })
	return res, err
}

// lookFor returns what a request is about.
func lookFor(r state.Reader, req lockcluster.Request) (found lockcluster.Result) {
	switch q := req.(type) {
	case lockcluster.Release:
		found.Lock = state.FindLock(r, q.Namespace, q.Text)
	case lockcluster.UnlockCommand:
		found.CommandLock = state.GetCommandLock(r, q.Namespace, q.Name)
	case lockcluster.PutDocument:
		found.Document = state.GetDocument(r, q.Namespace, q.Key)
	case lockcluster.DeleteDocument:
		found.Document = state.GetDocument(r, q.Namespace, q.Key)
	case lockcluster.ReleaseByPull:
		state.ListLocks(r, q.Namespace, state.LockFilter{Repo: q.Repo, Pull: q.Pull}, func(l *lockcluster.Lock) bool {
			if l.Owner.ID == "" && l.Owner.Pull == q.Pull && (q.Host == "" || l.Owner.Host == "" || q.Host == l.Owner.Host) {
				found.Locks = append(found.Locks, *l)
			}
			return true
		})
	case lockcluster.Txn:
		for _, inner := range q.Requests {
			found.Results = append(found.Results, lookFor(r, inner))
		}
	}
	return found
}

// pinTo returns req as one about what was found. A document that was not there
// may be stored again after it was deleted: nothing tells that from the first time.
func pinTo(req lockcluster.Request, found lockcluster.Result) pinned {
	p := pinned{found: found, by: true}
	switch r := req.(type) {
	case lockcluster.Release:
		r.Guard.Token = nobody
		if found.Lock != nil {
			r.Guard.Token = found.Lock.Token
		}
		p.req = r
	case lockcluster.UnlockCommand:
		r.Token = nobody
		if found.CommandLock != nil {
			r.Token = found.CommandLock.Token
		}
		p.req = r
	case lockcluster.PutDocument:
		switch {
		case found.Document != nil:
			r.Revision = found.Document.Revision
		case r.Condition == lockcluster.PutIfPresent:
			r.Revision = never
		default:
			r.Condition = lockcluster.PutIfAbsent
		}
		p.req = r
	case lockcluster.DeleteDocument:
		r.Revision = never
		if found.Document != nil {
			r.Revision = found.Document.Revision
		}
		p.req = r
	case lockcluster.ReleaseByPull:
		r.Upto = newestOf(found.Locks)
		p.req = r
	case lockcluster.Txn:
		p.req = pinTxn(r, found)
	default:
		p.req = req
	}
	return p
}

// newestOf returns the greatest token of locks; without any, the least token.
func newestOf(locks []lockcluster.Lock) lockcluster.Token {
	newest := lockcluster.Token{Counter: 1}
	for i := range locks {
		if newest.Less(locks[i].Token) {
			newest = locks[i].Token
		}
	}
	return newest
}

// pinTxn adds conditions on what its requests are about.
func pinTxn(r lockcluster.Txn, found lockcluster.Result) lockcluster.Txn {
	r.Conditions, r.Requests = slices.Clone(r.Conditions), slices.Clone(r.Requests)
	for i, inner := range r.Requests {
		if i >= len(found.Results) || !mustPin(inner) {
			continue
		}
		if by, ok := inner.(lockcluster.ReleaseByPull); ok {
			by.Upto = newestOf(found.Results[i].Locks)
			r.Requests[i] = by
			continue
		}
		one, _ := targets(inner)
		c := lockcluster.Condition{Space: one[0].ref.Space, Key: one[0].ref.Key}
		if !slices.ContainsFunc(r.Conditions, func(d lockcluster.Condition) bool { return d.Space == c.Space && d.Key == c.Key }) {
			c.Revision = revisionOf(&found.Results[i])
			r.Conditions = append(r.Conditions, c)
		}
	}
	return r
}

func revisionOf(found *lockcluster.Result) uint64 {
	switch {
	case found.Lock != nil:
		return found.Lock.Revision
	case found.CommandLock != nil:
		return found.CommandLock.Revision
	case found.Document != nil:
		return found.Document.Revision
	}
	return 0
}

// answer is what the client is told. again means that the record was another
// one by the time of the only try: the client meant whatever is there. After
// more than one an earlier try, whose answer was lost, has done it, or somebody
// else has: what was meant is gone.
func (p *pinned) answer(req lockcluster.Request, res lockcluster.Result) (answer lockcluster.Result, again bool, err error) {
	if !p.by {
		return res, false, nil
	}
	first := p.tries == 1
	switch r := req.(type) {
	case lockcluster.Release, lockcluster.UnlockCommand, lockcluster.DeleteDocument:
		answer, again = p.removed(req, res, first)
		return answer, again, nil
	case lockcluster.PutDocument:
		answer, again = p.stored(r, res, first)
		return answer, again, nil
	case lockcluster.ReleaseByPull:
		if !first && res.Status == lockcluster.StatusReleased {
			for i := range p.found.Locks {
				if !slices.ContainsFunc(res.Locks, func(l lockcluster.Lock) bool { return l.Token == p.found.Locks[i].Token }) {
					res.Locks = append(res.Locks, p.found.Locks[i])
				}
			}
		}
	case lockcluster.Txn:
		switch {
		case res.Status != lockcluster.StatusConflict || len(res.Results) > 0:
		case !first:
			return lockcluster.Result{}, false, fmt.Errorf(
				"%w: what the transaction is about has changed since, by itself or by somebody else", lockcluster.ErrOutcomeUnknown)
		case len(r.Conditions)+len(r.Ranges) == 0:
			return res, true, nil
		}
	}
	return res, false, nil
}

// removed is the answer to a request that removes one record.
func (p *pinned) removed(req lockcluster.Request, res lockcluster.Result, first bool) (answer lockcluster.Result, again bool) {
	f := &p.found
	if res.Status != lockcluster.StatusNotHolder && res.Status != lockcluster.StatusNotFound {
		return res, false
	}
	if f.Lock != nil && res.Lock != nil && res.Lock.Token == f.Lock.Token ||
		f.CommandLock != nil && res.CommandLock != nil && res.CommandLock.Token == f.CommandLock.Token {
		return res, false // another guard of the client's does not hold
	}
	switch {
	case f.Lock == nil && f.CommandLock == nil && f.Document == nil: // when it was looked for there was none
		return lockcluster.Result{Status: lockcluster.StatusNotFound, Index: res.Index}, false
	case first:
		return res, res.Status == lockcluster.StatusNotHolder
	}
	if r, ok := req.(lockcluster.Release); ok && !mayFree(r.Guard, f.Lock) {
		return lockcluster.Result{Status: lockcluster.StatusNotHolder, Index: res.Index, Lock: f.Lock, Token: f.Lock.Token}, false
	}
	answer = lockcluster.Result{Status: lockcluster.StatusReleased, Index: res.Index, Lock: f.Lock, CommandLock: f.CommandLock, Document: f.Document}
	if f.Document != nil {
		answer.Status = lockcluster.StatusDeleted
	}
	return answer, false
}

// mayFree reports whether a client's own guard lets it free a lock.
func mayFree(g lockcluster.Guard, l *lockcluster.Lock) bool {
	return (g.Owner == nil || g.Owner.Same(l.Owner)) && (g.Pull == 0 || l.Owner.ID == "" && g.Pull == l.Owner.Pull)
}

// stored is the answer to a request that stores a document.
func (p *pinned) stored(r lockcluster.PutDocument, res lockcluster.Result, first bool) (answer lockcluster.Result, again bool) {
	there := p.found.Document != nil
	switch {
	case res.Status != lockcluster.StatusNotStored:
	case there && r.Condition == lockcluster.PutIfAbsent, !there && r.Condition == lockcluster.PutIfPresent:
		return lockcluster.Result{Status: res.Status, Index: res.Index, Document: p.found.Document}, false // as it was then
	case first:
		return res, true
	case r.Condition == lockcluster.PutIfAbsent && (res.Document == nil || !bytes.Equal(res.Document.Value, r.Value)):
		return res, false // whose it is now is what the client wants to know
	default:
		return lockcluster.Result{Status: lockcluster.StatusStored, Index: res.Index, Document: p.found.Document}, false
	}
	return res, false
}
