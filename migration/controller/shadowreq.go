package controller

import (
	"math"
	"slices"

	"github.com/lockcluster/lockcluster"
)

// Guards that nothing matches: no token is of epoch 0, and no record is as old
// as the log's end.
var (
	tokenOfNothing    = lockcluster.Token{Counter: math.MaxUint32}
	revisionOfNothing = uint64(math.MaxUint32) << 20
)

// shadowOf returns what the enhanced system is asked when the legacy system has
// answered req with res. Tokens and revisions are each system's own, so a guard
// that goes by those of the legacy system is left out if it has let req pass,
// and replaced by one that refuses if it has refused. ok is false for what
// cannot be compared: it was refused, and has changed nothing.
func shadowOf(req lockcluster.Request, res *lockcluster.Result) (out lockcluster.Request, ok bool) {
	refused := res.Status == lockcluster.StatusNotHolder
	switch r := req.(type) {
	case lockcluster.Release:
		if r.Guard.Revision != 0 || !r.Guard.Token.IsZero() {
			r.Guard.Revision, r.Guard.Token = 0, lockcluster.Token{}
			if refused {
				r.Guard.Token = tokenOfNothing
			}
		}
		return r, true
	case lockcluster.UnlockCommand:
		if r.Revision != 0 || !r.Token.IsZero() {
			r.Revision, r.Token = 0, lockcluster.Token{}
			if refused {
				r.Token = tokenOfNothing
			}
		}
		return r, true
	case lockcluster.DeleteDocument:
		if r.Revision != 0 {
			r.Revision = 0
			if refused {
				r.Revision = revisionOfNothing
			}
		}
		return r, true
	case lockcluster.Txn:
		return shadowOfTxn(r, res)
	}
	return req, true
}

func shadowOfTxn(r lockcluster.Txn, res *lockcluster.Result) (out lockcluster.Request, ok bool) {
	absent := slices.DeleteFunc(slices.Clone(r.Conditions), func(c lockcluster.Condition) bool { return c.Revision != 0 })
	if res.Status != lockcluster.StatusApplied {
		return r, len(absent) == len(r.Conditions) && len(r.Ranges) == 0
	}
	r.Conditions, r.Ranges = absent, nil
	r.Requests = slices.Clone(r.Requests)
	for i := range min(len(r.Requests), len(res.Results)) {
		r.Requests[i], _ = shadowOf(r.Requests[i], &res.Results[i])
	}
	return r, true
}
