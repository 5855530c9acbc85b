package history

import (
	"fmt"
	"slices"
	"time"

	"github.com/lockcluster/lockcluster"
)

// The check without a log goes on with the first explanation that it finds of
// what nobody saw (explain.go), and a later answer may show that it was another
// one. So before it accuses, the record concerned is tried: all that can have
// happened to it is followed, from its first answer on. Only if nothing fits
// is an answer wrong.

// trialMax bounds a trial, in states looked at, beside what a long history needs
// at least.
const trialMax = 5_000

// verdict is the outcome of a trial.
type verdict uint8

const (
	impossible verdict = iota // no correct cluster can have answered so
	explained
	undecided // there are too many possibilities to look at
)

// guess is what one record may be like at some point.
type guess struct {
	lock     *lockcluster.Lock // of a lock's record; nil: absent
	command  *lockcluster.CommandLock
	document *lockcluster.Document
	// An unseen request made it so: the revision is not known, only that it is
	// since or later, or not the token either.
	anyRevision, anyToken bool
	since                 uint64

	token lockcluster.Token // the last one that was told
	used  []int             // how many requests of each kind have happened unseen
}

// trial follows all that can have happened to one record.
type trial struct {
	c       *checker // with a model of this record alone
	record  record
	batches [][]*Op         // what was answered, in the order of the log: writes of one entry or reads of one index
	sent    []time.Duration // for each batch, when the last request was sent that may stand before it
	kinds   [][]*possible   // unseen requests, those together that mean the same, by invocation

	open   []guess // what may be so after the batches that were looked at
	next   int     // the next batch
	from   uint64  // what is unseen now has this index or a later one
	budget int     // states that may still be looked at
	failed bool
	lost   bool // there were too many possibilities
}

// node is a point within a batch.
type node struct {
	rest  []*Op // what is not yet accounted for
	state guess
}

// advance follows the record to an index, with the reads at that index or
// without.
func (t *trial) advance(index uint64, reads bool) verdict {
	for ; t.next < len(t.batches) && !t.failed && !t.lost; t.next++ {
		first := t.batches[t.next][0]
		if first.Index() > index || first.Index() == index && first.Read != nil && !reads {
			break
		}
		t.batch(t.batches[t.next], t.sent[t.next])
		if slices.ContainsFunc(t.batches[t.next], t.tellsAll) {
			t.from = first.Index()
			if first.Read != nil {
				t.from++
			}
		}
	}
	switch {
	case t.lost:
		return undecided
	case t.failed:
		return impossible
	}
	return explained
}

// tellsAll reports whether an answer tells what the record was like. If not,
// what happened unseen before it may show only after it.
func (t *trial) tellsAll(op *Op) bool {
	if r := op.Read; r != nil {
		return !r.List && (r.Document == nil || !t.c.essential) // the record is in no listing that is left
	}
	_, isSpared := op.Request.(spared)
	_, isImport := op.Request.(lockcluster.Import)
	res := op.Result
	if res.Status == lockcluster.StatusApplied && len(res.Results) == 1 {
		res = res.Results[0]
	}
	if res.Status == lockcluster.StatusStored || res.Status == lockcluster.StatusDeleted {
		return true
	}
	return !isSpared && !mute(&res) && (res.Document == nil || !isImport && !t.c.essential) // else its value is not told
}

// mute reports whether an answer tells nothing: see Check.
func mute(r *lockcluster.Result) bool {
	if r.Status == lockcluster.StatusApplied && len(r.Results) == 1 {
		return mute(&r.Results[0])
	}
	return r.Status == lockcluster.StatusConflict || r.Status == lockcluster.StatusHostConflict
}

// batch follows the record through answers that share an index, in any order,
// with unseen steps between them.
func (t *trial) batch(ops []*Op, sent time.Duration) {
	seen := map[string][][]int{}
	var queue []node
	push := func(rest []*Op, g guess) {
		k := t.text(rest, g)
		if slices.ContainsFunc(seen[k], func(used []int) bool { return noMore(used, g.used) }) {
			return // the same with as much left for later
		}
		seen[k] = append(seen[k], g.used)
		queue = append(queue, node{rest, g})
	}
	for _, g := range t.open {
		push(ops, g)
	}
	t.open = nil
	for i := 0; i < len(queue); i++ { // the fewest steps first
		if t.budget--; t.budget < 0 {
			t.lost, t.open = true, nil
			return
		}
		n := queue[i]
		switch {
		case len(n.rest) == 0:
			t.open = append(t.open, n.state)
			continue
		case ops[0].Read != nil: // all of them saw the same
			if g, ok := t.readAll(n.rest, n.state); ok {
				push(nil, g)
			}
		case t.answers(n, push):
			continue
		}
		t.unseen(n.state, sent, func(g guess) { push(n.rest, g) })
	}
	t.failed = len(t.open) == 0
}

// text is the same for nodes from which the same can follow, but for what was
// used. Values that are not told still count: imports and command locks compare
// them. (%#v, since an owner's String leaves out the host.)
func (t *trial) text(rest []*Op, g guess) string {
	valued := compared{visible: true}
	b := fmt.Appendf(nil, "%t %t %d %s", g.anyRevision, g.anyToken, g.since, g.token)
	switch {
	case g.lock != nil:
		b = fmt.Appendf(b, " %#v", *t.c.lock(g.lock))
	case g.command != nil:
		b = fmt.Appendf(b, " %#v", *valued.commandLock(g.command))
	case g.document != nil:
		b = fmt.Appendf(b, " %#v", *valued.document(g.document))
	}
	for _, op := range rest {
		b = fmt.Appendf(b, " %p", op)
	}
	return string(b)
}

// noMore reports whether nothing is more in a than in b.
func noMore(a, b []int) bool {
	for i := range a {
		if a[i] > b[i] {
			return false
		}
	}
	return true
}

// answers goes on with each answer that fits. An answer that changes nothing
// and tells nothing new can be taken where it fits first: then there is no
// other way to go on.
func (t *trial) answers(n node, push func([]*Op, guess)) (only bool) {
	type way struct {
		at int
		to guess
	}
	var ways []way
	for i, op := range n.rest {
		to, neutral, ok := t.answer(n.state, op)
		if neutral && ok {
			ways, only = []way{{i, to}}, true
			break
		}
		if ok {
			ways = append(ways, way{i, to})
		}
	}
	for _, w := range ways {
		push(slices.Delete(slices.Clone(n.rest), w.at, w.at+1), w.to)
	}
	return only
}

// answer returns what follows from an answer to a request, if the rules give
// that answer; neutral: nothing has changed.
func (t *trial) answer(g guess, op *Op) (to guess, neutral, ok bool) {
	if mute(&op.Result) {
		return g, true, true
	}
	to = g
	for _, w := range t.c.wishes(op) {
		to.learn(w, op.Index())
	}
	neutral = to.anyRevision == g.anyRevision && to.anyToken == g.anyToken && to.token == g.token
	before := t.load(to)
	if t.c.try(op) != "" {
		return to, false, false
	}
	t.store(&to)
	if t.c.model.version != before {
		to.anyRevision, to.anyToken, neutral = false, false, false
	}
	to.token = t.c.model.token
	return to, neutral, true
}

// readAll returns what follows from reads at one index.
func (t *trial) readAll(reads []*Op, g guess) (guess, bool) {
	for _, op := range reads {
		if op.Read.List { // the record was not in the list
			if g.lock != nil && inList(op.Read, g.lock) {
				return g, false
			}
			continue
		}
		for _, w := range t.c.wishes(op) {
			g.learn(w, op.Index())
		}
		t.load(g)
		if t.c.diffRead(op.Read) != "" {
			return g, false
		}
	}
	return g, true
}

// unseen goes on with each unseen step that changes the record.
func (t *trial) unseen(g guess, sent time.Duration, push func(guess)) {
	if g.lock != nil && g.lock.TTL > 0 || g.document != nil && g.document.TTL > 0 {
		push(guess{token: g.token, used: g.used})
	}
	for i, kind := range t.kinds {
		if g.used[i] == len(kind) || kind[g.used[i]].op.Invoke >= sent {
			continue
		}
		to := g
		to.meet(kind[0].req)
		before := t.load(to)
		t.c.model.decide(Position{Index: t.from}, kind[0].req)
		if t.c.model.version == before {
			continue
		}
		t.store(&to)
		to.used = slices.Clone(g.used)
		to.used[i]++
		there := to.lock != nil || to.command != nil || to.document != nil
		to.anyToken = there && (to.anyToken || to.document == nil && g.lock == nil && g.command == nil)
		if to.anyRevision, to.since = there, 0; there {
			to.since = t.from
		}
		push(to)
	}
}

// learn takes revision and token from what was told, where they are not known.
func (g *guess) learn(w wish, index uint64) {
	var revision uint64
	var token lockcluster.Token
	switch {
	case w.lock != nil && g.lock != nil:
		revision, token = w.lock.Revision, w.lock.Token
	case w.command != nil && g.command != nil:
		revision, token = w.command.Revision, w.command.Token
	case w.document != nil && g.document != nil:
		revision = w.document.Revision
	default:
		return
	}
	if g.anyRevision && g.since <= revision && revision <= index {
		g.set(revision, lockcluster.Token{})
		g.anyRevision, g.since = false, 0
	}
	if g.anyToken && g.token.Less(token) {
		g.set(0, token)
		g.anyToken, g.token = false, token
	}
}

// meet lets an unseen request find the revision and token that it asks for,
// where they are not known.
func (g *guess) meet(req lockcluster.Request) {
	var revision uint64
	var token lockcluster.Token
	switch r := req.(type) {
	case lockcluster.Release:
		revision, token = r.Guard.Revision, r.Guard.Token
	case lockcluster.UnlockCommand:
		revision, token = r.Revision, r.Token
	case lockcluster.DeleteDocument:
		revision = r.Revision
	}
	if g.anyRevision {
		g.set(revision, lockcluster.Token{})
	}
	if g.anyToken {
		g.set(0, token)
	}
}

// set gives the record a revision and a token; zero leaves them.
func (g *guess) set(revision uint64, token lockcluster.Token) {
	if g.lock != nil {
		v := *g.lock
		v.Revision, v.Token = orOld(revision, v.Revision), orOld(token, v.Token)
		g.lock = &v
	}
	if g.command != nil {
		v := *g.command
		v.Revision, v.Token = orOld(revision, v.Revision), orOld(token, v.Token)
		g.command = &v
	}
	if g.document != nil {
		v := *g.document
		v.Revision = orOld(revision, v.Revision)
		g.document = &v
	}
}

func orOld[T comparable](v, old T) T {
	var zero T
	if v == zero {
		return old
	}
	return v
}

// load makes the model hold the record as guessed, and returns its version.
func (t *trial) load(g guess) uint64 {
	m, n := NewModel(), t.record.name
	m.Validate, m.journal, m.token = t.c.Validate, true, g.token
	if g.lock != nil {
		m.setLock(n, g.lock)
	}
	if g.command != nil {
		m.setCommand(n, g.command)
	}
	if g.document != nil {
		m.setDocument(n, g.document)
	}
	t.c.model = m
	return m.version
}

// store takes the record from the model.
func (t *trial) store(g *guess) {
	n := t.record.name
	g.lock, g.command, g.document = t.c.model.Lock(n.ns, n.key), t.c.model.CommandLock(n.ns, n.key), t.c.model.Document(n.ns, n.key)
}
