package history

import (
	"reflect"
	"time"

	"github.com/lockcluster/lockcluster"
)

// Position is where in the log a command stands.
type Position struct {
	Index uint64
	Term  uint64
	Time  time.Time // the wall time that the entry carries
}

// Model is the lock rules once more, as plainly as they can be written: Go
// maps, no encoding, no indexes that matter. It is the second opinion that the
// replicated state machine and recorded histories are held against, so it
// shares no code with package fsm. It remembers every answer for ever.
// It is for one goroutine.
type Model struct {
	// Validate tells which requests the rules refuse to look at; nil: none.
	Validate func(lockcluster.Request) error

	locks     map[name]lockcluster.Lock
	commands  map[name]lockcluster.CommandLock
	documents map[name]lockcluster.Document
	repos     map[name]*repo
	token     lockcluster.Token // the last one granted
	leases    uint64            // lease epochs given out
	answers   map[string]map[uint64]answer
	acked     map[string]uint64

	road     lockcluster.Migration // as it was set last, without the epoch; no mode: never
	settings map[string]string
	routed   *lockcluster.Routed // what is decided now stands in it

	version uint64   // counts changes of what clients stored
	journal bool     // keep undo
	undo    []func() // how to take back the changes, oldest first
	rolling bool     // changes are being taken back
	// changed, if not nil, hears of every record that is set or removed.
	changed func(lockcluster.Space, name)
}

// answer is the answer that a request got.
type answer struct {
	req lockcluster.Request
	res lockcluster.Result
}

// name is a key within a namespace.
type name struct{ ns, key string }

// repo is what the locks of one repository name have in common.
type repo struct {
	texts map[string]bool // lock key texts
	hosts map[string]int  // known VCS hosts and how many locks each has
}

// ackedStep is how far a client's acknowledgement moves before the rules take
// note of it.
const ackedStep = 32

// NewModel returns a model of an empty cluster.
func NewModel() *Model {
	return &Model{
		locks:     map[name]lockcluster.Lock{},
		commands:  map[name]lockcluster.CommandLock{},
		documents: map[name]lockcluster.Document{},
		repos:     map[name]*repo{},
		token:     lockcluster.Token{Epoch: 1},
		answers:   map[string]map[uint64]answer{},
		acked:     map[string]uint64{},
		settings:  map[string]string{},
	}
}

// Version changes whenever something that clients stored has changed.
func (m *Model) Version() uint64 { return m.version }

// LastToken returns the newest fencing token.
func (m *Model) LastToken() lockcluster.Token { return m.token }

// Apply decides one command and returns the answer the rules must give. Of
// the answer's Text only the presence is meant.
func (m *Model) Apply(at Position, id lockcluster.RequestID, req lockcluster.Request) lockcluster.Result {
	if id.IsZero() {
		return m.decide(at, req)
	}
	if id.Sequence == 0 || len(id.ClientID) > 64 {
		return lockcluster.Result{Status: lockcluster.StatusInvalid, Index: at.Index}
	}
	if id.Sequence < m.acked[id.ClientID] {
		return lockcluster.Result{Status: lockcluster.StatusForgotten, Index: at.Index}
	}
	if first, ok := m.answers[id.ClientID][id.Sequence]; ok {
		if !reflect.DeepEqual(first.req, req) {
			return lockcluster.Result{Status: lockcluster.StatusInvalid, Index: at.Index}
		}
		return first.res
	}
	res := m.decide(at, req)
	if res.Status == lockcluster.StatusNotActive {
		return res // nothing was decided
	}
	if m.answers[id.ClientID] == nil {
		m.answers[id.ClientID] = map[uint64]answer{}
	}
	m.answers[id.ClientID][id.Sequence] = answer{req, res}
	if acked := min(id.AckedBelow, id.Sequence); acked >= m.acked[id.ClientID]+ackedStep {
		m.acked[id.ClientID] = acked
	}
	return res
}

func (m *Model) decide(at Position, req lockcluster.Request) lockcluster.Result {
	if m.Validate != nil && m.Validate(req) != nil {
		return lockcluster.Result{Status: lockcluster.StatusInvalid, Index: at.Index}
	}
	var res lockcluster.Result
	switch r := req.(type) {
	case lockcluster.SetMigration:
		res = m.setMigration(at, r)
	case lockcluster.SetConfig:
		res = m.setConfig(r)
	case lockcluster.Mirror:
		res = m.mirror(r)
	case lockcluster.Shadow:
		res = m.shadow(at, r)
	case lockcluster.Routed:
		res = m.route(at, r)
	case lockcluster.Expire:
		res = m.expire(at, r)
	case lockcluster.BumpEpoch:
		m.token.Epoch++
		m.version++
		res = lockcluster.Result{Status: lockcluster.StatusApplied, Token: m.token}
	case lockcluster.RegisterNode, lockcluster.Checkpoint:
		res = lockcluster.Result{Status: lockcluster.StatusApplied}
	default:
		if m.inactive(req) {
			res = lockcluster.Result{Status: lockcluster.StatusNotActive}
			break
		}
		res = m.plain(at, req)
	}
	res.Index = at.Index
	return res
}

// plain decides what clients ask for, whichever system decides.
func (m *Model) plain(at Position, req lockcluster.Request) lockcluster.Result {
	switch r := req.(type) {
	case lockcluster.Txn:
		return m.txn(at, r)
	case lockcluster.Import:
		return m.importRecords(at, r)
	}
	return m.mutate(at, req)
}

func (m *Model) mutate(at Position, req lockcluster.Request) lockcluster.Result {
	switch r := req.(type) {
	case lockcluster.Acquire:
		return m.acquire(at, r, true)
	case lockcluster.Release:
		return m.release(r)
	case lockcluster.ReleaseByPull:
		return m.releaseByPull(r)
	case lockcluster.LockCommand:
		return m.lockCommand(at, r)
	case lockcluster.UnlockCommand:
		return m.unlockCommand(r)
	case lockcluster.PutDocument:
		return m.putDocument(at, r)
	case lockcluster.DeleteDocument:
		return m.deleteDocument(r)
	case lockcluster.SetTTL:
		return m.setTTL(at, r)
	}
	return lockcluster.Result{Status: lockcluster.StatusInvalid}
}

// txn applies all or takes back what it did.
func (m *Model) txn(at Position, r lockcluster.Txn) lockcluster.Result {
	if !m.conditionsHold(r) {
		return lockcluster.Result{Status: lockcluster.StatusConflict}
	}
	outer := m.journal
	m.journal = true
	before := m.mark()
	res := lockcluster.Result{Status: lockcluster.StatusApplied}
	for _, req := range r.Requests {
		one := m.mutate(at, req)
		one.Index = at.Index
		res.Results = append(res.Results, one)
		switch one.Status {
		case lockcluster.StatusHeld, lockcluster.StatusHostConflict, lockcluster.StatusNotHolder, lockcluster.StatusNotStored:
			m.rollback(before)
			res.Status = lockcluster.StatusConflict
		}
		if res.Status == lockcluster.StatusConflict {
			break
		}
	}
	if m.journal = outer; !outer {
		m.undo = nil
	}
	return res
}

// mark is a point to roll back to, while journal is set.
type mark struct {
	token   lockcluster.Token
	leases  uint64
	version uint64
	undo    int
}

func (m *Model) mark() mark { return mark{m.token, m.leases, m.version, len(m.undo)} }

// rollback takes back all changes of records since mark.
func (m *Model) rollback(to mark) {
	undo := m.undo[to.undo:]
	m.journal, m.rolling = false, true
	for i := len(undo) - 1; i >= 0; i-- {
		undo[i]()
	}
	m.journal, m.rolling = true, false
	m.undo, m.token, m.leases, m.version = m.undo[:to.undo], to.token, to.leases, to.version
}

// importRecords leaves alone what is there and adds the rest.
func (m *Model) importRecords(at Position, r lockcluster.Import) lockcluster.Result {
	res := lockcluster.Result{Status: lockcluster.StatusApplied}
	add := func(one lockcluster.Result) {
		one.Index = at.Index
		res.Results = append(res.Results, bare(one))
	}
	for _, l := range r.Locks {
		l.Key.Namespace = r.Namespace
		add(m.acquire(at, l, false))
	}
	for _, c := range r.CommandLocks {
		c.Namespace = r.Namespace
		add(m.lockCommand(at, c))
	}
	for _, d := range r.Documents {
		d.Namespace = r.Namespace
		if old, ok := m.documents[name{d.Namespace, d.Key}]; ok {
			status := lockcluster.StatusHeld
			if string(old.Value) == string(d.Value) {
				status = lockcluster.StatusAlreadyHeld
			}
			add(lockcluster.Result{Status: status, Document: &old})
			continue
		}
		add(m.putDocument(at, d))
	}
	return res
}

func (m *Model) nextToken() lockcluster.Token {
	m.token.Counter++
	return m.token
}

func (m *Model) nextLease() uint64 {
	m.leases++
	return m.leases
}
