package history

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/lockcluster/lockcluster"
)

// evidence is all that was answered, by record, and the trials so far.
type evidence struct {
	parts   map[record][]*Op // of answered requests, and reads of one record
	byPull  []*Op            // answered releases by pull, also in transactions: a part of each
	lists   []*Op
	byTrial map[record]*trial
}

// gather sorts what was answered by record.
func (c *checker) gather(writes []*Op) {
	c.parts, c.byTrial = map[record][]*Op{}, map[record]*trial{}
	for _, op := range writes {
		for _, part := range c.takeApart([]*Op{op}) {
			if _, is := part.Request.(spared); is {
				continue // by what the model holds just now
			}
			if records := recordsOf(part); len(records) > 0 {
				c.parts[records[0]] = append(c.parts[records[0]], part)
			}
		}
		reqs, applied := []lockcluster.Request{op.Request}, true
		if r, is := op.Request.(lockcluster.Txn); is {
			reqs, applied = r.Requests, op.Result.Status == lockcluster.StatusApplied
		}
		for _, req := range reqs {
			if r, is := req.(lockcluster.ReleaseByPull); is && applied {
				part := *op
				part.Request, part.Result = r, lockcluster.Result{Index: op.Index()}
				c.origin[&part] = op
				c.byPull = append(c.byPull, &part)
			}
		}
	}
	for _, op := range c.reads {
		if r := op.Read; r.List {
			c.lists = append(c.lists, op)
		} else {
			of := record{r.Space, name{r.Namespace, r.Key}}
			c.parts[of] = append(c.parts[of], op)
		}
	}
}

// trialOf returns the trial of a record, at its beginning if there was none yet.
func (c *checker) trialOf(r record) *trial {
	if t := c.byTrial[r]; t != nil {
		return t
	}
	alone := &checker{Options: c.Options, compared: c.compared}
	t := &trial{c: alone, record: r, kinds: c.kindsOf(r)}
	t.open = []guess{{used: make([]int, len(t.kinds))}}
	all := slices.Clone(c.parts[r])
	if r.space == lockcluster.SpaceLock {
		all = append(all, c.asideOf(r)...)
	}
	slices.SortStableFunc(all, func(a, b *Op) int {
		return cmp.Or(cmp.Compare(a.Index(), b.Index()), boolCompare(a.Read != nil, b.Read != nil))
	})
	for _, op := range all {
		if n := len(t.batches); n > 0 && t.batches[n-1][0].Index() == op.Index() && (t.batches[n-1][0].Read != nil) == (op.Read != nil) {
			t.batches[n-1] = append(t.batches[n-1], op)
			continue
		}
		t.batches = append(t.batches, []*Op{op})
	}
	t.budget = trialMax + 50*len(all)
	t.sent = make([]time.Duration, len(t.batches))
	last := time.Duration(math.MaxInt64)
	for i := len(t.batches) - 1; i >= 0; i-- {
		for _, op := range t.batches[i] {
			last = min(last, op.Return)
		}
		t.sent[i] = last
	}
	c.byTrial[r] = t
	return t
}

// asideOf returns what operations that name no lock tell of this one: releases
// by pull that did not release it, and listings.
func (c *checker) asideOf(r record) []*Op {
	var all []*Op
	named := map[*Op]bool{}
	for _, part := range c.parts[r] {
		named[c.origin[part]] = true
	}
	for _, op := range c.byPull {
		if by := op.Request.(lockcluster.ReleaseByPull); by.Namespace == r.name.ns && !named[c.origin[op]] {
			part := *op
			part.Request = spared{lockcluster.Release{Namespace: r.name.ns, Text: r.name.key}, by}
			all = append(all, &part)
		}
	}
	for _, op := range c.lists {
		if op.Read.Namespace != r.name.ns {
			continue
		}
		for i := range op.Read.Locks {
			if l := &op.Read.Locks[i]; l.Key.Text() == r.name.key {
				part := *op
				part.Read = &Read{Namespace: r.name.ns, Space: r.space, Key: r.name.key, Index: op.Read.Index, Lock: l}
				op = &part
				break
			}
		}
		all = append(all, op)
	}
	return all
}

// listed reports whether what a read tells is what was asked for, in order.
func listed(r *Read) bool {
	for i := range r.Locks {
		if !inList(r, &r.Locks[i]) || i > 0 && r.Locks[i-1].Key.Text() >= r.Locks[i].Key.Text() {
			return false
		}
	}
	return true
}

// inList reports whether a listing is to show a lock.
func inList(r *Read, l *lockcluster.Lock) bool {
	return l.Key.Namespace == r.Namespace && (r.Repo == "" || l.Key.Repo == r.Repo) &&
		(r.Repo == "" || r.Pull == 0 || l.Kind == lockcluster.KindPull && l.Owner.Pull == r.Pull)
}

// kindsOf returns the unknown requests about a record.
func (c *checker) kindsOf(r record) [][]*possible {
	var kinds [][]*possible
	of := map[string]int{}
	for _, p := range c.left {
		by, isByPull := p.req.(lockcluster.ReleaseByPull)
		about := isByPull && r.space == lockcluster.SpaceLock && by.Namespace == r.name.ns
		if !about && !slices.Contains(recordsOf(&Op{Request: p.req}), r) {
			continue
		}
		req := p.req
		if a, is := req.(lockcluster.Acquire); is && c.essential {
			a.User, a.Priority, a.Value, a.AcquiredAt = "", 0, nil, time.Time{}
			req = a
		}
		k := requestBytes(req)
		i, ok := of[k]
		if !ok {
			i = len(kinds)
			of[k], kinds = i, append(kinds, nil)
		}
		kinds[i] = append(kinds[i], p)
	}
	return kinds
}

// appeal tries the records of an answer that seems wrong. Unless it is found
// impossible, it is counted and the model takes the record as it may be.
func (c *checker) appeal(records []record, index uint64, reads bool) verdict {
	worst := explained
	for _, r := range records {
		switch v := c.trialOf(r).advance(index, reads); v {
		case impossible:
			return impossible
		case undecided:
			worst = undecided
		case explained:
		}
	}
	for _, r := range records {
		if t := c.trialOf(r); !t.lost {
			c.settle(t)
		}
	}
	if worst == undecided {
		c.report.Undecided++
	} else {
		c.report.Tried++
	}
	return worst
}

// mayAppeal reports whether what else happened to their record could make
// answers of one entry right: not if tokens do not rise, or if another record
// forbids them.
func (c *checker) mayAppeal(ops []*Op) bool {
	if len(recordsOf(ops[0])) == 0 {
		return false
	}
	for _, op := range ops {
		first := firstGrant(&op.Result)
		if !first.IsZero() && (!c.before.Less(first) || c.boundSurely(op)) {
			return false
		}
	}
	return true
}

// boundSurely reports whether a granted lock is of a repository that was
// certainly bound to another host: nobody can have released a lock from there
// unseen or in the same entry, nor taken one from the granted lock's host.
func (c *checker) boundSurely(op *Op) bool {
	l := granted(&op.Result)
	if l == nil || l.Owner.Host == "" {
		return false
	}
	for _, p := range c.left {
		for _, r := range recordsOf(&Op{Request: p.req}) {
			if other := c.model.Lock(r.name.ns, r.name.key); r.space == lockcluster.SpaceLock && (other == nil || other.Key.Repo == l.Key.Repo) {
				return false
			}
		}
		if r, is := p.req.(lockcluster.ReleaseByPull); is && r.Repo == l.Key.Repo {
			return false
		}
	}
	bound := false
	for _, other := range c.model.ListRepo(l.Key.Namespace, l.Key.Repo) {
		switch {
		case other.Owner.Host == l.Owner.Host:
			return false
		case len(c.here[lockRecord(&other)]) > 0: // in an order that is not known
		case other.Owner.Host != "" && other.TTL == 0:
			bound = true
		}
	}
	return bound
}

// granted returns the lock that an answer gives.
func granted(r *lockcluster.Result) *lockcluster.Lock {
	if r.Status == lockcluster.StatusApplied && len(r.Results) == 1 {
		return granted(&r.Results[0])
	}
	if r.Status != lockcluster.StatusGranted {
		return nil
	}
	return r.Lock
}

// settle takes for true what explains the answers so far with the fewest
// unseen steps.
func (c *checker) settle(t *trial) {
	g, n := t.open[0], t.record.name
	switch t.record.space {
	case lockcluster.SpaceLock:
		c.model.setLock(n, g.lock)
	case lockcluster.SpaceCommand:
		c.model.setCommand(n, g.command)
	default:
		c.model.setDocument(n, g.document)
	}
	if c.model.token.Less(g.token) {
		c.model.token = g.token
	}
	for i, kind := range t.kinds {
		for j, p := range kind {
			if _, is := p.req.(lockcluster.ReleaseByPull); !is { // see releasedUnseen
				p.used = j < g.used[i]
			}
		}
	}
}
