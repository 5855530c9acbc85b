package controller

import (
	"context"
	"math"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// pin makes a request that frees whoever's lock is at a key one that frees the
// lock that is there now. A legacy system does not remember requests: if the
// answer is lost and the request repeated, the key may be somebody else's by then.
type pin struct {
	req   lockcluster.Request
	token lockcluster.Token // of the lock that was read; zero: not read yet
}

// tryPinned is try, with what the legacy system may decide pinned.
func (c *Controller) tryPinned(ctx context.Context, m *lockcluster.Migration, id lockcluster.RequestID, p *pin) (lockcluster.Result, error) {
	if m.Decides(namespaceOf(p.req)) != lockcluster.SystemEnhanced && p.token.IsZero() && freesAnybody(p.req) {
		if err := c.Read(ctx, func(r state.Reader, _ uint64) { p.read(r) }); err != nil {
			return lockcluster.Result{}, err
		}
	}
	res, err := c.try(ctx, m, id, p.req)
	if err == nil && res.Status == lockcluster.StatusNotHolder && !p.token.IsZero() && res.Token != p.token {
		// That lock was freed, by an earlier try or by somebody else, and for a
		// moment there was none.
		return lockcluster.Result{Status: lockcluster.StatusNotFound, Index: res.Index}, nil
	}
	return res, err
}

// freesAnybody reports whether a request does not say which lock it frees.
func freesAnybody(req lockcluster.Request) bool {
	switch r := req.(type) {
	case lockcluster.Release:
		return r.Guard.Token.IsZero() && r.Guard.Revision == 0
	case lockcluster.UnlockCommand:
		return r.Token.IsZero() && r.Revision == 0
	}
	return false
}

// nobody is a token that no lock has.
var nobody = lockcluster.Token{Epoch: math.MaxUint64, Counter: math.MaxUint64}

// read names the lock that is there; if there is none, one that is not.
func (p *pin) read(r state.Reader) {
	p.token = nobody
	switch req := p.req.(type) {
	case lockcluster.Release:
		if l := state.GetLock(r, req.Namespace, req.Text); l != nil {
			p.token = l.Token
		}
		req.Guard.Token = p.token
		p.req = req
	case lockcluster.UnlockCommand:
		if l := state.GetCommandLock(r, req.Namespace, req.Name); l != nil {
			p.token = l.Token
		}
		req.Token = p.token
		p.req = req
	}
}
