package lockcluster

import (
	"fmt"
	"time"
)

// Kind says how long a lock lives.
type Kind uint8

const (
	// KindPull lives as long as its pull request: it never expires on its own.
	KindPull Kind = 1
	// KindLeased carries a TTL and expires without renewal.
	KindLeased Kind = 2
	// KindHeld belongs to an owner id and has no TTL: it lives until released.
	KindHeld Kind = 3
)

// Priority orders waiting requests. The zero value is invalid; persisted,
// never renumber.
type Priority uint8

// The priorities, in rising order.
const (
	PriorityLow      Priority = 1
	PriorityNormal   Priority = 2
	PriorityHigh     Priority = 3
	PriorityCritical Priority = 4
)

var priorityNames = [...]string{"", "low", "normal", "high", "critical"}

// String returns the priority's name, "normal" for an unset one.
func (p Priority) String() string {
	if p == 0 || int(p) >= len(priorityNames) {
		return priorityNames[PriorityNormal]
	}
	return priorityNames[p]
}

// ParsePriority returns the priority of that name.
func ParsePriority(name string) (Priority, error) {
	for i, n := range priorityNames {
		if i > 0 && n == name {
			return Priority(i), nil
		}
	}
	return 0, fmt.Errorf("%w: priority %q: use low, normal, high or critical", ErrInvalid, name)
}

// Token is a fencing token: every grant gets one that is greater than all
// before it, across crashes, restores and cutovers (Kleppmann, "How to do
// distributed locking", 2016). The epoch is bumped by restore, recovery and
// cutover; the counter by every grant.
type Token struct {
	Epoch   uint64
	Counter uint64
}

// Less reports whether t is older than u.
func (t Token) Less(u Token) bool {
	return t.Epoch < u.Epoch || t.Epoch == u.Epoch && t.Counter < u.Counter
}

// IsZero reports whether t is no token.
func (t Token) IsZero() bool { return t == Token{} }

// String returns "epoch:counter".
func (t Token) String() string { return fmt.Sprintf("%d:%d", t.Epoch, t.Counter) }

// ParseToken reads what [Token.String] writes.
func ParseToken(s string) (Token, error) {
	var t Token
	var rest string
	if n, _ := fmt.Sscanf(s, "%d:%d%s", &t.Epoch, &t.Counter, &rest); n != 2 {
		return Token{}, fmt.Errorf("%w: fencing token %q: want epoch:counter", ErrInvalid, s)
	}
	return t, nil
}

// Lock is a granted lock.
type Lock struct {
	Key        Key
	Kind       Kind
	Owner      Owner
	User       string // who asked for it, for display
	Priority   Priority
	Token      Token
	AcquiredAt time.Time     // wall time for display; decides nothing
	RenewedAt  time.Time     // leased locks: wall time of the last renewal, for display
	TTL        time.Duration // leased locks; zero for locks that do not expire
	LeaseEpoch uint64        // leased locks: counts renewals
	Revision   uint64        // log index of the last change
	Home       Home          // ModeGradual: which system decides about it
	// Value is exactly what a legacy client stored, or nil. It holds a VCS
	// token and the pull request's text: never log, print or export it.
	Value []byte
}

// ExpiresAt returns when the lease would run out as far as the wall clock
// tells, for display; the zero time for a lock that does not expire. The
// leader's monotonic clock decides, and a new leader counts the TTL anew.
func (l *Lock) ExpiresAt() time.Time {
	if l.TTL == 0 {
		return time.Time{}
	}
	return l.RenewedAt.Add(l.TTL)
}

// CommandLock is a global lock on one Atlantis command. It has no owner.
type CommandLock struct {
	Namespace string
	Name      string    // the command's name as in Atlantis's key, e.g. "apply"
	LockedAt  time.Time // the time the record carries, whole seconds
	Token     Token
	Revision  uint64
	Home      Home   // as in [Lock]
	Value     []byte // exactly what a legacy client stored
}

// Document is any other stored value, for example a pull status.
type Document struct {
	Namespace  string
	Key        string
	Value      []byte        // may hold secrets, as [Lock.Value]
	TTL        time.Duration // zero when it does not expire
	LeaseEpoch uint64        // counts settings of the TTL
	ArmedAt    time.Time     // wall time at which the TTL was set, for display
	Revision   uint64
	Home       Home // as in [Lock]
}
