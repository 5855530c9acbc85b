package migration

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster"
)

// mismatchesDefault is how many differences a [MismatchLog] remembers.
const mismatchesDefault = 1000

// Answer is what one system answered, without stored values.
type Answer struct {
	Status string   `json:"status"`
	Holder string   `json:"holder,omitempty"` // the owner of the lock in the answer, in words
	Token  string   `json:"token,omitempty"`
	Text   string   `json:"text,omitempty"`
	Keys   []string `json:"keys,omitempty"` // of the released locks, sorted
	// Document says what the answer tells about a document: "absent", "present",
	// or the digest of its value.
	Document string `json:"document,omitempty"`
}

// Mismatch is one operation that the two systems answered differently. It
// holds no stored value.
type Mismatch struct {
	Seq        uint64    `json:"seq"`   // from 1, in the order of discovery
	Index      uint64    `json:"index"` // of the enhanced system's answer in the log
	Time       time.Time `json:"time"`
	Operation  string    `json:"operation"`
	Namespace  string    `json:"namespace"`
	Key        string    `json:"key"`
	Difference string    `json:"difference"` // what differs: "status", "holder", "released locks", "document" or "answers"
	Legacy     Answer    `json:"legacy"`
	Enhanced   Answer    `json:"enhanced"`
	// Explained says that a person has accepted the difference; Explanation is
	// why.
	Explained   bool   `json:"explained"`
	Explanation string `json:"explanation,omitempty"`
}

// MismatchCounts counts the differences since the log was made; those that the
// log has dropped since are counted too.
type MismatchCounts struct {
	Total       uint64            `json:"total"`
	Unexplained uint64            `json:"unexplained"`
	Dropped     uint64            `json:"dropped"` // not in the log any more
	ByOperation map[string]uint64 `json:"by_operation"`
}

// MismatchLog remembers the latest differences and counts all. It is safe for
// concurrent use.
type MismatchLog struct {
	mu     sync.Mutex // guards what follows
	size   int
	latest []Mismatch // oldest first
	counts MismatchCounts
}

// NewMismatchLog returns a log of the latest size differences, 1000 if size is
// zero.
func NewMismatchLog(size int) *MismatchLog {
	return &MismatchLog{size: cmp.Or(size, mismatchesDefault), counts: MismatchCounts{ByOperation: map[string]uint64{}}}
}

// Add notes a difference and returns its number. An unset Time becomes now.
func (l *MismatchLog) Add(m Mismatch) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Total++
	l.counts.ByOperation[m.Operation]++
	if !m.Explained {
		l.counts.Unexplained++
	}
	m.Seq = l.counts.Total
	if m.Time.IsZero() {
		m.Time = time.Now().Round(0).UTC()
	}
	if len(l.latest) == l.size {
		l.latest = append(l.latest[:0], l.latest[1:]...)
		l.counts.Dropped++
	}
	l.latest = append(l.latest, m)
	return m.Seq
}

// Explain accepts the difference of that number. It reports whether the log
// still has it.
func (l *MismatchLog) Explain(seq uint64, explanation string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.latest {
		if l.latest[i].Seq == seq {
			l.explain(&l.latest[i], explanation)
			return true
		}
	}
	return false
}

// ExplainAll accepts every difference so far, those that the log has dropped
// too.
func (l *MismatchLog) ExplainAll(explanation string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.latest {
		l.explain(&l.latest[i], explanation)
	}
	l.counts.Unexplained = 0
}

func (l *MismatchLog) explain(m *Mismatch, explanation string) {
	if m.Explained {
		return
	}
	m.Explained, m.Explanation = true, explanation
	l.counts.Unexplained--
}

// Latest returns up to limit differences, the newest first; all for zero.
func (l *MismatchLog) Latest(limit int) []Mismatch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if limit <= 0 || limit > len(l.latest) {
		limit = len(l.latest)
	}
	out := append([]Mismatch{}, l.latest[len(l.latest)-limit:]...)
	slices.Reverse(out)
	return out
}

// Counts returns the counts.
func (l *MismatchLog) Counts() MismatchCounts {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counts
	c.ByOperation = make(map[string]uint64, len(l.counts.ByOperation))
	for op, n := range l.counts.ByOperation {
		c.ByOperation[op] = n
	}
	return c
}

// Compare returns how the two systems' answers to req differ, nil if they
// agree. Statuses count, and so does a lock that is granted by one and already
// held in the other; the owner of the lock in the answer; which locks were
// released; whether there was a document, and what it held, where both answers
// tell (values, or their digests by [DigestValues]). Tokens, log indexes,
// revisions, times and texts do not count. The answers to the parts of a
// transaction or import are compared one by one; the first that differs is
// shown.
func Compare(req lockcluster.Request, legacy, enhanced lockcluster.Result) *Mismatch {
	d := differ(req, legacy, enhanced)
	if d == nil {
		return nil
	}
	d.Operation, d.Index = OperationOf(req), enhanced.Index
	return d
}

func differ(req lockcluster.Request, legacy, enhanced lockcluster.Result) *Mismatch {
	// The parts first: they say more than that a transaction was refused.
	parts := partsOf(req)
	for i := range min(len(parts), len(legacy.Results), len(enhanced.Results)) {
		if d := differ(parts[i], legacy.Results[i], enhanced.Results[i]); d != nil {
			return d
		}
	}
	what := difference(legacy, enhanced)
	if what == "" {
		return nil
	}
	d := &Mismatch{Difference: what, Legacy: answerOf(legacy), Enhanced: answerOf(enhanced)}
	d.Namespace, d.Key = keyOf(req)
	return d
}

func difference(legacy, enhanced lockcluster.Result) string {
	switch {
	case legacy.Status != enhanced.Status:
		return "status"
	case !sameHolder(legacy.Lock, enhanced.Lock):
		return "holder"
	case !slices.Equal(lockKeys(legacy.Locks), lockKeys(enhanced.Locks)):
		return "released locks"
	case !sameDocument(legacy.Document, enhanced.Document):
		return "document"
	case len(legacy.Results) != len(enhanced.Results):
		return "answers"
	}
	return ""
}

func sameHolder(a, b *lockcluster.Lock) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Owner.Same(b.Owner)
}

func sameDocument(a, b *lockcluster.Document) bool {
	if a == nil || b == nil {
		return a == b
	}
	// An answer that was sent without values has none to compare.
	return a.Value == nil || b.Value == nil || digestValue(a.Value) == digestValue(b.Value)
}

func lockKeys(locks []lockcluster.Lock) []string {
	var keys []string
	for _, l := range locks {
		keys = append(keys, l.Key.Text())
	}
	slices.Sort(keys)
	return keys
}

func answerOf(r lockcluster.Result) Answer {
	a := Answer{Status: r.Status.String(), Text: r.Text, Keys: lockKeys(r.Locks)}
	token := r.Token
	if r.Lock != nil {
		a.Holder = r.Lock.Owner.String()
		if token.IsZero() {
			token = r.Lock.Token
		}
	}
	if !token.IsZero() {
		a.Token = token.String()
	}
	switch {
	case r.Document == nil:
	case r.Document.Value == nil:
		a.Document = "present"
	default:
		a.Document = digestValue(r.Document.Value)
	}
	return a
}
