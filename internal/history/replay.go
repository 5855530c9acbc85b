package history

import (
	"errors"
	"fmt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
)

// errEnough ends the reading of a log when enough violations were found.
var errEnough = errors.New("enough violations")

// matching is the search for the commands of the log that the clients' answers
// came from.
type matching struct {
	byID    map[requestKey][]*Op // all calls with an id, whatever their outcome
	byIndex map[uint64][]*Op     // answered calls without one
	found   map[*Op]bool
	diff    map[*Op]string // how the model's answer differed
}

// replay checks the history against the log.
func (c *checker) replay() error {
	m := &matching{byID: map[requestKey][]*Op{}, byIndex: map[uint64][]*Op{}, found: map[*Op]bool{}, diff: map[*Op]string{}}
	for _, op := range c.writes {
		if op.ID.IsZero() {
			m.byIndex[op.Index()] = append(m.byIndex[op.Index()], op)
		}
	}
	for _, op := range append(append([]*Op{}, c.writes...), c.unknown...) {
		if !op.ID.IsZero() {
			k := requestKey{op.ID.ClientID, op.ID.Sequence}
			m.byID[k] = append(m.byID[k], op)
		}
	}
	reads := c.reads
	readUpTo := func(index uint64) { // with the state as it is below index
		for len(reads) > 0 && reads[0].Index() < index {
			if d := c.diffRead(reads[0].Read); d != "" {
				c.mismatch("read", d, reads[0])
			}
			reads = reads[1:]
		}
	}
	last := uint64(0)
	err := c.Log.Entries(func(e LogEntry) error {
		if e.Index <= last {
			return fmt.Errorf("the log's indexes do not rise: %d after %d", e.Index, last)
		}
		if last == 0 && e.Index > firstIndexMax {
			return fmt.Errorf("the log begins at index %d: it was compacted, so it cannot be replayed", e.Index)
		}
		last = e.Index
		readUpTo(e.Index)
		for pos, cmd := range e.Commands {
			c.apply(m, e, pos, cmd)
		}
		if c.full() {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("replay the log: %w", err)
	}
	readUpTo(^uint64(0))
	c.unmatched(m, last)
	return nil
}

// firstIndexMax bounds where the first command of a new cluster can stand:
// some configuration entries and elections come before it.
const firstIndexMax = 1000

// apply decides one command of the log by the model and compares that with
// what the node and the clients say.
func (c *checker) apply(m *matching, e LogEntry, pos int, cmd LogCommand) {
	at := place{e.Index, pos}
	c.actor, c.actorOp, c.at = fmt.Sprintf("%s (%s)", at, describe(cmd.Request)), nil, e.Index
	calls := c.callsOf(m, e.Index, cmd)
	if len(calls) > 0 {
		c.actorOp = calls[0]
	}
	want := c.model.Apply(e.Position, cmd.ID, cmd.Request)
	if cmd.Result != nil {
		if cmd.Result.Status == lockcluster.StatusInvalid && want.Status != lockcluster.StatusInvalid {
			c.violation("log", fmt.Sprintf("%s: refused as invalid: %s", at, cmd.Result.Text))
		} else if d := Diff(want, *cmd.Result); d != "" {
			c.violation("log", fmt.Sprintf("%s, %s: the node's answer is not the rules': %s", at, describe(cmd.Request), d), calls...)
		}
	}
	for _, op := range calls {
		if op.Outcome == Unknown {
			if _, ok := c.index[op]; !ok {
				c.index[op] = want.Index
				c.report.Happened++
			}
			continue
		}
		if m.found[op] {
			continue
		}
		if d := c.diff(want, op.Result); d != "" {
			m.diff[op] = fmt.Sprintf("%s: %s", at, d)
			continue
		}
		m.found[op] = true
		if op.ID.IsZero() {
			break // one command is one call
		}
	}
}

// callsOf returns the calls that cmd may have come from.
func (c *checker) callsOf(m *matching, index uint64, cmd LogCommand) []*Op {
	calls := m.byID[requestKey{cmd.ID.ClientID, cmd.ID.Sequence}]
	if cmd.ID.IsZero() {
		calls = nil
	}
	if len(calls) > 0 || len(m.byIndex[index]) == 0 {
		return calls
	}
	logged := requestBytes(cmd.Request)
	for _, op := range m.byIndex[index] { // the node gave the call an id of its own
		if !m.found[op] && requestBytes(op.Request) == logged {
			calls = append(calls, op)
		}
	}
	return calls
}

func requestBytes(req lockcluster.Request) string {
	b, err := command.EncodeCommand(lockcluster.RequestID{}, req)
	if err != nil {
		return fmt.Sprintf("%#v", req)
	}
	return string(b)
}

// unmatched reports the answered calls that no command of the log explains.
func (c *checker) unmatched(m *matching, last uint64) {
	for _, op := range c.writes {
		switch {
		case m.found[op]:
		case op.Result.Status == lockcluster.StatusInvalid, op.Result.Status == lockcluster.StatusNotActive:
			// A door refuses it without the log.
		case m.diff[op] != "":
			c.mismatch("answer", m.diff[op], op)
		case op.Index() > last:
			c.violation("lost", fmt.Sprintf("answered at index %d, but the log ends at %d", op.Index(), last), op)
		default:
			c.violation("lost", "answered, but not in the log", op)
		}
	}
}

// diff compares an answer as far as the options say.
func (c *checker) diff(want, got lockcluster.Result) string {
	return Diff(c.result(want), c.result(got))
}

// diffRead compares a read with the model's state.
func (c *checker) diffRead(r *Read) string {
	if r.List {
		return c.diffList(r)
	}
	switch r.Space {
	case lockcluster.SpaceLock:
		return DiffLock(c.lock(c.model.Lock(r.Namespace, r.Key)), c.lock(r.Lock))
	case lockcluster.SpaceCommand:
		return DiffCommandLock(c.commandLock(c.model.CommandLock(r.Namespace, r.Key)), c.commandLock(r.CommandLock))
	default:
		return DiffDocument(c.document(c.model.Document(r.Namespace, r.Key)), c.document(r.Document))
	}
}

// listOf returns what a listing must show.
func (c *checker) listOf(r *Read) []lockcluster.Lock {
	if r.Repo == "" {
		return c.model.List(r.Namespace)
	}
	var list []lockcluster.Lock
	for _, l := range c.model.ListRepo(r.Namespace, r.Repo) {
		if r.Pull == 0 || l.Kind == lockcluster.KindPull && l.Owner.Pull == r.Pull {
			list = append(list, l)
		}
	}
	return list
}

func (c *checker) diffList(r *Read) string {
	want := c.listOf(r)
	if len(want) != len(r.Locks) {
		return fmt.Sprintf("list: want %d locks, got %d", len(want), len(r.Locks))
	}
	for i := range want {
		if d := DiffLock(c.lock(&want[i]), c.lock(&r.Locks[i])); d != "" {
			return fmt.Sprintf("list: lock %d: %s", i, d)
		}
	}
	return ""
}
