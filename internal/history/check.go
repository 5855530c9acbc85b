package history

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lockcluster/lockcluster"
)

// Options say what a history can be held to.
type Options struct {
	// Log resolves unknown outcomes and is replayed; nil if there is none.
	Log LogSource
	// Essential compares what decides (status, index, keys, holders, tokens,
	// revisions) and not stored values, users and times: for histories taken
	// at a door that does not give them out.
	Essential bool
	// Validate tells which requests the rules refuse to look at
	// (fsm/state.Validate); nil: none of those in the log.
	Validate func(lockcluster.Request) error
	// ViolationsMax ends the check when so many were found; 0 means 10.
	ViolationsMax int
}

// Violation is something that a correct cluster cannot have answered.
type Violation struct {
	Rule string // "answer", "read", "real time", "lost", "log" or "token"
	Text string
	Ops  []Op // the operations that show it, as few as possible
}

// String returns the violation on several lines.
func (v Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", v.Rule, v.Text)
	for i := range v.Ops {
		b.WriteString("\n  " + v.Ops[i].String())
	}
	return b.String()
}

// Report is the outcome of a check.
type Report struct {
	Requests  int // answered requests that were compared
	Reads     int // answered reads that were compared
	Unknown   int // requests whose outcome the client does not know
	Happened  int // of those, the ones that were found to have happened
	Unchecked int // answers without a log index
	// Without a log only: answers that seemed wrong by what was thought to have
	// happened unseen. Tried are those that all else that can have happened
	// explains, Undecided those with too many possibilities to look at.
	Tried, Undecided int
	// Violations in the order found.
	Violations []Violation
}

// Err returns the violations as one error, nil if there are none.
func (r *Report) Err() error {
	var errs []error
	for _, v := range r.Violations {
		errs = append(errs, errors.New(v.String()))
	}
	return errors.Join(errs...)
}

// String is a line for a person.
func (r *Report) String() string {
	return fmt.Sprintf("%d requests and %d reads checked, %d of %d unknown outcomes happened, %d without index, %d explained by a trial, %d undecided, %d violations",
		r.Requests, r.Reads, r.Happened, r.Unknown, r.Unchecked, r.Tried, r.Undecided, len(r.Violations))
}

// Check judges a history. An error means that it could not be judged.
//
// With a log, what the log holds is replayed: every answer and read must be
// the model's at its index, every answered request must be in the log, and the
// answers that the log's source knows must be the model's too.
//
// Without a log, the answers themselves are the log. What nobody saw is
// allowed for: tokens may skip, leases may run out, and each unknown request
// may have happened at any one point after it was sent. An answer is wrong only
// if nothing that can have happened to its record explains it; with too many
// possibilities it is undecided ([Report.Undecided]). Not found then: a
// request that was answered and left no trace that anybody looked at, whether
// a transaction or a release by pull was applied to all of its records at one
// moment, whether a transaction's conditions held, and a wrong "host conflict"
// or "conflict".
func Check(ops []Op, o Options) (*Report, error) {
	c := newChecker(ops, o)
	if o.Log != nil {
		if err := c.replay(); err != nil {
			return nil, err
		}
	} else {
		c.witness()
	}
	c.tokens()
	c.realTime()
	return c.report, nil
}

func newChecker(ops []Op, o Options) *checker {
	if o.ViolationsMax == 0 {
		o.ViolationsMax = 10
	}
	c := &checker{
		Options: o, compared: compared{essential: o.Essential, visible: o.Log == nil},
		model: NewModel(), report: &Report{}, touched: map[record]touch{}, origin: map[*Op]*Op{}, guessed: map[record]uint64{},
		granted: map[lockcluster.Token]uint64{}, stored: map[write]bool{},
	}
	c.model.changed = c.touch
	c.model.Validate = o.Validate
	c.sortIn(ops)
	return c
}

// touch is a change of a record.
type touch struct {
	what  string // for a person, if it was no recorded operation
	by    *Op
	index uint64
}

// touch notes who changes a record.
func (c *checker) touch(space lockcluster.Space, n name) {
	r := record{space, n}
	if c.model.journal {
		old := c.touched[r]
		c.model.undo = append(c.model.undo, func() { c.touched[r] = old })
	}
	c.touched[r] = touch{c.actor, c.actorOp, c.at}
}

// record is what a change was made to.
type record struct {
	space lockcluster.Space
	name  name
}

// write is a document that an answered request stored, or a record that it
// removed.
type write struct {
	record record
	index  uint64
	value  string
}

type requestKey struct {
	client   string
	sequence uint64
}

type checker struct {
	Options
	compared
	model  *Model
	report *Report

	writes  []*Op // answered requests with an index, by index
	reads   []*Op // answered reads with an index, by index
	unknown []*Op // requests with an unknown outcome, by invocation

	index  map[*Op]uint64 // where unknown requests turned out to have happened
	invoke map[requestKey]time.Duration

	// Without a log only: what is left of the unknown requests and how many
	// unseen steps may still be taken (explain.go), and the requests that parts
	// of requests came from (parts.go).
	left   []*possible
	hidden int
	origin map[*Op]*Op
	// The last token before the entry that is looked at, the entry's requests by
	// record, and what is needed to try records (trial.go, evidence.go).
	before lockcluster.Token
	here   map[record][]*Op
	evidence
	// Records of which it was only told that they are there: by revision.
	guessed map[record]uint64
	// What answered requests did: where tokens were granted and documents stored.
	granted map[lockcluster.Token]uint64
	stored  map[write]bool

	// Who is changing the model just now, and who changed each record last.
	actor   string
	actorOp *Op
	at      uint64
	touched map[record]touch
}

func (c *checker) sortIn(ops []Op) {
	c.index = map[*Op]uint64{}
	c.invoke = map[requestKey]time.Duration{}
	for i := range ops {
		op := &ops[i]
		if !op.ID.IsZero() && op.Outcome != Failed {
			k := requestKey{op.ID.ClientID, op.ID.Sequence}
			if first, ok := c.invoke[k]; !ok || op.Invoke < first {
				c.invoke[k] = op.Invoke // all tries are one request
			}
		}
		switch {
		case op.Outcome == Unknown && op.Request != nil:
			c.report.Unknown++
			c.unknown = append(c.unknown, op)
		case op.Outcome != Done:
		case op.Index() == 0:
			c.report.Unchecked++
		case op.Read != nil:
			c.report.Reads++
			c.reads = append(c.reads, op)
		default:
			c.report.Requests++
			c.writes = append(c.writes, op)
		}
	}
	byIndex := func(a, b *Op) int { return cmp.Compare(a.Index(), b.Index()) }
	slices.SortStableFunc(c.writes, byIndex)
	slices.SortStableFunc(c.reads, byIndex)
	slices.SortStableFunc(c.unknown, func(a, b *Op) int { return cmp.Compare(a.Invoke, b.Invoke) })
}

func (c *checker) full() bool { return len(c.report.Violations) >= c.ViolationsMax }

// violation reports one, with the operations that show it.
func (c *checker) violation(rule, text string, ops ...*Op) {
	if c.full() {
		return
	}
	v := Violation{Rule: rule, Text: text}
	for _, op := range ops {
		if whole := c.origin[op]; whole != nil {
			op = whole
		}
		if op != nil && !slices.ContainsFunc(v.Ops, func(o Op) bool { return o.Client == op.Client && o.Invoke == op.Invoke }) {
			v.Ops = append(v.Ops, *op)
		}
	}
	c.report.Violations = append(c.report.Violations, v)
}

// mismatch reports an answer that differs from the model's, with whoever
// changed the records concerned last.
func (c *checker) mismatch(rule, diff string, op *Op) {
	ops := []*Op{}
	for _, r := range recordsOf(op) {
		last := c.touched[r]
		if last.by != nil {
			ops = append(ops, last.by)
		}
		if last.what != "" && len(diff) < 1000 {
			diff += fmt.Sprintf("; %s was last changed by %s", r.name.key, last.what)
		}
	}
	c.violation(rule, diff, append(ops, op)...)
}

// recordsOf returns the records that an operation is about, a few at most.
func recordsOf(op *Op) []record {
	const recordsMax = 4
	var all []record
	add := func(space lockcluster.Space, ns, key string) {
		if r := (record{space, name{ns, key}}); len(all) < recordsMax && !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	var walk func(req lockcluster.Request)
	walk = func(req lockcluster.Request) {
		switch r := req.(type) {
		case lockcluster.Acquire:
			add(lockcluster.SpaceLock, r.Key.Namespace, r.Key.Text())
		case lockcluster.Release:
			add(lockcluster.SpaceLock, r.Namespace, r.Text)
		case lockcluster.LockCommand:
			add(lockcluster.SpaceCommand, r.Namespace, r.Name)
		case lockcluster.UnlockCommand:
			add(lockcluster.SpaceCommand, r.Namespace, r.Name)
		case lockcluster.PutDocument:
			add(lockcluster.SpaceDocument, r.Namespace, r.Key)
		case lockcluster.DeleteDocument:
			add(lockcluster.SpaceDocument, r.Namespace, r.Key)
		case lockcluster.SetTTL:
			add(lockcluster.SpaceDocument, r.Namespace, r.Key)
		case lockcluster.Txn:
			for _, sub := range r.Requests {
				walk(sub)
			}
		case lockcluster.Import:
			for _, l := range r.Locks {
				add(lockcluster.SpaceLock, r.Namespace, l.Key.Text())
			}
			for _, l := range r.CommandLocks {
				add(lockcluster.SpaceCommand, r.Namespace, l.Name)
			}
			for _, d := range r.Documents {
				add(lockcluster.SpaceDocument, r.Namespace, d.Key)
			}
		case spared:
			walk(r.Release)
		}
	}
	if r := op.Read; r != nil && !r.List {
		add(r.Space, r.Namespace, r.Key)
	}
	walk(op.Request)
	locks := append(slices.Clone(op.Result.Locks), readLocks(op)...)
	for _, l := range locks {
		add(lockcluster.SpaceLock, l.Key.Namespace, l.Key.Text())
	}
	return all
}

func readLocks(op *Op) []lockcluster.Lock {
	if op.Read == nil {
		return nil
	}
	return op.Read.Locks
}
