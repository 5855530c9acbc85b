package history

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/lockcluster/lockcluster"
)

// realTime requires that the order by log index respects the order in which
// the clients lived: what began after a call had returned stands behind it in
// the log, a read at or behind it.
func (c *checker) realTime() {
	type event struct {
		at    time.Duration
		ended bool
		op    *Op
		index uint64
	}
	var events []event
	add := func(op *Op, index uint64, ended bool) {
		begin := op.Invoke
		if first, ok := c.invoke[requestKey{op.ID.ClientID, op.ID.Sequence}]; ok && !op.ID.IsZero() {
			begin = first
		}
		events = append(events, event{begin, false, op, index})
		if ended {
			events = append(events, event{op.Return, true, op, index})
		}
	}
	for _, op := range append(slices.Clone(c.writes), c.reads...) {
		add(op, op.Index(), true)
	}
	for op, index := range c.index {
		add(op, index, false)
	}
	slices.SortStableFunc(events, func(a, b event) int {
		// What ends when another begins counts as concurrent with it.
		return cmp.Or(cmp.Compare(a.at, b.at), boolCompare(a.ended, b.ended), cmp.Compare(a.index, b.index))
	})
	var last *Op // of those that have returned, the one with the highest index
	var lastIndex uint64
	for _, e := range events {
		switch {
		case e.ended:
			if e.index > lastIndex {
				last, lastIndex = e.op, e.index
			}
		case e.op.Read != nil && e.op.Read.Stale:
		case e.index < lastIndex, e.op.Read == nil && e.index == lastIndex:
			c.violation("real time", fmt.Sprintf("an operation at log index %d began after one at index %d had returned", e.index, lastIndex), last, e.op)
		}
	}
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// grant is one giving of a lock.
type grant struct {
	record record
	owner  lockcluster.Owner
	index  uint64 // log index, 0 if not known
	op     *Op
	// granted: op is the request that got it.
	granted bool
}

// tokens requires of all fencing tokens that anybody saw that one token is one
// grant, and that later grants have greater tokens. It needs no model, so it
// stands when the model's rules are wrong.
func (c *checker) tokens() {
	grants := map[lockcluster.Token]grant{}
	see := func(t lockcluster.Token, g grant) {
		if t.IsZero() {
			return
		}
		old, ok := grants[t]
		switch {
		case !ok:
			grants[t] = g
		case old.record != g.record || !old.owner.Same(g.owner) || old.index != 0 && g.index != 0 && old.index != g.index:
			c.violation("token", fmt.Sprintf("token %s was given twice", t), old.op, g.op)
		case old.index == 0:
			grants[t] = g
		}
	}
	for _, op := range append(slices.Clone(c.writes), c.reads...) {
		eachGrant(op, see)
	}
	order := make([]lockcluster.Token, 0, len(grants))
	for t, g := range grants {
		if g.index != 0 {
			order = append(order, t)
		}
	}
	slices.SortFunc(order, func(a, b lockcluster.Token) int {
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Counter, b.Counter))
	})
	for i := 1; i < len(order); i++ {
		if a, b := grants[order[i-1]], grants[order[i]]; a.index > b.index {
			c.violation("token", fmt.Sprintf("token %s was given at log index %d, the smaller %s later at %d", order[i], b.index, order[i-1], a.index), b.op, a.op)
		}
	}
}

// eachGrant calls see for each lock that an operation shows. The index of a
// lock that was not just granted is its revision, which is the grant's only if
// the lock cannot have changed since: leases are renewed, and a pull lock may
// have learnt its host.
func eachGrant(op *Op, see func(lockcluster.Token, grant)) {
	lock := func(l *lockcluster.Lock, granted uint64) {
		if l == nil {
			return
		}
		index := granted
		if index == 0 && l.Kind != lockcluster.KindLeased && l.Owner.Host == "" {
			index = l.Revision
		}
		see(l.Token, grant{record{lockcluster.SpaceLock, name{l.Key.Namespace, l.Key.Text()}}, l.Owner, index, op, granted != 0})
	}
	command := func(l *lockcluster.CommandLock, granted bool) {
		if l != nil {
			see(l.Token, grant{record{lockcluster.SpaceCommand, name{l.Namespace, l.Name}}, lockcluster.Owner{}, l.Revision, op, granted})
		}
	}
	if r := op.Read; r != nil {
		lock(r.Lock, 0)
		command(r.CommandLock, false)
		for i := range r.Locks {
			lock(&r.Locks[i], 0)
		}
		return
	}
	var walk func(r *lockcluster.Result)
	walk = func(r *lockcluster.Result) {
		granted := uint64(0)
		if r.Status == lockcluster.StatusGranted {
			granted = r.Index
		}
		lock(r.Lock, granted)
		command(r.CommandLock, granted != 0)
		for i := range r.Locks {
			lock(&r.Locks[i], 0)
		}
		if r.Status != lockcluster.StatusConflict { // what a refused transaction would have got was not given
			for i := range r.Results {
				walk(&r.Results[i])
			}
		}
	}
	walk(&op.Result)
}
