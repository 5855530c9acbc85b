package resp

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/lockcluster/lockcluster"
	logform "github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memorySystem is a node without a log: it runs the real rules, one request
// after the other, over the real store, and expires what has a TTL.
type memorySystem struct {
	mem *state.Mem

	mu      sync.Mutex // guards what follows, and is held while a request is applied
	index   uint64
	leases  map[string]*time.Timer
	leader  bool
	changed chan struct{} // closed when leader changes
	closed  bool
	unknown bool                    // requests are applied, but nobody is told
	granted func(ns string, n name) // nil, or told of every lock that is taken
}

const testTerm = 1

func newSystem(t testing.TB) *memorySystem {
	t.Helper()
	s := &memorySystem{mem: state.NewMem(), leases: map[string]*time.Timer{}, leader: true, changed: make(chan struct{})}
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.closed = true
		for _, timer := range s.leases {
			timer.Stop()
		}
	})
	return s
}

// setLeader makes the cluster lose or find its leader.
func (s *memorySystem) setLeader(there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leader = there
	close(s.changed)
	s.changed = make(chan struct{})
}

// await returns when there is a leader, with mu held.
func (s *memorySystem) await(ctx context.Context) error {
	for {
		s.mu.Lock()
		if s.leader {
			return nil
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", lockcluster.ErrNoLeader, ctx.Err())
		}
	}
}

func (s *memorySystem) Do(ctx context.Context, _ lockcluster.RequestID, req lockcluster.Request) (lockcluster.Result, error) {
	if err := state.Validate(req); err != nil {
		return lockcluster.Result{}, err
	}
	if err := s.await(ctx); err != nil {
		return lockcluster.Result{}, err
	}
	defer s.mu.Unlock()
	res, err := s.apply(req)
	if s.unknown {
		return lockcluster.Result{}, lockcluster.ErrOutcomeUnknown
	}
	return res, err
}

// apply takes the request through its form in the log; the caller holds mu.
func (s *memorySystem) apply(req lockcluster.Request) (lockcluster.Result, error) {
	data, err := logform.EncodeCommand(lockcluster.RequestID{}, req)
	if err != nil {
		return lockcluster.Result{}, err
	}
	cmd, err := logform.DecodeCommand(data)
	if err != nil {
		return lockcluster.Result{}, err
	}
	s.index++
	var res lockcluster.Result
	var changes []state.LeaseChange
	s.mem.Update(s.index, testTerm, func(tx state.Tx) {
		a := state.Begin(tx, state.Env{Index: s.index, Term: testTerm, Now: time.Now()})
		res = a.Do(logform.Command{Request: cmd.Request})
		changes = a.End()
	})
	for _, c := range changes {
		s.lease(c)
	}
	if res.Status == lockcluster.StatusGranted && s.granted != nil {
		if l := res.Lock; l != nil {
			s.granted(l.Key.Namespace, name{lockcluster.SpaceLock, l.Key.Text()})
		} else {
			s.granted(res.CommandLock.Namespace, name{lockcluster.SpaceCommand, res.CommandLock.Name})
		}
	}
	return res, nil
}

func (s *memorySystem) lease(c state.LeaseChange) {
	k := fmt.Sprint(c.Namespace, c.Space, c.Key)
	if old := s.leases[k]; old != nil {
		old.Stop()
		delete(s.leases, k)
	}
	if !c.Armed || s.closed {
		return
	}
	expire := lockcluster.Expire{Namespace: c.Namespace, Space: c.Space, Key: c.Key, LeaseEpoch: c.Epoch, Term: testTerm}
	s.leases[k] = time.AfterFunc(c.TTL, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.closed {
			_, _ = s.apply(expire)
		}
	})
}

func (s *memorySystem) Read(ctx context.Context, f func(r state.Reader, index uint64)) error {
	if err := s.await(ctx); err != nil {
		return err
	}
	s.mu.Unlock()
	s.mem.Read(f)
	return nil
}

func (s *memorySystem) View(ctx context.Context) (*state.View, error) {
	if err := s.await(ctx); err != nil {
		return nil, err
	}
	s.mu.Unlock()
	return s.mem.View(), nil
}

// mustDo has a request applied behind the door's back.
func (s *memorySystem) mustDo(t testing.TB, req lockcluster.Request) lockcluster.Result {
	t.Helper()
	res, err := s.Do(t.Context(), lockcluster.RequestID{}, req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// mustOpen opens a door over sys.
func mustOpen(t testing.TB, sys System, change ...func(*Config)) *Server {
	t.Helper()
	cfg := Config{Addr: "127.0.0.1:0"}
	for _, f := range change {
		f(&cfg)
	}
	s, err := Open(cfg, sys)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// newClient returns a go-redis client as Atlantis makes it.
func newClient(t testing.TB, s *Server, change ...func(*redis.Options)) *redis.Client {
	t.Helper()
	o := &redis.Options{Addr: s.Addr().String()}
	for _, f := range change {
		f(o)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// lockJSON is a lock as Atlantis stores it.
func lockJSON(repo, path, workspace, project string, pull int, host string) string {
	return fmt.Sprintf(`{"Project":{"ProjectName":%q,"RepoFullName":%q,"Path":%q},"Pull":{"Num":%d,"HeadCommit":"abc","URL":"https://%[6]s/%[2]s/pull/%[4]d","HeadBranch":"b","BaseBranch":"main","HardenedNonPRRefCheckout":false,"Author":"lkysow","Body":"","State":0,"BaseRepo":{"FullName":%[2]q,"Owner":"o","Name":"r","CloneURL":"https://user:token@%[6]s/%[2]s.git","SanitizedCloneURL":"https://%[6]s/%[2]s.git","VCSHost":{"Hostname":%[6]q,"Type":0}}},"User":{"Username":"jane","Teams":null},"Workspace":%[5]q,"Time":"2026-11-23T12:00:00.123456789Z"}`,
		project, repo, path, pull, workspace, host)
}

// testLock is a lock of one directory of one repository, and its key.
func testLock(repo, path string, pull int) (key, value string) {
	return "pr/" + repo + "/" + path + "/default/", lockJSON(repo, path, "default", "", pull, "github.com")
}
