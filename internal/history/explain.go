package history

import (
	"slices"
	"time"

	"github.com/lockcluster/lockcluster"
)

// possible is a request that may have happened unseen: an unknown one, or one
// of an unknown transaction or import.
type possible struct {
	op   *Op
	req  lockcluster.Request
	used bool // a request happens once
}

// prepareUnknown takes the unknown requests apart. All tries of one request
// are one, and if a try was answered that one is known.
func (c *checker) prepareUnknown() {
	known := map[requestKey]bool{}
	for _, op := range c.writes {
		switch op.Result.Status {
		case lockcluster.StatusInvalid, lockcluster.StatusForgotten, lockcluster.StatusNotActive:
			// It was not decided by this try.
		default:
			known[requestKey{op.ID.ClientID, op.ID.Sequence}] = true
		}
		eachGrant(op, func(t lockcluster.Token, g grant) {
			if g.granted {
				c.granted[t] = g.index
			}
		})
		for _, part := range c.takeApart([]*Op{op}) {
			c.noteEffect(part)
		}
	}
	for _, op := range c.unknown {
		if k := (requestKey{op.ID.ClientID, op.ID.Sequence}); !op.ID.IsZero() {
			if known[k] {
				continue
			}
			known[k] = true
		}
		add := func(req lockcluster.Request) { c.left = append(c.left, &possible{op: op, req: req}) }
		switch r := op.Request.(type) {
		case lockcluster.Txn:
			for _, sub := range r.Requests {
				add(sub)
			}
		case lockcluster.Import:
			for _, l := range r.Locks {
				l.Key.Namespace = r.Namespace
				add(l)
			}
			for _, l := range r.CommandLocks {
				l.Namespace = r.Namespace
				add(l)
			}
			for _, d := range r.Documents {
				d.Namespace = r.Namespace
				d.Condition = lockcluster.PutIfAbsent
				add(d)
			}
		default:
			add(r)
		}
	}
}

// noteEffect notes the documents that an answered request stored and the
// records that it removed.
func (c *checker) noteEffect(op *Op) {
	records := recordsOf(op)
	if len(records) == 0 {
		return
	}
	req, res := op.Request, op.Result
	switch r := req.(type) {
	case lockcluster.Txn:
		req, res = r.Requests[0], op.Result.Results[0]
	case lockcluster.Import:
		if len(r.Documents) > 0 {
			req, res = r.Documents[0], op.Result.Results[0]
		}
	}
	switch res.Status {
	case lockcluster.StatusStored:
		if r, is := req.(lockcluster.PutDocument); is {
			c.stored[write{records[0], op.Index(), c.value(r.Value)}] = true
		}
	case lockcluster.StatusReleased, lockcluster.StatusDeleted:
		c.stored[write{records[0], op.Index(), removal}] = true
	}
}

// removal stands for the value of a record that was removed.
const removal = "\x00removed"

// wish is the state of one record that would explain what an operation saw.
type wish struct {
	record   record
	lock     *lockcluster.Lock // of a lock's record; nil: absent
	command  *lockcluster.CommandLock
	document *lockcluster.Document
	anyValue bool // what was stored was not told
}

// explain brings the model to a state in which what op saw is right, by way of
// unknown requests that were sent before op returned and of leases that ran
// out. If it cannot, the model stays as it was.
func (c *checker) explain(op *Op) bool {
	before := c.model.mark()
	for _, w := range c.wishes(op) {
		if !c.fulfil(w, op) {
			c.model.rollback(before)
			return false
		}
	}
	return true
}

// wishes returns what op saw of the state before it. Of several requests in
// one operation the first to touch a record counts.
func (c *checker) wishes(op *Op) []wish {
	var all []wish
	add := func(w wish) {
		if !slices.ContainsFunc(all, func(v wish) bool { return v.record == w.record }) {
			all = append(all, w)
		}
	}
	if op.Read != nil {
		c.readWishes(op.Read, add)
	} else {
		c.requestWishes(op.Request, &op.Result, add)
	}
	return all
}

func lockRecord(l *lockcluster.Lock) record {
	return record{lockcluster.SpaceLock, name{l.Key.Namespace, l.Key.Text()}}
}

func (c *checker) readWishes(r *Read, add func(wish)) {
	if !r.List {
		add(wish{record: record{r.Space, name{r.Namespace, r.Key}}, lock: r.Lock, command: r.CommandLock, document: r.Document})
		return
	}
	for i := range r.Locks {
		add(wish{record: lockRecord(&r.Locks[i]), lock: &r.Locks[i]})
	}
	for _, l := range c.listOf(r) { // what was not listed is to be absent
		add(wish{record: lockRecord(&l)})
	}
}

func (c *checker) requestWishes(req lockcluster.Request, res *lockcluster.Result, add func(wish)) {
	lock := func(ns, text string) {
		w := wish{record: record{lockcluster.SpaceLock, name{ns, text}}}
		if res.Status != lockcluster.StatusGranted {
			w.lock = res.Lock
		}
		add(w)
	}
	command := func(ns, key string) {
		w := wish{record: record{lockcluster.SpaceCommand, name{ns, key}}}
		if res.Status != lockcluster.StatusGranted {
			w.command = res.CommandLock
		}
		add(w)
	}
	document := func(ns, key string) {
		add(wish{record: record{lockcluster.SpaceDocument, name{ns, key}}, document: res.Document})
	}
	switch r := req.(type) {
	case lockcluster.Acquire:
		lock(r.Key.Namespace, r.Key.Text())
	case lockcluster.Release:
		lock(r.Namespace, r.Text)
	case spared:
		add(wish{record: record{lockcluster.SpaceLock, name{r.Namespace, r.Text}}})
	case lockcluster.LockCommand:
		command(r.Namespace, r.Name)
	case lockcluster.UnlockCommand:
		command(r.Namespace, r.Name)
	case lockcluster.PutDocument:
		document(r.Namespace, r.Key)
	case lockcluster.DeleteDocument:
		document(r.Namespace, r.Key)
	case lockcluster.SetTTL:
		document(r.Namespace, r.Key)
	case lockcluster.Txn:
		for i := range res.Results {
			c.requestWishes(r.Requests[i], &res.Results[i], add)
		}
	case lockcluster.Import:
		i := 0
		each := func(sub lockcluster.Request) {
			if i < len(res.Results) { // an import's answers hold no values
				c.requestWishes(sub, &res.Results[i], func(w wish) { w.anyValue = true; add(w) })
			}
			i++
		}
		for _, l := range r.Locks {
			l.Key.Namespace = r.Namespace
			each(l)
		}
		for _, l := range r.CommandLocks {
			l.Namespace = r.Namespace
			each(l)
		}
		for _, d := range r.Documents {
			d.Namespace = r.Namespace
			each(d)
		}
	}
}

// candidates yields the requests that may have happened before op returned and
// may still happen.
func (c *checker) candidates(op *Op, yield func(p *possible) bool) {
	deadline := op.Return
	if op.Outcome != Done {
		deadline = time.Duration(1<<63 - 1)
	}
	for _, p := range c.left {
		if p.op.Invoke >= deadline {
			return // sorted by invocation
		}
		if !p.used && !yield(p) {
			return
		}
	}
}

// happens applies an unseen request if that makes fits true. Which token it
// gave is not known here: the counter stays as it was.
func (c *checker) happens(p *possible, index uint64, fits func() bool) bool {
	before := c.model.mark()
	if !c.step("", p.op) {
		return false
	}
	c.model.decide(Position{Index: index}, p.req)
	c.model.token = before.token
	if !fits() {
		c.model.rollback(before)
		return false
	}
	p.used = true
	c.model.undo = append(c.model.undo, func() { p.used = false })
	return true
}

// step takes one of the unseen steps that are left, in the name of who takes it.
func (c *checker) step(actor string, op *Op) bool {
	if c.hidden == 0 {
		return false
	}
	c.hidden--
	c.model.undo = append(c.model.undo, func() { c.hidden++ })
	c.actor, c.actorOp = actor, op
	return true
}

// fulfil makes one wish true.
func (c *checker) fulfil(w wish, op *Op) bool {
	if c.guessed[w.record] != 0 && c.correct(w) {
		return true
	}
	last := c.touched[w.record].index
	there := c.model.Revision(w.record.name.ns, w.record.space, w.record.name.key) != 0
	if absent := w.lock == nil && w.command == nil && w.document == nil; absent && there && (last < op.Index() || op.Read != nil) &&
		c.stored[write{w.record, last, removal}] {
		c.remove(w.record) // the order within that entry was guessed wrongly
		return true
	}
	ok := false
	before := c.model.version
	switch w.record.space {
	case lockcluster.SpaceLock:
		ok = c.fulfilLock(w, op)
	case lockcluster.SpaceCommand:
		ok = c.fulfilCommand(w, op)
	default:
		ok = c.fulfilDocument(w, op)
	}
	if ok && w.anyValue && c.model.version != before {
		c.guessed[w.record] = c.model.Revision(w.record.name.ns, w.record.space, w.record.name.key)
	}
	return ok
}

func (c *checker) remove(r record) {
	switch r.space {
	case lockcluster.SpaceLock:
		c.model.setLock(r.name, nil)
	case lockcluster.SpaceCommand:
		c.model.setCommand(r.name, nil)
	default:
		c.model.setDocument(r.name, nil)
	}
}

// correct gives a record the value that was told, if the one in the model was a
// guess: an import had told of the record without its value.
func (c *checker) correct(w wish) bool {
	n := w.record.name
	if w.anyValue || c.guessed[w.record] != c.model.Revision(n.ns, w.record.space, n.key) {
		return false
	}
	switch {
	case w.lock != nil && w.lock.Revision == c.guessed[w.record]:
		c.model.setLock(n, w.lock)
	case w.command != nil && w.command.Revision == c.guessed[w.record]:
		c.model.setCommand(n, w.command)
	case w.document != nil && w.document.Revision == c.guessed[w.record]:
		c.model.setDocument(n, w.document)
	default:
		return false
	}
	return true
}
