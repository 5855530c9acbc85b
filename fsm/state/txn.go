package state

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state/statepb"
)

// txn applies all requests or none. The requests run by the same rules as
// alone, on an overlay that is thrown away when one of them is refused.
func (a *Applier) txn(r lockcluster.Txn) lockcluster.Result {
	if key, ok := conditionsHold(a.tx, r); !ok {
		return lockcluster.Result{Status: lockcluster.StatusConflict, Text: key + " has changed"}
	}
	sub, overlay := a.nested()
	res := lockcluster.Result{Status: lockcluster.StatusApplied}
	for _, req := range r.Requests {
		one := sub.mutate(req)
		one.Index = a.env.Index
		res.Results = append(res.Results, one)
		if refused(one.Status) {
			res.Status = lockcluster.StatusConflict
			res.Text = fmt.Sprintf("request %d of the transaction was refused: %s", len(res.Results), one.Status)
			return res
		}
	}
	a.take(sub, overlay)
	return res
}

// take makes what a nested applier did a's own.
func (a *Applier) take(sub *Applier, overlay *Overlay) {
	overlay.Flush(a.tx)
	a.meta, a.changes = sub.meta, append(a.changes, sub.changes...)
}

// nested returns an applier whose writes go to an overlay of a's transaction.
func (a *Applier) nested() (*Applier, *Overlay) {
	overlay := NewOverlay(a.tx)
	return &Applier{tx: overlay, env: a.env, meta: proto.CloneOf(a.meta), books: a.books, road: a.road, routed: a.routed}, overlay
}

// Trial decides requests on top of an overlay without a log: what a script
// sees while it runs. Its answers carry no index.
func Trial(overlay *Overlay, env Env, req lockcluster.Request) lockcluster.Result {
	if err := Validate(req); err != nil {
		return lockcluster.Result{Status: lockcluster.StatusInvalid, Text: err.Error()}
	}
	if err := refusedByLegacy(env.System, req); err != nil {
		return lockcluster.Result{Status: lockcluster.StatusInvalid, Text: err.Error()}
	}
	a := Begin(overlay, env)
	res := a.mutate(req)
	a.End()
	return res
}

// refused reports whether a status means that a request had no effect because
// of the present state. "Not found" and "already held" are no refusals: a
// transaction that deletes what is not there has got what it asked for.
func refused(s lockcluster.Status) bool {
	switch s {
	case lockcluster.StatusHeld, lockcluster.StatusHostConflict, lockcluster.StatusNotHolder, lockcluster.StatusNotStored, lockcluster.StatusInvalid:
		return true
	}
	return false
}

// conditionsHold returns false and the space of the first condition that does
// not hold any more.
func conditionsHold(r Reader, t lockcluster.Txn) (string, bool) {
	for _, c := range t.Conditions {
		if Revision(r, t.Namespace, c.Space, c.Key) != c.Revision {
			return "a key that was read", false
		}
	}
	for _, c := range t.Ranges {
		if !bytes.Equal(RangeDigest(r, t.Namespace, c.Space, c.Prefix), c.Digest) {
			return "a listing that was read", false
		}
	}
	return "", true
}

// importRecords takes over what is not there yet, record by record; a record
// that is refused does not keep the others out.
func (a *Applier) importRecords(r lockcluster.Import) lockcluster.Result {
	res := lockcluster.Result{Status: lockcluster.StatusApplied}
	add := func(one lockcluster.Result) {
		one.Index = a.env.Index
		res.Results = append(res.Results, WithoutValues(one))
	}
	for _, l := range r.Locks {
		l.Key.Namespace = r.Namespace
		add(a.acquire(l, false))
	}
	for _, c := range r.CommandLocks {
		c.Namespace = r.Namespace
		add(a.lockCommand(c))
	}
	for _, d := range r.Documents {
		d.Namespace = r.Namespace
		if old := GetDocument(a.tx, d.Namespace, d.Key); old != nil {
			status := lockcluster.StatusHeld
			if bytes.Equal(old.Value, d.Value) {
				status = lockcluster.StatusAlreadyHeld
			}
			add(lockcluster.Result{Status: status, Document: old})
			continue
		}
		add(a.putDocument(d))
	}
	return res
}

// WithoutValues drops the stored bytes from an answer at any depth: an import
// would otherwise be remembered with all it brought.
func WithoutValues(res lockcluster.Result) lockcluster.Result {
	if res.Lock != nil {
		lock := *res.Lock
		lock.Value = nil
		res.Lock = &lock
	}
	if res.CommandLock != nil {
		lock := *res.CommandLock
		lock.Value = nil
		res.CommandLock = &lock
	}
	if res.Document != nil {
		doc := *res.Document
		doc.Value = nil
		res.Document = &doc
	}
	res.Locks = slices.Clone(res.Locks)
	for i := range res.Locks {
		res.Locks[i].Value = nil
	}
	res.Results = slices.Clone(res.Results)
	for i := range res.Results {
		res.Results[i] = WithoutValues(res.Results[i])
	}
	return res
}

func (a *Applier) registerNode(r lockcluster.RegisterNode) lockcluster.Result {
	a.tx.Put(nodeKey(r.NodeID), encode(&statepb.NodeRecord{
		RaftAddr: r.RaftAddr, GrpcAddr: r.GRPCAddr, HttpAddr: r.HTTPAddr, RespAddr: r.RESPAddr,
		Version: r.Version, FeatureLevel: r.FeatureLevel,
	}))
	return lockcluster.Result{Status: lockcluster.StatusApplied}
}
