package history

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/lockcluster/lockcluster"
)

// The check without a log takes the answers as the log: they are replayed in
// the order of their indexes. The commands of one entry share an index, so
// their order is searched for; what nobody has seen is explained (explain.go).

// searchMax bounds the search for the order within one entry, in commands
// tried, beside what a large entry needs at least.
const searchMax = 20_000

// witness checks the history without a log.
func (c *checker) witness() {
	c.model.journal = true
	c.prepareUnknown()
	writes, reads := c.distinct(), c.reads
	c.gather(writes)
	for len(writes) > 0 || len(reads) > 0 {
		if c.full() {
			return
		}
		index := ^uint64(0)
		if len(writes) > 0 {
			index = writes[0].Index()
		}
		if len(reads) > 0 && reads[0].Index() < index {
			c.witnessRead(reads[0])
			reads = reads[1:]
			continue
		}
		n := 1
		for n < len(writes) && writes[n].Index() == index {
			n++
		}
		c.entry(writes[:n])
		writes = writes[n:]
		c.model.undo = nil
	}
	happened := map[*Op]bool{}
	for _, p := range c.left {
		if p.used {
			happened[p.op] = true
		}
	}
	c.report.Happened = len(happened)
}

// distinct returns the answered requests without repetitions: all tries of one
// request must have got one answer.
func (c *checker) distinct() []*Op {
	first := map[requestKey]*Op{}
	var all []*Op
	for _, op := range c.writes {
		k := requestKey{op.ID.ClientID, op.ID.Sequence}
		switch old := first[k]; {
		case op.Result.Status == lockcluster.StatusInvalid, op.Result.Status == lockcluster.StatusForgotten,
			op.Result.Status == lockcluster.StatusNotActive: // nothing was decided, another try may be
		case op.ID.IsZero():
			all = append(all, op)
		case old == nil:
			first[k] = op
			all = append(all, op)
		default:
			if d := c.diff(old.Result, op.Result); d != "" {
				c.violation("answer", "two tries of one request got two answers: "+d, old, op)
			}
		}
	}
	return all
}

// part replays requests that may see each other, in an order that fits.
func (c *checker) part(ops []*Op) {
	slices.SortStableFunc(ops, func(a, b *Op) int {
		x, y := firstGrant(&a.Result), firstGrant(&b.Result)
		return cmp.Or(cmp.Compare(x.Epoch, y.Epoch), cmp.Compare(x.Counter, y.Counter))
	})
	for _, c.hidden = range []int{0, 1, 2, 3, 4, 8, 16} { // the fewest unseen steps
		if budget := searchMax + 20*len(ops)*len(ops); c.search(ops, &budget) {
			return
		}
	}
	if c.mayAppeal(ops) {
		switch c.appeal(recordsOf(ops[0])[:1], c.at, false) {
		case explained:
			return
		case undecided:
			c.believe(ops, func(*Op) {})
			return
		case impossible:
		}
	}
	c.believe(ops, func(op *Op) { c.mismatch("answer", c.try(op), op) })
}

// believe takes for true what requests of one entry say, one after the other
// as they fit, and calls wrong for those that do not.
func (c *checker) believe(ops []*Op, wrong func(*Op)) {
	c.hidden = 1000
	for len(ops) > 0 && !c.full() {
		i := slices.IndexFunc(ops, func(op *Op) bool { return c.try(op) == "" || c.explain(op) && c.try(op) == "" })
		if i < 0 {
			i = 0
			wrong(ops[0])
			c.adopt(ops[0])
		}
		ops = slices.Delete(ops, i, i+1)
	}
}

// search finds an order in which each answer is the model's, with at most
// c.hidden unseen steps between them. It leaves the model behind that order,
// or as it was.
func (c *checker) search(ops []*Op, budget *int) bool {
	start := c.model.mark()
	var rest []*Op
	for _, op := range ops { // what changes nothing comes as soon as it fits
		before := c.model.version
		if *budget--; c.try(op) != "" || c.model.version != before {
			c.model.rollback(start)
			rest = append(rest, op)
		}
	}
	if len(rest) == 0 {
		return true
	}
	for i, op := range rest {
		for _, explained := range []bool{false, true} {
			if *budget--; *budget < 0 {
				return false
			}
			if (!explained || c.hidden > 0 && c.explain(op)) && c.try(op) == "" && c.search(slices.Delete(slices.Clone(rest), i, i+1), budget) {
				return true
			}
			c.model.rollback(start)
		}
	}
	return false
}

// try applies a request and returns how the model's answer differs from the
// one that was given; if it does, the model stays as it was. Tokens that
// nobody saw are skipped: the counter is set to what the answer says, as long
// as it rises.
func (c *checker) try(op *Op) string {
	switch op.Result.Status {
	case lockcluster.StatusConflict, lockcluster.StatusHostConflict:
		return "" // see Check: what they say they saw is not told
	}
	before := c.model.mark()
	c.actor, c.actorOp = "", op
	if first := firstGrant(&op.Result); !first.IsZero() {
		if !c.model.token.Less(first) {
			return fmt.Sprintf("token %s after %s", first, c.model.token)
		}
		c.model.token = lockcluster.Token{Epoch: first.Epoch, Counter: first.Counter - 1}
	}
	if _, ok := op.Request.(lockcluster.BumpEpoch); ok {
		if c.model.token.Epoch >= op.Result.Token.Epoch {
			return fmt.Sprintf("epoch %d after %d", op.Result.Token.Epoch, c.model.token.Epoch)
		}
		c.model.token = op.Result.Token
		c.model.token.Epoch--
	}
	if r, ok := op.Request.(spared); ok {
		return r.diff(c.model)
	}
	d := c.diff(c.model.decide(Position{Index: op.Index()}, op.Request), op.Result)
	if d != "" {
		c.model.rollback(before)
	}
	return d
}

// firstGrant returns the first token that an answer gives, the zero token if
// it gives none.
func firstGrant(r *lockcluster.Result) lockcluster.Token {
	switch r.Status {
	case lockcluster.StatusGranted:
		return r.Token
	case lockcluster.StatusApplied:
		for i := range r.Results {
			if t := firstGrant(&r.Results[i]); !t.IsZero() {
				return t
			}
		}
	}
	return lockcluster.Token{}
}

// witnessRead compares a read with the model as of its index.
func (c *checker) witnessRead(op *Op) {
	c.at = op.Index()
	d := c.diffRead(op.Read)
	for _, c.hidden = range []int{1, 2, 4, 1000} {
		if d != "" && c.explain(op) {
			d = c.diffRead(op.Read)
		}
	}
	if d == "" {
		return
	}
	if listed(op.Read) {
		var records []record
		for _, w := range c.wishes(op) {
			records = append(records, w.record)
		}
		v := c.appeal(records, op.Index(), true)
		if v == undecided {
			c.adopt(op)
		}
		if v != impossible {
			return
		}
	}
	c.mismatch("read", d, op)
	c.adopt(op)
}
