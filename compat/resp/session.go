package resp

import (
	"fmt"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// session is the keyspace of one namespace as one command or script sees it.
// Commands are written once, over a session; it is for one goroutine.
//
// Without tx it only reads. With tx its writes go to an overlay by the real
// rules, and what it has read becomes the conditions under which the same
// writes are committed, or all of it is done again.
type session struct {
	s       *Server
	ns      string
	now     time.Time
	goRedis bool
	base    state.Reader
	tx      *tx
	// guard returns what a DEL of a lock may delete; nil: whatever is there.
	guard func(n name) (seenMark, bool)
}

// tx is what a session has read and will write.
type tx struct {
	overlay    *state.Overlay
	env        state.Env
	readOnly   bool // a script that may not write
	conditions map[name]uint64
	ranges     map[name]struct{}
	requests   []lockcluster.Request
	valueBytes int
	full       bool // a limit was passed: nothing may be committed
}

// The bounds of a transaction; the rules allow a little more.
const (
	txThingsMax = 9_000
	txBytesMax  = lockcluster.ValueSizeMax
)

var errTxFull = fmt.Sprintf("ERR one transaction touches at most %d keys and writes at most %d bytes", txThingsMax, txBytesMax)

func newTx(view *state.View, now time.Time, readOnly bool) *tx {
	return &tx{
		overlay:    state.NewOverlay(view),
		env:        state.Env{Index: view.Index() + 1, Term: view.Term(), Now: now},
		readOnly:   readOnly,
		conditions: map[name]uint64{}, ranges: map[name]struct{}{},
	}
}

// request makes the transaction's request.
func (s *session) request() lockcluster.Txn {
	t := lockcluster.Txn{Namespace: s.ns, Requests: s.tx.requests}
	for n, revision := range s.tx.conditions {
		t.Conditions = append(t.Conditions, lockcluster.Condition{Space: n.space, Key: n.key, Revision: revision})
	}
	for n := range s.tx.ranges {
		t.Ranges = append(t.Ranges, lockcluster.RangeCondition{
			Space: n.space, Prefix: n.key, Digest: state.RangeDigest(s.base, s.ns, n.space, n.key),
		})
	}
	return t
}

func (s *session) reader() state.Reader {
	if s.tx != nil {
		return s.tx.overlay
	}
	return s.base
}

// note makes the record a condition of the transaction.
func (s *session) note(n name) {
	if s.tx == nil {
		return
	}
	if _, ok := s.tx.conditions[n]; !ok {
		s.tx.conditions[n] = state.Revision(s.base, s.ns, n.space, n.key)
		s.tx.count()
	}
}

// noteRange makes a listing a condition of the transaction.
func (s *session) noteRange(space lockcluster.Space, prefix string) {
	if s.tx != nil {
		s.tx.ranges[name{space, prefix}] = struct{}{}
		s.tx.count()
	}
}

func (t *tx) count() {
	if len(t.conditions)+len(t.ranges)+len(t.requests) > txThingsMax || t.valueBytes > txBytesMax {
		t.full = true
	}
}

// change runs a request by the real rules and notes it if it changes anything.
func (s *session) change(req lockcluster.Request) lockcluster.Result {
	res := state.Trial(s.tx.overlay, s.tx.env, req)
	switch res.Status {
	case lockcluster.StatusGranted, lockcluster.StatusReleased, lockcluster.StatusStored, lockcluster.StatusDeleted:
		s.tx.requests = append(s.tx.requests, req)
		s.tx.count()
	}
	return res
}

// findLock returns the lock that a key text means, in its present or old form.
func (s *session) findLock(text string) *lockcluster.Lock {
	n := name{lockcluster.SpaceLock, text}
	s.note(n)
	if l := state.GetLock(s.reader(), s.ns, text); l != nil || !mayBeOld(text) {
		return l
	}
	l := state.FindLock(s.reader(), s.ns, text)
	if l == nil {
		s.noteRange(lockcluster.SpaceLock, text+"/")
		return nil
	}
	s.note(name{lockcluster.SpaceLock, l.Key.Text()})
	return l
}

// value returns the bytes under a name; ok is false if there is nothing.
func (s *session) value(n name) (data []byte, ok bool) {
	switch n.space {
	case lockcluster.SpaceLock:
		if l := s.findLock(n.key); l != nil {
			return lockValue(l), true
		}
	case lockcluster.SpaceCommand:
		s.note(n)
		if l := state.GetCommandLock(s.reader(), s.ns, n.key); l != nil {
			return l.Value, true
		}
	case lockcluster.SpaceDocument:
		if d := s.document(n.key); d != nil {
			return d.Value, true
		}
	}
	return nil, false
}

func (s *session) document(key string) *lockcluster.Document {
	s.note(name{lockcluster.SpaceDocument, key})
	return state.GetDocument(s.reader(), s.ns, key)
}

// has reports whether there is something under a name.
func (s *session) has(n name) bool {
	if n.space == lockcluster.SpaceLock && mayBeOld(n.key) {
		return s.findLock(n.key) != nil
	}
	s.note(n)
	return state.Revision(s.reader(), s.ns, n.space, n.key) != 0
}

// lockValue returns the bytes that a client has stored for a lock, or for a
// lock that was taken through another door what Atlantis would have stored.
func lockValue(l *lockcluster.Lock) []byte {
	if len(l.Value) > 0 {
		return l.Value
	}
	return compat.NewLockValue(*l)
}

// keys lists the Redis keys that match a pattern: locks, command locks, then
// documents, each in byte order.
func (s *session) keys(pattern string) []string {
	var keys []string
	prefix, rest := literalPrefix(pattern)
	add := func(key string) {
		if rest == "*" || matchGlob(pattern, key) {
			keys = append(keys, key)
		}
	}
	if repo, ok := exactRepo(pattern); ok && s.goRedis && *s.s.cfg.ExactRepoMatch {
		s.noteRange(lockcluster.SpaceLock, repo+"/")
		state.ListLocks(s.reader(), s.ns, state.LockFilter{Repo: repo}, func(l *lockcluster.Lock) bool {
			keys = append(keys, lockPrefix+l.Key.Text())
			return true
		})
		return keys
	}
	if in, ok := within(prefix, rest, lockPrefix); ok {
		s.list(lockcluster.SpaceLock, in, func(k string) { s.addIfBegins(lockPrefix+k, prefix, add) })
	}
	if _, ok := within(prefix, rest, commandPrefix); ok {
		s.list(lockcluster.SpaceCommand, "", func(k string) { s.addIfBegins(compat.CommandLockKey(k), prefix, add) })
	}
	s.list(lockcluster.SpaceDocument, prefix, func(k string) {
		if nameOf([]byte(k)).isDocument() {
			add(k)
		}
	})
	return keys
}

func (s *session) addIfBegins(key, prefix string, add func(string)) {
	if len(key) >= len(prefix) && key[:len(prefix)] == prefix {
		add(key)
	}
}

func (s *session) list(space lockcluster.Space, prefix string, yield func(key string)) {
	s.noteRange(space, prefix)
	state.Keys(s.reader(), s.ns, space, prefix, func(k string) bool {
		yield(k)
		return true
	})
}

// within returns what keys of a space begin with behind the space's own prefix,
// when a pattern begins with prefix; ok is false when none of them can match.
func within(prefix, rest, space string) (in string, ok bool) {
	if len(prefix) >= len(space) {
		if prefix[:len(space)] != space {
			return "", false
		}
		return prefix[len(space):], true
	}
	return "", rest != "" && space[:len(prefix)] == prefix
}
