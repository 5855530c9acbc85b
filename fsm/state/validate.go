package state

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lockcluster/lockcluster"
)

// Bounds of one request, beside those of the root package.
const (
	txnRequestsMax    = 10_000
	importRecordsMax  = 10_000
	ttlMax            = 100 * 365 * 24 * time.Hour
	clientIDSizeMax   = 64
	commandNameMax    = 64
	validateSpaceText = "a transaction condition names an unknown space"
)

// Validate reports why req cannot be decided, as an error that wraps
// [lockcluster.ErrInvalid]. It depends on req alone: doors call it before they
// propose, the rules call it again.
func Validate(req lockcluster.Request) error {
	switch r := req.(type) {
	case lockcluster.Acquire:
		return validateAcquire(r)
	case lockcluster.Release:
		return validateRelease(r)
	case lockcluster.ReleaseByPull:
		if r.Repo == "" || strings.ContainsRune(r.Repo, 0) {
			return fmt.Errorf("%w: a release by pull needs a repository", lockcluster.ErrInvalid)
		}
		return lockcluster.ValidateNamespace(r.Namespace)
	case lockcluster.LockCommand:
		return validateLockCommand(r)
	case lockcluster.UnlockCommand:
		return validateCommandName(r.Namespace, r.Name)
	case lockcluster.PutDocument:
		return validatePut(r)
	case lockcluster.DeleteDocument:
		return validateDocumentKey(r.Namespace, r.Key)
	case lockcluster.SetTTL:
		if err := validateTTL(r.TTL); err != nil {
			return err
		}
		return validateDocumentKey(r.Namespace, r.Key)
	case lockcluster.Txn:
		return validateTxn(r)
	case lockcluster.Expire:
		if r.Space != lockcluster.SpaceLock && r.Space != lockcluster.SpaceDocument {
			return fmt.Errorf("%w: an expiry names an unknown space", lockcluster.ErrInvalid)
		}
		return lockcluster.ValidateNamespace(r.Namespace)
	case lockcluster.Import:
		return validateImport(r)
	case lockcluster.RegisterNode:
		return validateNode(r)
	case lockcluster.BumpEpoch:
		if len(r.Reason) > lockcluster.NameSizeMax || !utf8.ValidString(r.Reason) {
			return fmt.Errorf("%w: the reason of a new epoch is UTF-8 of at most %d bytes", lockcluster.ErrInvalid, lockcluster.NameSizeMax)
		}
		return nil
	case lockcluster.Checkpoint:
		return nil
	}
	return validateRoad(req)
}

func validateAcquire(r lockcluster.Acquire) error {
	if err := r.Key.Validate(); err != nil {
		return err
	}
	if err := r.Owner.Validate(); err != nil {
		return err
	}
	switch {
	case r.Owner.ID == "" && r.Owner.Repo != r.Key.Repo:
		return fmt.Errorf("%w: a pull request's lock is of its own repository: the owner's is %q, the key's is %q",
			lockcluster.ErrInvalid, r.Owner.Repo, r.Key.Repo)
	case r.TTL != 0 && r.Owner.ID == "":
		return fmt.Errorf("%w: a pull request's lock never expires; use an owner id for a lease", lockcluster.ErrInvalid)
	case r.Priority > lockcluster.PriorityCritical:
		return fmt.Errorf("%w: priority %d is unknown", lockcluster.ErrInvalid, r.Priority)
	case len(r.User) > lockcluster.NameSizeMax:
		return fmt.Errorf("%w: the user name is longer than %d bytes", lockcluster.ErrInvalid, lockcluster.NameSizeMax)
	}
	if err := validateTTL(r.TTL); err != nil {
		return err
	}
	return validateValue(r.Value)
}

func validateRelease(r lockcluster.Release) error {
	if r.Text == "" || len(r.Text) > lockcluster.KeySizeMax {
		return fmt.Errorf("%w: a lock key has 1 to %d bytes", lockcluster.ErrInvalid, lockcluster.KeySizeMax)
	}
	if r.Guard.Owner != nil {
		if err := r.Guard.Owner.Validate(); err != nil {
			return err
		}
	}
	return lockcluster.ValidateNamespace(r.Namespace)
}

func validateCommandName(ns, name string) error {
	if name == "" || len(name) > commandNameMax || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%w: a command name has 1 to %d bytes and no slash", lockcluster.ErrInvalid, commandNameMax)
	}
	return lockcluster.ValidateNamespace(ns)
}

func validateLockCommand(r lockcluster.LockCommand) error {
	if len(r.Value) == 0 {
		return fmt.Errorf("%w: a command lock needs its value", lockcluster.ErrInvalid)
	}
	if err := validateValue(r.Value); err != nil {
		return err
	}
	return validateCommandName(r.Namespace, r.Name)
}

func validateDocumentKey(ns, key string) error {
	if len(key) > lockcluster.KeySizeMax {
		return fmt.Errorf("%w: a document key has at most %d bytes", lockcluster.ErrInvalid, lockcluster.KeySizeMax)
	}
	return lockcluster.ValidateNamespace(ns)
}

func validatePut(r lockcluster.PutDocument) error {
	switch {
	case r.Condition > lockcluster.PutIfPresent:
		return fmt.Errorf("%w: put condition %d is unknown", lockcluster.ErrInvalid, r.Condition)
	case r.KeepTTL && r.TTL != 0:
		return fmt.Errorf("%w: a put either keeps the TTL or sets one", lockcluster.ErrInvalid)
	}
	if err := validateTTL(r.TTL); err != nil {
		return err
	}
	if err := validateValue(r.Value); err != nil {
		return err
	}
	return validateDocumentKey(r.Namespace, r.Key)
}

func validateTTL(ttl time.Duration) error {
	if ttl < 0 || ttl > ttlMax {
		return fmt.Errorf("%w: a TTL lies between 0 and 100 years", lockcluster.ErrInvalid)
	}
	return nil
}

func validateValue(v []byte) error {
	if len(v) > lockcluster.ValueSizeMax {
		return fmt.Errorf("%w: the value has %d bytes, at most %d are allowed", lockcluster.ErrInvalid, len(v), lockcluster.ValueSizeMax)
	}
	return nil
}

func validateTxn(r lockcluster.Txn) error {
	if len(r.Requests)+len(r.Conditions)+len(r.Ranges) > txnRequestsMax {
		return fmt.Errorf("%w: a transaction has at most %d conditions and requests", lockcluster.ErrInvalid, txnRequestsMax)
	}
	for _, c := range r.Conditions {
		if _, ok := spaceTable(c.Space); !ok {
			return fmt.Errorf("%w: %s", lockcluster.ErrInvalid, validateSpaceText)
		}
	}
	for _, c := range r.Ranges {
		if _, ok := spaceTable(c.Space); !ok {
			return fmt.Errorf("%w: %s", lockcluster.ErrInvalid, validateSpaceText)
		}
	}
	for _, req := range r.Requests {
		switch req.(type) {
		case lockcluster.Acquire, lockcluster.Release, lockcluster.ReleaseByPull, lockcluster.LockCommand,
			lockcluster.UnlockCommand, lockcluster.PutDocument, lockcluster.DeleteDocument, lockcluster.SetTTL:
		default:
			return fmt.Errorf("%w: a transaction cannot hold %T", lockcluster.ErrInvalid, req)
		}
		if err := Validate(req); err != nil {
			return err
		}
	}
	return lockcluster.ValidateNamespace(r.Namespace)
}

func validateImport(r lockcluster.Import) error {
	if len(r.Locks)+len(r.CommandLocks)+len(r.Documents) > importRecordsMax {
		return fmt.Errorf("%w: one import request has at most %d records", lockcluster.ErrInvalid, importRecordsMax)
	}
	for _, l := range r.Locks {
		if err := validateAcquire(l); err != nil {
			return err
		}
	}
	for _, c := range r.CommandLocks {
		if err := validateLockCommand(c); err != nil {
			return err
		}
	}
	for _, d := range r.Documents {
		if err := validatePut(d); err != nil {
			return err
		}
	}
	return lockcluster.ValidateNamespace(r.Namespace)
}

func validateNode(r lockcluster.RegisterNode) error {
	for _, s := range []string{r.NodeID, r.RaftAddr, r.GRPCAddr, r.HTTPAddr, r.RESPAddr, r.Version} {
		if len(s) > lockcluster.NameSizeMax || strings.ContainsRune(s, 0) || !utf8.ValidString(s) {
			return fmt.Errorf("%w: a node's id, addresses and version are UTF-8 of at most %d bytes", lockcluster.ErrInvalid, lockcluster.NameSizeMax)
		}
	}
	if r.NodeID == "" {
		return fmt.Errorf("%w: a node needs an id", lockcluster.ErrInvalid)
	}
	return nil
}

// validateRequestID keeps client ids short and printable: they stand in keys.
func validateRequestID(id lockcluster.RequestID) error {
	if len(id.ClientID) > clientIDSizeMax || id.Sequence == 0 {
		return fmt.Errorf("%w: a request id needs a client id of at most %d bytes and a sequence above 0", lockcluster.ErrInvalid, clientIDSizeMax)
	}
	for _, r := range id.ClientID {
		if r <= ' ' || r > '~' {
			return fmt.Errorf("%w: a client id is printable ASCII without spaces", lockcluster.ErrInvalid)
		}
	}
	return nil
}

func spaceTable(s lockcluster.Space) (byte, bool) {
	switch s {
	case lockcluster.SpaceLock:
		return tableLock, true
	case lockcluster.SpaceCommand:
		return tableCommand, true
	case lockcluster.SpaceDocument:
		return tableDocument, true
	}
	return 0, false
}
