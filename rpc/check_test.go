package rpc_test

import (
	"errors"
	"testing"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/rpc"
)

// What the Redis door could never have stored is refused at this one too, alone
// and inside a transaction or an import: a value of another lock or pull
// request, a value that is none, a document under a lock's key.
func TestContradictingValuesAreRefused(t *testing.T) {
	s := newSystem(t, 1)
	c := dial(t, rpc.ClientConfig{Endpoints: []string{s.nodes[0].server.GRPCAddr()}})
	key := lockcluster.Key{Namespace: "default", Repo: "acme/app", Path: ".", Workspace: "default"}
	owner := lockcluster.Owner{Repo: "acme/app", Pull: 1}
	other := key
	other.Path = "x"
	bad := map[string]lockcluster.Request{
		"another lock":      lockcluster.Acquire{Key: other, Owner: owner, Value: []byte(canaryValue)},
		"another pull":      lockcluster.Acquire{Key: key, Owner: lockcluster.Owner{Repo: "acme/app", Pull: 2}, Value: []byte(canaryValue)},
		"an owner id":       lockcluster.Acquire{Key: key, Owner: lockcluster.Owner{ID: "me"}, Value: []byte(canaryValue)},
		"no lock":           lockcluster.Acquire{Key: key, Owner: owner, Value: []byte("garbage")},
		"no command lock":   lockcluster.LockCommand{Namespace: "default", Name: "apply", Value: []byte("zz")},
		"another command":   lockcluster.LockCommand{Namespace: "default", Name: "plan", Value: []byte(commandValue)},
		"a lock's document": lockcluster.PutDocument{Namespace: "default", Key: "pr/acme/app/./default/", Value: []byte("{}")},
		"a command's":       lockcluster.PutDocument{Namespace: "default", Key: "global/apply/lock", Value: []byte("{}")},
		"no key":            lockcluster.PutDocument{Namespace: "default", Value: []byte("{}")},
	}
	for name, req := range bad {
		requests := []lockcluster.Request{req, lockcluster.Txn{Namespace: "default", Requests: []lockcluster.Request{req}}}
		switch r := req.(type) {
		case lockcluster.Acquire:
			requests = append(requests, lockcluster.Import{Namespace: "default", Locks: []lockcluster.Acquire{r}})
		case lockcluster.LockCommand:
			requests = append(requests, lockcluster.Import{Namespace: "default", CommandLocks: []lockcluster.LockCommand{r}})
		case lockcluster.PutDocument:
			requests = append(requests, lockcluster.Import{Namespace: "default", Documents: []lockcluster.PutDocument{r}})
		}
		for _, r := range requests {
			if res, err := c.Do(t.Context(), lockcluster.RequestID{}, r); !errors.Is(err, lockcluster.ErrInvalid) {
				t.Errorf("%s in %T: %s, %v", name, r, res.Status, err)
			}
		}
	}
	if res, err := c.Do(t.Context(), lockcluster.RequestID{}, lockcluster.Acquire{Key: key, Owner: owner, Value: []byte(canaryValue)}); err != nil || res.Status != lockcluster.StatusGranted {
		t.Errorf("a value that fits: %s, %v", res.Status, err)
	}
}
