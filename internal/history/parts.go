package history

import (
	"slices"

	"github.com/lockcluster/lockcluster"
)

// The requests of one entry share an index, so that their order is searched
// for. Requests about several records are taken apart into one for each
// record, so that each record's order can be searched for by itself: otherwise
// an entry of some hundred requests would be too much to search.

// entry replays the requests that share one index.
func (c *checker) entry(ops []*Op) {
	c.at = ops[0].Index()
	c.before = c.model.token
	last := c.before
	var order []record
	parts := map[record][]*Op{}
	for _, op := range c.takeApart(ops) {
		var r record // of requests about no record: all alike
		if records := recordsOf(op); len(records) > 0 {
			r = records[0]
		}
		if parts[r] == nil {
			order = append(order, r)
		}
		parts[r] = append(parts[r], op)
	}
	c.here = parts
	for _, r := range order {
		c.model.token = c.before // tokens rise for each record; tokens() looks at them all
		c.part(parts[r])
		if last.Less(c.model.token) {
			last = c.model.token
		}
	}
	c.model.token = last
}

// spared is the part of a release by pull that has not released a lock: at its
// moment the lock was not one of the pull's.
type spared struct {
	lockcluster.Release // names the lock
	by                  lockcluster.ReleaseByPull
}

func (s spared) diff(m *Model) string {
	if l := m.Lock(s.Namespace, s.Text); l != nil && freedBy(s.by, l) {
		return "a lock of that pull was not released: " + s.Text
	}
	return ""
}

// freedBy reports whether a release by pull means that lock.
func freedBy(r lockcluster.ReleaseByPull, l *lockcluster.Lock) bool {
	return l.Key.Namespace == r.Namespace && l.Key.Repo == r.Repo && l.Kind == lockcluster.KindPull && l.Owner.Pull == r.Pull &&
		(r.Host == "" || l.Owner.Host == "" || l.Owner.Host == r.Host)
}

// takeApart returns the requests with those about several records in parts.
func (c *checker) takeApart(ops []*Op) []*Op {
	var all []*Op
	add := func(whole *Op, req lockcluster.Request, res lockcluster.Result) {
		p := *whole
		p.Request, p.Result = req, res
		p.Result.Index = whole.Result.Index
		c.origin[&p] = whole
		all = append(all, &p)
	}
	applied := func(res lockcluster.Result) lockcluster.Result {
		return lockcluster.Result{Status: lockcluster.StatusApplied, Results: []lockcluster.Result{res}}
	}
	byPull := func(op *Op, r lockcluster.ReleaseByPull, res *lockcluster.Result) {
		for _, l := range res.Locks {
			add(op, lockcluster.Release{Namespace: r.Namespace, Text: l.Key.Text()},
				lockcluster.Result{Status: lockcluster.StatusReleased, Lock: &l, Token: l.Token})
		}
		for _, text := range c.sparedBy(r, res, ops) {
			add(op, spared{lockcluster.Release{Namespace: r.Namespace, Text: text}, r}, lockcluster.Result{})
		}
	}
	for _, op := range ops {
		switch r := op.Request.(type) {
		case lockcluster.ReleaseByPull:
			byPull(op, r, &op.Result)
		case lockcluster.Txn:
			if op.Result.Status != lockcluster.StatusApplied || len(op.Result.Results) != len(r.Requests) {
				continue // see Check
			}
			for i, sub := range r.Requests {
				if sub, is := sub.(lockcluster.ReleaseByPull); is {
					byPull(op, sub, &op.Result.Results[i])
					continue
				}
				add(op, lockcluster.Txn{Namespace: r.Namespace, Requests: []lockcluster.Request{sub}}, applied(op.Result.Results[i]))
			}
		case lockcluster.Import:
			for i, sub := range singles(r) {
				if i < len(op.Result.Results) {
					add(op, sub, applied(op.Result.Results[i]))
				}
			}
		default:
			all = append(all, op)
		}
	}
	return all
}

// singles returns an import of each record of r.
func singles(r lockcluster.Import) []lockcluster.Request {
	var all []lockcluster.Request
	for _, l := range r.Locks {
		l.Key.Namespace = r.Namespace
		all = append(all, lockcluster.Import{Namespace: r.Namespace, Locks: []lockcluster.Acquire{l}})
	}
	for _, l := range r.CommandLocks {
		l.Namespace = r.Namespace
		all = append(all, lockcluster.Import{Namespace: r.Namespace, CommandLocks: []lockcluster.LockCommand{l}})
	}
	for _, d := range r.Documents {
		d.Namespace = r.Namespace
		all = append(all, lockcluster.Import{Namespace: r.Namespace, Documents: []lockcluster.PutDocument{d}})
	}
	return all
}

// sparedBy returns the locks that a release by pull would have released, had
// they been the pull's at its moment: those that are its before the entry and
// those that it is granted in the entry.
func (c *checker) sparedBy(r lockcluster.ReleaseByPull, res *lockcluster.Result, entry []*Op) []string {
	var texts []string
	add := func(l *lockcluster.Lock) {
		isReleased := slices.ContainsFunc(res.Locks, func(o lockcluster.Lock) bool { return o.Key.Text() == l.Key.Text() })
		if text := l.Key.Text(); freedBy(r, l) && !isReleased && !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	for _, l := range c.model.ListRepo(r.Namespace, r.Repo) {
		add(&l)
	}
	for _, other := range entry {
		if other.Result.Status == lockcluster.StatusGranted && other.Result.Lock != nil {
			add(other.Result.Lock)
		}
	}
	return texts
}
