package backendtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// Harness is one lock system with an empty store, for one test.
type Harness struct {
	Backend   backends.Backend
	Namespace string
	Fence     backends.Fence // one that the store accepts

	// What a legacy system has, and the cluster has not; nil functions skip the
	// claims that need them.

	// Reopen closes the backend, opens its store anew and returns that.
	Reopen func(t testing.TB) backends.Backend
	// Second returns one more backend over the same store.
	Second func(t testing.TB) backends.Backend
	// Raw returns the bytes that the store has for a record, nil if none.
	Raw func(t testing.TB, space lockcluster.Space, key string) []byte
	// PutRaw stores bytes as an Atlantis would, nil to remove the record.
	PutRaw func(t testing.TB, space lockcluster.Space, key string, value []byte)
	// Split: a transaction may be refused because its records lie apart.
	Split bool
}

// legacy reports whether the harness is a legacy system's.
func (h *Harness) legacy() bool { return h.Raw != nil }

// Run holds the systems that open makes against every claim.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	type claim struct {
		name  string
		holds func(s *suite)
	}
	claims := []claim{
		{"Grant", grant},
		{"Guards", guards},
		{"ByPull", byPull},
		{"Hosts", hosts},
		{"Commands", commands},
		{"Documents", documents},
		{"Txn", txn},
		{"List", list},
		{"Import", imports},
		{"Names", names},
		{"Tokens", tokens},
		{"Race", race},
		{"OwnerID", ownerID},
		{"Model", model},
	}
	ofLegacy := []claim{
		{"Mirror", mirror},
		{"Routed", routed},
		{"Fence", fences},
		{"StoreID", storeIDs},
		{"Reopen", reopens},
		{"RawValues", rawValues},
		{"NoPlace", noPlace},
		{"Unreadable", unreadable},
		{"OldKeys", oldKeys},
		{"OtherWriter", otherWriter},
	}
	legacy := true
	run := func(c claim) {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{T: t, Harness: open(t), ctx: t.Context()}
			legacy = s.legacy()
			c.holds(s)
		})
	}
	for _, c := range claims {
		run(c)
	}
	for _, c := range ofLegacy {
		if legacy {
			run(c)
		}
	}
}

type suite struct {
	*testing.T
	Harness
	ctx context.Context //nolint:containedctx // the test's
}

// at is the leader's clock in every request.
var at = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func (s *suite) do(req lockcluster.Request) lockcluster.Result {
	s.Helper()
	res, err := s.Backend.Do(s.ctx, s.Fence, at, req)
	if err != nil {
		s.Fatalf("%T: %v", req, err)
	}
	return res
}

// want has req decided, and the answer must have that status.
func (s *suite) want(status lockcluster.Status, req lockcluster.Request) lockcluster.Result {
	s.Helper()
	res := s.do(req)
	if res.Status != status {
		s.Fatalf("%T: %s (%s), want %s", req, res.Status, res.Text, status)
	}
	return res
}

func (s *suite) key(repo, path, workspace, project string) lockcluster.Key {
	return lockcluster.Key{Namespace: s.Namespace, Repo: repo, Path: path, Workspace: workspace, Project: project}
}

// value is what an Atlantis stores for the lock.
func value(k lockcluster.Key, host string, pull int) []byte {
	return fmt.Appendf(nil, `{"Project":{"ProjectName":%q,"RepoFullName":%q,"Path":%q},"Pull":{"Num":%d,"HeadCommit":"c0ffee","Author":"ann",`+
		`"BaseRepo":{"FullName":%q,"CloneURL":"https://u:CANARY@h/r.git","VCSHost":{"Hostname":%q,"Type":0}}},"User":{"Username":"ann","Teams":null},`+
		`"Workspace":%q,"Time":"2026-01-02T03:04:05.000000006+02:00"}`, k.Project, k.Repo, k.Path, pull, k.Repo, host, k.Workspace)
}

const host = "github.com"

// acquire is what an Atlantis's lock becomes.
func (s *suite) acquire(k lockcluster.Key, pull int) lockcluster.Acquire {
	s.Helper()
	req, err := compat.AcquireFromValue(k.Namespace, value(k, host, pull))
	if err != nil {
		s.Fatal(err)
	}
	return req
}

func (s *suite) get(text string) *lockcluster.Lock {
	s.Helper()
	var l *lockcluster.Lock
	s.read(func(r state.Reader) { l = state.GetLock(r, s.Namespace, text) })
	return l
}

func (s *suite) read(f func(r state.Reader)) {
	s.Helper()
	if err := s.Backend.Read(s.ctx, f); err != nil {
		s.Fatalf("read: %v", err)
	}
}

func (s *suite) view() *state.View {
	s.Helper()
	v, err := s.Backend.View(s.ctx)
	if err != nil {
		s.Fatalf("view: %v", err)
	}
	return v
}

func (s *suite) digest() string {
	s.Helper()
	sum, n := state.ContentDigest(s.view(), s.Namespace)
	return fmt.Sprintf("%x of %d", sum, n)
}

// listed returns the texts and pull numbers of all locks.
func (s *suite) listed() string {
	s.Helper()
	out := ""
	state.ListLocks(s.view(), s.Namespace, state.LockFilter{}, func(l *lockcluster.Lock) bool {
		out += fmt.Sprintf("%s#%d ", l.Key.Text(), l.Owner.Pull)
		return true
	})
	return out
}
