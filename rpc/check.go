package rpc

import (
	"fmt"
	"strings"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
)

// checkStored refuses what the Redis door could never have stored: a value that
// says something else than the request it comes with would be given to every
// Atlantis that reads the lock, and a document under a lock's key would be
// found by nobody. The error wraps [lockcluster.ErrInvalid].
func checkStored(req lockcluster.Request) error {
	switch r := req.(type) {
	case lockcluster.Acquire:
		return checkAcquire(r)
	case lockcluster.LockCommand:
		return checkLockCommand(r)
	case lockcluster.PutDocument:
		return checkDocumentKey(r.Key)
	case lockcluster.SetTTL:
		return checkDocumentKey(r.Key)
	case lockcluster.Txn:
		for _, one := range r.Requests {
			if err := checkStored(one); err != nil {
				return err
			}
		}
	case lockcluster.Import:
		return checkImport(r)
	}
	return nil
}

func checkImport(r lockcluster.Import) error {
	for _, one := range r.Locks {
		one.Key.Namespace = r.Namespace
		if err := checkAcquire(one); err != nil {
			return err
		}
	}
	for _, one := range r.CommandLocks {
		if err := checkLockCommand(one); err != nil {
			return err
		}
	}
	for _, one := range r.Documents {
		if err := checkDocumentKey(one.Key); err != nil {
			return err
		}
	}
	return nil
}

func checkAcquire(r lockcluster.Acquire) error {
	if len(r.Value) == 0 {
		return nil
	}
	said, err := compat.AcquireFromValue(r.Key.Namespace, r.Value)
	switch {
	case err != nil:
		return err
	case said.Key != r.Key:
		return fmt.Errorf("%w: the value names lock %q, the request %q", lockcluster.ErrInvalid, said.Key.Text(), r.Key.Text())
	case !said.Owner.Same(r.Owner):
		return fmt.Errorf("%w: the value names %s, the request %s", lockcluster.ErrInvalid, said.Owner, r.Owner)
	}
	return nil
}

func checkLockCommand(r lockcluster.LockCommand) error {
	said, err := compat.ParseCommandLock(r.Value)
	if err != nil {
		return err
	}
	if said.Command.String() != r.Name {
		return fmt.Errorf("%w: the value locks command %q, the request %q", lockcluster.ErrInvalid, said.Command, r.Name)
	}
	return nil
}

func checkDocumentKey(key string) error {
	_, isCommand := compat.ParseCommandLockKey(key)
	if key == "" || isCommand || strings.HasPrefix(key, compat.LockKeyPrefix) {
		return fmt.Errorf("%w: document key %q is empty or a lock's", lockcluster.ErrInvalid, key)
	}
	return nil
}
