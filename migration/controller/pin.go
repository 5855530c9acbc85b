package controller

import (
	"context"
	"math"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// pinned is a request whose repetition does no harm. A legacy system remembers
// no answers: a release that names no lock in particular, sent again because its
// answer was lost, could free the lock of whoever came next. So it is made to
// name the lock that is there now.
type pinned struct {
	req  lockcluster.Request
	lock *lockcluster.Lock        // what a release was pinned to
	cmd  *lockcluster.CommandLock // what an unlock was pinned to
	by   bool                     // it was pinned here
}

// nobody is a token that no lock has.
var nobody = lockcluster.Token{Epoch: math.MaxUint64, Counter: math.MaxUint64}

// pin reads what req is about, if it has to be pinned.
func (c *Controller) pin(ctx context.Context, m *lockcluster.Migration, req lockcluster.Request) (p pinned, err error) {
	p.req = req
	decides := m.Decides(namespaceOf(req))
	if decides == lockcluster.SystemEnhanced {
		return p, nil // it remembers its answers
	}
	legacys := func(h lockcluster.Home) bool { return decides != 0 || m.HomeOf(h) == lockcluster.SystemLegacy }
	switch r := req.(type) {
	case lockcluster.Release:
		if !r.Guard.Token.IsZero() || r.Guard.Revision != 0 {
			return p, nil
		}
		if err = c.Read(ctx, func(rd state.Reader, _ uint64) { p.lock = state.FindLock(rd, r.Namespace, r.Text) }); err != nil {
			return p, err
		}
		r.Guard.Token, p.by = nobody, p.lock == nil && decides != 0
		if p.lock != nil {
			r.Guard.Token, p.by = p.lock.Token, !p.lock.Token.IsZero() && legacys(p.lock.Home)
		}
		if p.by {
			p.req = r
		}
	case lockcluster.UnlockCommand:
		if !r.Token.IsZero() || r.Revision != 0 {
			return p, nil
		}
		if err = c.Read(ctx, func(rd state.Reader, _ uint64) { p.cmd = state.GetCommandLock(rd, r.Namespace, r.Name) }); err != nil {
			return p, err
		}
		r.Token, p.by = nobody, p.cmd == nil && decides != 0
		if p.cmd != nil {
			r.Token, p.by = p.cmd.Token, !p.cmd.Token.IsZero() && legacys(p.cmd.Home)
		}
		if p.by {
			p.req = r
		}
	}
	return p, nil
}

// answer is what the client is told. again means that the lock was another one
// by the time of the only try: the client meant whatever is there.
func (p *pinned) answer(res lockcluster.Result, tries int) (answer lockcluster.Result, again bool) {
	if !p.by || res.Status != lockcluster.StatusNotHolder {
		return res, false
	}
	if p.lock != nil && res.Lock != nil && res.Lock.Token == p.lock.Token || p.cmd != nil && res.CommandLock != nil && res.CommandLock.Token == p.cmd.Token {
		return res, false // another guard of the client's does not hold
	}
	switch {
	case p.lock == nil && p.cmd == nil: // when it was looked for there was none
		return lockcluster.Result{Status: lockcluster.StatusNotFound, Index: res.Index}, false
	case tries == 1:
		return res, true
	}
	// An earlier try, whose answer was lost, has done it, or somebody else has:
	// the lock that was meant is free.
	return lockcluster.Result{Status: lockcluster.StatusReleased, Index: res.Index, Lock: p.lock, CommandLock: p.cmd}, false
}
