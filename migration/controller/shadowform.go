package controller

import "github.com/lockcluster/lockcluster"

// asShadowed is req as the enhanced system can judge it. Tokens and revisions
// are each system's own while both decide, so a condition on them is left out
// if the legacy system has found it met; one that was not met stays, and is not
// met in the enhanced system either. What a condition says about there being a
// record at all stays in any case.
func asShadowed(req lockcluster.Request, res *lockcluster.Result) lockcluster.Request {
	met := res.Status != lockcluster.StatusNotHolder
	switch r := req.(type) {
	case lockcluster.Release:
		if met {
			r.Guard.Token, r.Guard.Revision = lockcluster.Token{}, 0
		}
		return r
	case lockcluster.UnlockCommand:
		if met {
			r.Token, r.Revision = lockcluster.Token{}, 0
		}
		return r
	case lockcluster.DeleteDocument:
		if met {
			r.Revision = 0
		}
		return r
	case lockcluster.PutDocument:
		if res.Status == lockcluster.StatusStored {
			r.Revision = 0
		}
		return r
	case lockcluster.ReleaseByPull:
		r.Upto = lockcluster.Token{}
		return r
	case lockcluster.Txn:
		if res.Status != lockcluster.StatusApplied || len(res.Results) != len(r.Requests) {
			return r
		}
		out := lockcluster.Txn{Namespace: r.Namespace}
		for _, c := range r.Conditions {
			if c.Revision == 0 {
				out.Conditions = append(out.Conditions, c)
			}
		}
		for i, inner := range r.Requests {
			out.Requests = append(out.Requests, asShadowed(inner, &res.Results[i]))
		}
		return out
	}
	return req
}
