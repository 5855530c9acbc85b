package lockcluster

import "time"

// Request is a change that a client asks for. The concrete types are listed in
// this file; package fsm/command gives each its form in the log.
type Request interface{ isRequest() }

// RequestID makes a mutation exactly-once. A client draws a ClientID once (at
// least 128 random bits), numbers its requests from 1, and sends a retry under
// the number of the first try; another request under a number that was used is
// invalid. AckedBelow tells the cluster that the client has the answers of all
// smaller numbers and will never retry them.
// The zero value asks for no such guarantee.
type RequestID struct {
	ClientID   string
	Sequence   uint64
	AckedBelow uint64
}

// IsZero reports whether id asks for no exactly-once guarantee.
func (id RequestID) IsZero() bool { return id.ClientID == "" }

// Acquire takes a lock if it is free; it never waits.
//
// Results: [StatusGranted] with the new lock; [StatusAlreadyHeld] when the
// same owner has it (the lock is unchanged, but a lease is renewed, and a pull
// lock whose VCS host was not known yet takes the owner's);
// [StatusHeld] with the holder's lock; [StatusHostConflict] when the
// repository is known from another VCS host in this namespace.
type Acquire struct {
	Key        Key
	Owner      Owner
	User       string
	Priority   Priority      // zero means normal
	TTL        time.Duration // above zero makes it a lease; not for pull owners
	AcquiredAt time.Time     // what the client's record says; zero: the leader's wall clock
	Value      []byte        // exact bytes of a legacy client, or nil
}

// Release frees one lock.
//
// Results: [StatusReleased] with the lock as it was; [StatusNotFound];
// [StatusNotHolder] with the present lock when the guard does not match.
type Release struct {
	Namespace string
	Text      string // the lock key's text form
	Guard     Guard
}

// Guard restricts a release to the lock that its sender means. All set fields
// must match; the zero value matches any lock.
type Guard struct {
	Owner    *Owner // the holder must be this owner
	Pull     int    // the holder must be a pull lock of this number (host unknown)
	Token    Token  // the holder's fencing token
	Revision uint64 // the lock must not have changed since this log index
}

// ReleaseByPull frees every lock of one pull request of exactly one repository.
//
// Result: [StatusReleased] with the locks in Locks (none is not an error).
type ReleaseByPull struct {
	Namespace string
	Repo      string
	Pull      int
	Host      string // empty: whatever host the repository has
	Upto      Token  // set: locks with greater tokens are left alone
}

// LockCommand takes a global command lock.
//
// Results: [StatusGranted]; [StatusAlreadyHeld] when the stored bytes are
// equal; [StatusHeld].
type LockCommand struct {
	Namespace string
	Name      string
	LockedAt  time.Time
	Value     []byte
}

// UnlockCommand frees a global command lock.
//
// Results: [StatusReleased]; [StatusNotFound]; [StatusNotHolder] when Token is
// set and is not the lock's, or Revision is set and the lock has changed since.
// Token is the guard to use: several locks may be granted at one revision.
type UnlockCommand struct {
	Namespace string
	Name      string
	Revision  uint64
	Token     Token
}

// PutCondition restricts a [PutDocument].
type PutCondition uint8

// The conditions of a [PutDocument]; persisted, never renumber.
const (
	PutAlways    PutCondition = 0
	PutIfAbsent  PutCondition = 1 // Redis NX
	PutIfPresent PutCondition = 2 // Redis XX
)

// PutDocument stores a document.
//
// Results: [StatusStored]; [StatusNotStored] when the condition does not hold.
// Document is the one that was there before, nil if none.
type PutDocument struct {
	Namespace string
	Key       string
	Value     []byte
	Condition PutCondition
	TTL       time.Duration // zero: does not expire
	KeepTTL   bool          // keep the TTL of the document that is replaced
	Revision  uint64        // set: the document must be there and not have changed since
}

// DeleteDocument removes a document.
//
// Results: [StatusDeleted] with the document as it was; [StatusNotFound];
// [StatusNotHolder] when Revision is set and the document has changed since.
type DeleteDocument struct {
	Namespace string
	Key       string
	Revision  uint64
}

// SetTTL changes when a document expires; zero removes its TTL.
//
// Results: [StatusStored]; [StatusNotFound].
type SetTTL struct {
	Namespace string
	Key       string
	TTL       time.Duration
}

// Space is one of the three kinds of record that share a namespace; persisted,
// never renumber.
type Space uint8

// The spaces.
const (
	SpaceLock     Space = 1 // by lock key text
	SpaceCommand  Space = 2 // by command name
	SpaceDocument Space = 3 // by document key
)

// Condition is something that a [Txn] has read and that must still be so.
type Condition struct {
	Space    Space
	Key      string
	Revision uint64 // 0: the record must be absent
}

// RangeCondition is a listing that a [Txn] has read: the keys of a space that
// begin with Prefix, with their revisions, digested by fsm/state.RangeDigest.
type RangeCondition struct {
	Space  Space
	Prefix string
	Digest []byte
}

// Txn applies all Requests, or none. Allowed in it are the request types from
// Acquire to SetTTL.
//
// Results: [StatusApplied] with one result per request in Results;
// [StatusConflict] when a condition does not hold any more, or when a request
// was refused (its result is in Results, and nothing was changed).
type Txn struct {
	Namespace  string
	Conditions []Condition
	Ranges     []RangeCondition
	Requests   []Request
}

// Expire ends a lease or a document's TTL. Only the leader proposes it, from
// its monotonic clock; it is ignored unless LeaseEpoch is still the record's
// and Term is the term of the log entry that carries it.
//
// Results: [StatusExpired] with the lock or document; [StatusIgnored].
type Expire struct {
	Namespace  string
	Space      Space // SpaceLock or SpaceDocument
	Key        string
	LeaseEpoch uint64
	Term       uint64
}

// Import takes over records of another system. Records that are already there
// stay as they are; nothing is ever overwritten. Results has one result per
// record: [StatusGranted] / [StatusStored] for a new one, [StatusAlreadyHeld]
// for the same content, [StatusHeld] for a different one. They carry no stored
// values.
type Import struct {
	Namespace    string
	Locks        []Acquire
	CommandLocks []LockCommand
	Documents    []PutDocument
}

// RegisterNode publishes a node's addresses and feature level.
//
// Result: [StatusApplied].
type RegisterNode struct {
	NodeID       string
	RaftAddr     string
	GRPCAddr     string
	HTTPAddr     string
	RESPAddr     string
	Version      string
	FeatureLevel uint64
}

// Checkpoint asks every node to note its state hash at this log index, so
// that the nodes can compare. Result: [StatusApplied].
type Checkpoint struct{}

// BumpEpoch raises the epoch of the fencing tokens, after a restore or a
// recovery. Result: [StatusApplied] with the new epoch in Token.
type BumpEpoch struct {
	Reason string
}

func (Acquire) isRequest()        {}
func (Release) isRequest()        {}
func (ReleaseByPull) isRequest()  {}
func (LockCommand) isRequest()    {}
func (UnlockCommand) isRequest()  {}
func (PutDocument) isRequest()    {}
func (DeleteDocument) isRequest() {}
func (SetTTL) isRequest()         {}
func (Txn) isRequest()            {}
func (Expire) isRequest()         {}
func (Import) isRequest()         {}
func (RegisterNode) isRequest()   {}
func (Checkpoint) isRequest()     {}
func (BumpEpoch) isRequest()      {}

// NamespaceOf returns the namespace that a request of a client is about, empty when
// it is about the cluster itself.
func NamespaceOf(req Request) string {
	switch r := req.(type) {
	case Acquire:
		return r.Key.Namespace
	case Release:
		return r.Namespace
	case ReleaseByPull:
		return r.Namespace
	case LockCommand:
		return r.Namespace
	case UnlockCommand:
		return r.Namespace
	case PutDocument:
		return r.Namespace
	case DeleteDocument:
		return r.Namespace
	case SetTTL:
		return r.Namespace
	case Txn:
		return r.Namespace
	case Import:
		return r.Namespace
	}
	return ""
}
