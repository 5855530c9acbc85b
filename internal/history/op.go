package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster"
)

// Outcome says what a client knows of its call.
type Outcome uint8

// The outcomes.
const (
	Unknown Outcome = iota // may have happened, may happen yet
	Done                   // answered
	Failed                 // nothing was proposed
)

// Op is one call of one client: a request or a read.
type Op struct {
	Client  string
	Invoke  time.Duration // since the recorder was made, by the monotonic clock
	Return  time.Duration // not of an unknown call
	ID      lockcluster.RequestID
	Request lockcluster.Request // nil for a read
	Read    *Read               // nil for a request
	Outcome Outcome
	Result  lockcluster.Result // a request's answer
	Err     string             // what the client was told instead of an answer
}

// Read is a linearizable or stale read and what came back.
type Read struct {
	// What was asked: the record under Key in Space, or, if List is set, the
	// locks of a namespace: of one Repo if that is set, of its one Pull if that
	// is set too.
	Namespace string
	Space     lockcluster.Space
	Key       string
	List      bool
	Repo      string
	Pull      int
	Stale     bool // the caller did not ask for the newest state

	// What was answered.
	Index       uint64
	Lock        *lockcluster.Lock
	CommandLock *lockcluster.CommandLock
	Document    *lockcluster.Document
	Locks       []lockcluster.Lock
}

// Index returns the log index of the answer, 0 if there is none.
func (o *Op) Index() uint64 {
	switch {
	case o.Outcome != Done:
		return 0
	case o.Read != nil:
		return o.Read.Index
	}
	return o.Result.Index
}

// String describes the operation in one line, without stored values.
func (o *Op) String() string {
	when := fmt.Sprintf("%s [%v, %v]", o.Client, o.Invoke, o.Return)
	if o.Outcome == Unknown {
		when = fmt.Sprintf("%s [%v, unknown]", o.Client, o.Invoke)
	}
	return fmt.Sprintf("%s %s -> %s", when, o.asked(), o.answered())
}

func (o *Op) asked() string {
	if r := o.Read; r != nil {
		what := map[lockcluster.Space]string{
			lockcluster.SpaceLock: "lock", lockcluster.SpaceCommand: "command lock", lockcluster.SpaceDocument: "document",
		}[r.Space]
		if r.List {
			return fmt.Sprintf("list %s repo=%q pull=%d", r.Namespace, r.Repo, r.Pull)
		}
		return fmt.Sprintf("get %s %s/%s", what, r.Namespace, r.Key)
	}
	id := ""
	if !o.ID.IsZero() {
		id = fmt.Sprintf(" id=%s/%d", o.ID.ClientID, o.ID.Sequence)
	}
	return describe(o.Request) + id
}

// describe names a request without its stored values.
func describe(req lockcluster.Request) string {
	switch r := req.(type) {
	case lockcluster.Acquire:
		return fmt.Sprintf("acquire %s/%s for %s", r.Key.Namespace, r.Key.Text(), r.Owner)
	case lockcluster.Release:
		by := ""
		if r.Guard.Owner != nil {
			by = " by " + r.Guard.Owner.String()
		}
		return fmt.Sprintf("release %s/%s%s token=%s", r.Namespace, r.Text, by, r.Guard.Token)
	case lockcluster.ReleaseByPull:
		return fmt.Sprintf("release %s/%s pull %d", r.Namespace, r.Repo, r.Pull)
	case lockcluster.LockCommand:
		return fmt.Sprintf("lock command %s/%s", r.Namespace, r.Name)
	case lockcluster.UnlockCommand:
		return fmt.Sprintf("unlock command %s/%s", r.Namespace, r.Name)
	case lockcluster.PutDocument:
		return fmt.Sprintf("put document %s/%s", r.Namespace, r.Key)
	case lockcluster.DeleteDocument:
		return fmt.Sprintf("delete document %s/%s", r.Namespace, r.Key)
	case lockcluster.SetTTL:
		return fmt.Sprintf("set TTL %s/%s", r.Namespace, r.Key)
	case lockcluster.Txn:
		return fmt.Sprintf("transaction of %d requests", len(r.Requests))
	case lockcluster.Import:
		return fmt.Sprintf("import of %d records", len(r.Locks)+len(r.CommandLocks)+len(r.Documents))
	}
	return fmt.Sprintf("%T", req)
}

func (o *Op) answered() string {
	switch {
	case o.Outcome == Failed:
		return "not proposed: " + o.Err
	case o.Outcome == Unknown:
		return "outcome unknown: " + o.Err
	case o.Read != nil && o.Read.List:
		return fmt.Sprintf("%d locks at index %d", len(o.Read.Locks), o.Read.Index)
	case o.Read != nil && o.Read.Lock != nil:
		return fmt.Sprintf("held by %s token %s at index %d", o.Read.Lock.Owner, o.Read.Lock.Token, o.Read.Index)
	case o.Read != nil:
		return fmt.Sprintf("present=%t at index %d", o.Read.CommandLock != nil || o.Read.Document != nil, o.Read.Index)
	}
	holder := ""
	if l := o.Result.Lock; l != nil {
		holder = fmt.Sprintf(" %s token %s", l.Owner, l.Token)
	}
	return fmt.Sprintf("%s%s at index %d", o.Result.Status, holder, o.Result.Index)
}

// Recorder gathers operations of many clients. All methods are safe for
// concurrent use. The zero value is not ready: use [NewRecorder].
type Recorder struct {
	start time.Time

	mu  sync.Mutex
	ops []Op // guarded by mu, finished calls in the order of their end
	// open are the calls under way, guarded by mu; what is still open when the
	// history is taken has an unknown outcome.
	open map[*Op]struct{}
}

// NewRecorder returns a recorder whose clock starts now.
func NewRecorder() *Recorder { return &Recorder{start: time.Now(), open: map[*Op]struct{}{}} }

// Do records one request: it calls do and returns what do returns.
func (r *Recorder) Do(client string, id lockcluster.RequestID, req lockcluster.Request,
	do func() (lockcluster.Result, error),
) (lockcluster.Result, error) {
	op := r.begin(&Op{Client: client, ID: id, Request: req})
	res, err := do()
	op.Result = res
	r.end(op, err)
	return res, err
}

// Get records one read: do fills in the answer of a read that was asked as
// read says.
func (r *Recorder) Get(client string, read Read, do func(*Read) error) (Read, error) {
	op := r.begin(&Op{Client: client, Read: &read})
	err := do(&read)
	r.end(op, err)
	return read, err
}

func (r *Recorder) begin(op *Op) *Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.Invoke = time.Since(r.start)
	r.open[op] = struct{}{}
	return op
}

func (r *Recorder) end(op *Op, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.Return = time.Since(r.start)
	op.Outcome = OutcomeOf(err)
	if err != nil {
		op.Err = err.Error()
	}
	delete(r.open, op)
	r.ops = append(r.ops, *op)
}

// Ops returns the history so far, in the order in which the calls began. Calls
// that have not returned have an unknown outcome; reads among them are left out.
func (r *Recorder) Ops() []Op {
	r.mu.Lock()
	ops := slices.Clone(r.ops)
	for op := range r.open {
		if op.Read == nil { // a read that has not returned says nothing
			ops = append(ops, Op{Client: op.Client, Invoke: op.Invoke, ID: op.ID, Request: op.Request, Err: "not returned"})
		}
	}
	r.mu.Unlock()
	slices.SortStableFunc(ops, func(a, b Op) int { return int(a.Invoke - b.Invoke) })
	return ops
}

// OutcomeOf tells what an error means. Only the errors that promise that
// nothing was proposed count as a failure.
func OutcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return Done
	case errors.Is(err, lockcluster.ErrOutcomeUnknown), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Unknown
	case errors.Is(err, lockcluster.ErrInvalid), errors.Is(err, lockcluster.ErrNoLeader), errors.Is(err, lockcluster.ErrOverloaded):
		return Failed
	}
	return Unknown
}
