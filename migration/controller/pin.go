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
	once  bool               // a second try could not tell whether the first one has done it

	released []lockcluster.Lock // by earlier rounds of the only call, see answer
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
	if m.Decides(lockcluster.NamespaceOf(req)) == lockcluster.SystemEnhanced || !mustPin(req) {
		return pinned{req: req}, answer, nil
	}
	var found lockcluster.Result
	if err = c.Read(ctx, func(r state.Reader, _ uint64) { found = lookFor(r, req) }); err != nil {
		return p, answer, err
	}
	if id.IsZero() {
		return pinTo(req, found), answer, nil
	}
	digest, err := command.DigestOf(req)
	if err != nil {
		return p, answer, err
	}
	pin := lockcluster.Pin{Namespace: lockcluster.NamespaceOf(req), Digest: digest, Found: found}
	if valuesSize(&found) > pinValuesMax {
		pin.Found = state.WithoutValues(found)
	}
	pin.Found.Text = rand.Text()
	res, err := c.node.Do(ctx, id, pin)
	switch {
	case err != nil || res.Status != lockcluster.StatusPinned:
		return p, res, err
	case res.Text == pin.Found.Text:
		return pinTo(req, found), answer, nil
	}
	p = pinTo(req, res) // by an earlier call, which may have been decided
	p.tries++
	return p, answer, nil
}

// pinValuesMax is how much of stored values goes into a pin. What is pinned is
// known by its tokens and revisions; the values are only for the answer to a
// repetition, and those of a whole pull request may be more than a log entry holds.
const pinValuesMax = 256 << 10

// valuesSize returns how many bytes of stored values there are in what was found.
func valuesSize(found *lockcluster.Result) (size int) {
	if found.Lock != nil {
		size += len(found.Lock.Value)
	}
	if found.CommandLock != nil {
		size += len(found.CommandLock.Value)
	}
	if found.Document != nil {
		size += len(found.Document.Value)
	}
	for i := range found.Locks {
		size += len(found.Locks[i].Value)
	}
	for i := range found.Results {
		size += valuesSize(&found.Results[i])
	}
	return size
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
		found.Lock = state.GetLock(r, q.Namespace, q.Text) // as the rules find it
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
		if state.Validate(p.req) != nil { // too many conditions: those of the client are all there is room for
			p.req, p.once = r, true
		}
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
	type name struct {
		space lockcluster.Space
		key   string
	}
	named := make(map[name]bool, len(r.Conditions))
	for _, c := range r.Conditions {
		named[name{c.Space, c.Key}] = true
	}
	add := func(space lockcluster.Space, key string, revision uint64) {
		if !named[name{space, key}] {
			named[name{space, key}] = true
			r.Conditions = append(r.Conditions, lockcluster.Condition{Space: space, Key: key, Revision: revision})
		}
	}
	for i, inner := range r.Requests {
		if i >= len(found.Results) || !mustPin(inner) {
			continue
		}
		if by, ok := inner.(lockcluster.ReleaseByPull); ok {
			locks := found.Results[i].Locks
			by.Upto = newestOf(locks)
			r.Requests[i] = by
			for j := range locks {
				add(lockcluster.SpaceLock, locks[j].Key.Text(), locks[j].Revision)
			}
			continue
		}
		one, _ := targets(inner)
		add(one[0].ref.Space, one[0].ref.Key, revisionOf(&found.Results[i]))
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
		if res.Status != lockcluster.StatusReleased {
			break
		}
		left := p.left(&res)
		res.Locks = slices.Concat(p.released, res.Locks)
		if first && len(left) > 0 {
			return res, true, nil
		}
		res.Locks = append(res.Locks, left...)
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

// left returns the locks that were found and not released by res. Somebody else
// has released them, perhaps an earlier try; or they have other tokens by now:
// those of a lock that a stock Atlantis has stored are each node's own until the
// leader writes them down.
func (p *pinned) left(res *lockcluster.Result) (left []lockcluster.Lock) {
	gone := make(map[string]bool, len(res.Locks))
	for i := range res.Locks {
		gone[res.Locks[i].Key.Text()] = true
	}
	for i := range p.found.Locks {
		if !gone[p.found.Locks[i].Key.Text()] {
			left = append(left, p.found.Locks[i])
		}
	}
	return left
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
