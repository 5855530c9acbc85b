package lockcluster

import (
	"errors"
	"fmt"
)

// Status is what became of a request; persisted, never renumber.
type Status uint8

// The statuses. Each request type names those it can answer with.
const (
	StatusGranted      Status = 1  // the caller now holds the lock
	StatusAlreadyHeld  Status = 2  // the caller's owner held it before
	StatusHeld         Status = 3  // another owner holds it
	StatusHostConflict Status = 4  // the repository has another VCS host in this namespace
	StatusReleased     Status = 5  // freed
	StatusNotFound     Status = 6  // there is no such record
	StatusNotHolder    Status = 7  // there is one, but not the one that was meant
	StatusStored       Status = 8  // document stored
	StatusNotStored    Status = 9  // the put condition does not hold
	StatusDeleted      Status = 10 // document removed
	StatusApplied      Status = 11 // done
	StatusConflict     Status = 12 // a transaction's condition does not hold; nothing changed
	StatusExpired      Status = 13 // the lease or TTL has ended
	StatusIgnored      Status = 14 // an expiry that was overtaken
	StatusInvalid      Status = 15 // the request cannot be understood; Text says why
	StatusForgotten    Status = 16 // the client had acknowledged this request id before
	StatusNotActive    Status = 17 // another system decides about it now, or the gate is closed; nothing changed
	StatusPinned       Status = 18 // a [Pin] says what the request is about; clients never see it
)

var statusNames = [...]string{
	"unset", "granted", "already held", "held", "host conflict", "released", "not found", "not holder",
	"stored", "not stored", "deleted", "applied", "conflict", "expired", "ignored", "invalid", "forgotten", "not active", "pinned",
}

// String returns the status's name.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// Result is the answer to a [Request].
type Result struct {
	Status      Status
	Index       uint64 // log index at which it was decided
	Lock        *Lock  // granted, present or released lock
	Locks       []Lock // released locks
	CommandLock *CommandLock
	Document    *Document
	Token       Token
	Text        string   // for people; never holds a stored value
	Results     []Result // one per request of a Txn or record of an Import
}

// The errors every layer shares. Test with errors.Is.
var (
	// ErrInvalid marks bad input: nothing was proposed.
	ErrInvalid = errors.New("invalid request")
	// ErrNoLeader means that no leader could be reached; nothing was proposed.
	ErrNoLeader = errors.New("no leader")
	// ErrOverloaded means that a queue is full; nothing was proposed.
	ErrOverloaded = errors.New("overloaded, try again later")
	// ErrOutcomeUnknown means that the request was proposed and may or may not
	// be applied. Retry it under the same request id.
	ErrOutcomeUnknown = errors.New("outcome unknown, retry with the same request id")
	// ErrClosed means that the node or client was closed.
	ErrClosed = errors.New("closed")
)

// NotLeaderError means that the node that was asked does not lead and may not
// forward; nothing was proposed.
type NotLeaderError struct {
	LeaderID   string // empty when not known
	LeaderAddr string // the leader's gRPC address, empty when not known
}

// Error names the leader when there is one.
func (e *NotLeaderError) Error() string {
	if e.LeaderID == "" {
		return "not the leader, and the leader is not known"
	}
	return fmt.Sprintf("not the leader: that is %s at %s", e.LeaderID, e.LeaderAddr)
}

// Is makes a NotLeaderError match [ErrNoLeader].
func (e *NotLeaderError) Is(target error) bool { return target == ErrNoLeader }
