package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// ledger is what clients were told. A holder is the pull request that a lock's
// value names or, for what has no owner, the value itself.
//
// A hold lasts from the answer that granted it to the moment its client asks
// for the release. Two holds of one key at one moment are a double grant
// whatever the order in which answers arrived. Of a request without an answer
// nobody knows whether it happened: it may have, at any later time.
type ledger struct {
	mu         sync.Mutex // guards what follows
	held       map[string]hold
	fixed      stock                      // documents and background locks, which never change hands
	unknown    map[string]map[string]bool // holders whose request for a key had no answer
	seq        uint64
	requests   uint64
	grants     uint64
	refusals   uint64
	violations []string
	failed     []string
	failures   uint64
}

// hold is one holding of a key.
type hold struct {
	holder string
	seq    uint64
}

func newLedger() *ledger {
	return &ledger{held: map[string]hold{}, fixed: stock{}, unknown: map[string]map[string]bool{}}
}

// holderOf names who holds a stored lock, and nothing else of it.
func holderOf(value string) string {
	var v struct{ Pull struct{ Num int } }
	if json.Unmarshal([]byte(value), &v) != nil || v.Pull.Num == 0 {
		return fmt.Sprintf("value of %d bytes", len(value))
	}
	return fmt.Sprintf("#%d", v.Pull.Num)
}

func (l *ledger) violate(format string, args ...any) {
	if len(l.violations) < 50 {
		l.violations = append(l.violations, fmt.Sprintf(format, args...))
	}
}

// granted notes that a client was told it holds key.
func (l *ledger) granted(key, holder string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.grants++
	if now, ok := l.held[key]; ok && now.holder != holder {
		l.violate("%s was granted to %s while %s held it", key, holder, now.holder)
	}
	l.seq++
	l.held[key] = hold{holder, l.seq}
}

// releasing notes that a client asks for the release of what it holds.
func (l *ledger) releasing(key, holder string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[key].holder == holder {
		delete(l.held, key)
	}
}

// unanswered notes that a request of holder for key had no answer.
func (l *ledger) unanswered(key, holder string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unknown[key] == nil {
		l.unknown[key] = map[string]bool{}
	}
	l.unknown[key][holder] = true
}

// before returns who holds key, for [ledger.saw].
func (l *ledger) before(key string) hold {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[key]
}

// saw judges an answer about key: holder is who has it, empty for nobody. If
// one client held it from before the question until now, the answer names it.
func (l *ledger) saw(key string, before hold, holder string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.held[key]; now.seq != 0 && now == before && now.holder != holder {
		l.violate("%s was held by %s, a read said %q", key, now.holder, holder)
	}
}

func (l *ledger) request() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
}

func (l *ledger) refused() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusals++
}

// fail notes a request that failed.
func (l *ledger) fail(what string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures++
	if len(l.failed) < 20 {
		l.failed = append(l.failed, fmt.Sprintf("%s: %v", what, err))
	}
}

// note records a document or a lock that stays as it is.
func (l *ledger) note(key, value string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fixed[key] = value
}

// compare judges what a store holds while no client is asking for anything:
// every acknowledged lock, for its holder, and no other one.
func (l *ledger) compare(name string, s stock) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var bad []string
	for _, key := range slices.Sorted(maps.Keys(l.fixed)) {
		if got, ok := s[key]; !ok || got != l.fixed[key] && !l.unknown[key][got] {
			bad = append(bad, fmt.Sprintf("%s: %s does not hold what was acknowledged (there: %v)", key, name, ok))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(l.held)) {
		got, ok := s[key]
		if who := l.held[key].holder; !ok || got != who && holderOf(got) != who {
			bad = append(bad, fmt.Sprintf("%s: lost in %s: held by %s, there: %v %s", key, name, who, ok, holderOf(got)))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s)) {
		_, fixed := l.fixed[key]
		_, held := l.held[key]
		if !fixed && !held && !l.unknown[key][s[key]] && !l.unknown[key][holderOf(s[key])] {
			bad = append(bad, fmt.Sprintf("%s: %s holds it for %s, whom nobody granted it", key, name, holderOf(s[key])))
		}
	}
	if len(bad) > 20 {
		bad = append(bad[:20], fmt.Sprintf("and %d more", len(bad)-20))
	}
	return bad
}
