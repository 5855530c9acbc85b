package history

import (
	"slices"

	"github.com/lockcluster/lockcluster"
)

// Registers turns an indexed history into calls on registers, for the second
// opinion: acquires, releases and reads of pull locks and of held locks. Keys
// that were ever leased, imported or part of a transaction are left out: a
// register knows no expiry and no second key.
func Registers(ops []Op) []RegisterOp {
	skip := map[string]bool{}
	touched := map[string][]string{} // repository -> keys with locks of pulls
	note := func(key lockcluster.Key) {
		repo, text := key.Namespace+" "+key.Repo, key.Namespace+" "+key.Text()
		if !slices.Contains(touched[repo], text) {
			touched[repo] = append(touched[repo], text)
		}
	}
	for i := range ops {
		switch r := ops[i].Request.(type) {
		case lockcluster.Acquire:
			note(r.Key)
			if r.TTL > 0 {
				skip[r.Key.Namespace+" "+r.Key.Text()] = true
			}
		case lockcluster.Txn, lockcluster.Import:
			for _, rec := range recordsOf(&ops[i]) {
				skip[rec.name.ns+" "+rec.name.key] = true
			}
			if in, is := r.(lockcluster.Import); is {
				for _, l := range in.Locks {
					skip[in.Namespace+" "+l.Key.Text()] = true
				}
			}
		}
	}
	var all []RegisterOp
	for _, op := range oncePerRequest(ops) {
		all = append(all, registerOps(&op, touched)...)
	}
	return slices.DeleteFunc(all, func(o RegisterOp) bool { return skip[o.Key] })
}

// oncePerRequest makes one call of all tries of a request: from the first try
// to the first answer.
func oncePerRequest(ops []Op) []Op {
	at := map[requestKey]int{}
	var all []Op
	for _, op := range ops {
		k := requestKey{op.ID.ClientID, op.ID.Sequence}
		i, again := at[k]
		switch {
		case op.ID.IsZero() || op.Outcome == Failed:
			all = append(all, op)
		case !again:
			at[k] = len(all)
			all = append(all, op)
		default:
			begin := min(all[i].Invoke, op.Invoke)
			undecided := all[i].Outcome == Unknown || all[i].Result.Status == lockcluster.StatusNotActive
			if op.Result.Status != lockcluster.StatusNotActive && (undecided || op.Outcome == Done && op.Return < all[i].Return) {
				all[i] = op
			}
			all[i].Invoke = begin
		}
	}
	return all
}

func holderName(o lockcluster.Owner) string {
	o.Host = "" // equal for the same pull, known or not
	return o.String()
}

func registerOps(op *Op, touched map[string][]string) []RegisterOp {
	base := RegisterOp{Client: op.Client, Invoke: op.Invoke, Return: op.Return, Outcome: op.Outcome}
	if op.Outcome == Done && op.Result.Lock != nil {
		base.Seen = holderName(op.Result.Lock.Owner)
	}
	switch r := op.Request.(type) {
	case lockcluster.Acquire:
		switch s := op.Result.Status; {
		case op.Outcome != Done:
		case s == lockcluster.StatusHostConflict, s == lockcluster.StatusInvalid, s == lockcluster.StatusForgotten, s == lockcluster.StatusNotActive:
			return nil
		}
		base.Key, base.Kind, base.Holder = r.Key.Namespace+" "+r.Key.Text(), RegisterAcquire, holderName(r.Owner)
		base.OK = op.Result.Status == lockcluster.StatusGranted || op.Result.Status == lockcluster.StatusAlreadyHeld
		return []RegisterOp{base}
	case lockcluster.Release:
		base.Key, base.Kind = r.Namespace+" "+r.Text, RegisterRelease
		return registerRelease(base, op, r)
	case lockcluster.ReleaseByPull:
		return registerReleaseByPull(base, op, r, touched[r.Namespace+" "+r.Repo])
	}
	if r := op.Read; r != nil && !r.List && !r.Stale && r.Space == lockcluster.SpaceLock {
		base.Key, base.Kind = r.Namespace+" "+r.Key, RegisterGet
		if r.Lock != nil {
			base.Seen = holderName(r.Lock.Owner)
		}
		return []RegisterOp{base}
	}
	return nil
}

func registerRelease(base RegisterOp, op *Op, r lockcluster.Release) []RegisterOp {
	switch {
	case op.Outcome == Done && op.Result.Status == lockcluster.StatusReleased:
		base.OK, base.Holder = true, holderName(op.Result.Lock.Owner)
	case op.Outcome == Done && op.Result.Status == lockcluster.StatusNotFound:
		base.Kind, base.Seen = RegisterGet, ""
	case op.Outcome == Done && op.Result.Status == lockcluster.StatusNotHolder:
		base.Kind = RegisterGet
	case op.Outcome == Done:
		return nil
	case r.Guard.Owner != nil:
		base.Holder = holderName(*r.Guard.Owner)
	}
	return []RegisterOp{base}
}

// registerReleaseByPull gives each key of the repository a release: those that
// were freed for sure, the others, where the outcome is unknown, perhaps.
func registerReleaseByPull(base RegisterOp, op *Op, r lockcluster.ReleaseByPull, keys []string) []RegisterOp {
	base.Kind, base.Seen = RegisterRelease, ""
	base.Holder = holderName(lockcluster.Owner{Repo: r.Repo, Pull: r.Pull})
	var all []RegisterOp
	if op.Outcome == Unknown {
		for _, key := range keys {
			base.Key = key
			all = append(all, base)
		}
		return all
	}
	for i := range op.Result.Locks {
		l := &op.Result.Locks[i]
		base.Key, base.OK, base.Holder = r.Namespace+" "+l.Key.Text(), true, holderName(l.Owner)
		all = append(all, base)
	}
	return all
}
