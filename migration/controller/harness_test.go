package controller

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/cluster/clustertest"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// site is a cluster of real nodes in this process, each with its controller;
// the controllers reach each other by calls. n1 has an atlantis.db.
type site struct {
	*clustertest.Cluster
	t    *testing.T
	file string

	mu      sync.Mutex // guards what follows
	nodes   map[string]*Controller
	configs map[string]func(*Config) // by node
	do      func(node string, req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error)
	call    func(from, to, method string, next func() ([]byte, error)) ([]byte, error)
	store   func(req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error)
	views   atomic.Int64 // how often the whole store was read
}

// newSite starts a site in mode legacy. change, by node, may be nil.
func newSite(t *testing.T, change map[string]func(*Config)) *site {
	t.Helper()
	s := &site{t: t, file: filepath.Join(t.TempDir(), "atlantis.db"), nodes: map[string]*Controller{}, configs: change}
	s.Cluster = clustertest.Start(t, clustertest.Options{NodeOptions: s.options, Configure: func(c *cluster.Config) {
		c.LeaderLease = 500 * time.Millisecond // as long as the followers wait: on a busy machine they are late, not dead
	}})
	for _, id := range s.Running() {
		s.start(id)
	}
	t.Cleanup(s.close)
	return s
}

func (s *site) options(id string) []cluster.Option {
	cfg := Config{NodeID: id, Calls: siteCalls{s, id}, RequestTimeout: 5 * time.Second}
	if id == "n1" {
		cfg.Attached = s.bolt(s.file)
	}
	if f := s.configs[id]; f != nil {
		f(&cfg)
	}
	c := Open(cfg)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[id] = c
	return []cluster.Option{cluster.WithChanges(c.NoteChanges), cluster.WithMigration(c.NoteMigration), cluster.WithRestored(c.NoteRestored)}
}

// bolt is a file as a legacy system.
func (s *site) bolt(file string) *Attached {
	return &Attached{Kind: KindBoltDB, Namespace: lockcluster.DefaultNamespace, Open: func(ctx context.Context) (backends.Backend, error) {
		b, err := backends.Open(ctx, backends.Options{Backend: KindBoltDB, Path: file, Create: true})
		if err != nil {
			return nil, err
		}
		return siteStore{b, s}, nil
	}}
}

func (s *site) start(id string) { s.ctl(id).Start(siteNode{s.Node(id), s, id}) }

func (s *site) ctl(id string) *Controller {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[id]
}

// leader returns the controller that decides.
func (s *site) leader() (id string, c *Controller) {
	s.Eventually("a controller decides", func() bool {
		id = s.Leader()
		c = s.ctl(id)
		return c.Leads()
	})
	return id, c
}

// lead has a node lead.
func (s *site) lead(id string) {
	s.t.Helper()
	s.Eventually(id+" leads", func() bool {
		if now := s.Leader(); now != id {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_ = s.Node(now).TransferLeader(ctx, id) // seen below
		}
		return s.Leader() == id && s.ctl(id).Leads()
	})
}

func (s *site) close() {
	s.setHooks(nil, nil, nil)
	for _, id := range []string{"n1", "n2", "n3"} {
		if c := s.ctl(id); c != nil && c.node != nil {
			_ = c.Close()
		}
	}
}

func (s *site) setHooks(
	do func(node string, req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error),
	call func(from, to, method string, next func() ([]byte, error)) ([]byte, error),
	store func(req lockcluster.Request, next func() (lockcluster.Result, error)) (lockcluster.Result, error),
) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.do, s.call, s.store = do, call, store
}

// siteNode is a node whose requests a test may look at and hold up.
type siteNode struct {
	*cluster.Node
	s  *site
	id string
}

func (n siteNode) Do(ctx context.Context, id lockcluster.RequestID, req lockcluster.Request) (lockcluster.Result, error) {
	n.s.mu.Lock()
	hook := n.s.do
	n.s.mu.Unlock()
	next := func() (lockcluster.Result, error) { return n.Node.Do(ctx, id, req) }
	if hook == nil {
		return next()
	}
	return hook(n.id, req, next)
}

// siteStore is a legacy store whose requests a test may look at and hold up.
type siteStore struct {
	backends.Backend
	s *site
}

func (b siteStore) Do(ctx context.Context, f backends.Fence, now time.Time, req lockcluster.Request) (lockcluster.Result, error) {
	b.s.mu.Lock()
	hook := b.s.store
	b.s.mu.Unlock()
	next := func() (lockcluster.Result, error) { return b.Backend.Do(ctx, f, now, req) }
	if hook == nil {
		return next()
	}
	return hook(req, next)
}

func (b siteStore) View(ctx context.Context) (*state.View, error) {
	b.s.views.Add(1)
	return b.Backend.View(ctx)
}

// Unreadable implements [backends.Inspector].
func (b siteStore) Unreadable(ctx context.Context) ([]backends.Bad, error) {
	return b.Backend.(backends.Inspector).Unreadable(ctx)
}

// Identity implements [backends.Identified].
func (b siteStore) Identity(ctx context.Context) (backends.Identity, error) {
	return b.Backend.(backends.Identified).Identity(ctx)
}

// Adopt implements [backends.Identified].
func (b siteStore) Adopt(ctx context.Context, f backends.Fence, c backends.Claim) error {
	return b.Backend.(backends.Identified).Adopt(ctx, f, c)
}

// siteCalls are one controller's calls to the others; an address is a node id.
type siteCalls struct {
	s    *site
	from string
}

func (c siteCalls) Call(ctx context.Context, to, method string, body []byte) ([]byte, error) {
	next := func() ([]byte, error) {
		if _, up := c.s.Get(to); !up {
			return nil, errors.New("connection refused")
		}
		return c.s.ctl(to).ServeCall(context.WithoutCancel(ctx), method, body) // a late message is no shorter for that
	}
	c.s.mu.Lock()
	hook := c.s.call
	c.s.mu.Unlock()
	if hook == nil {
		return next()
	}
	return hook(c.from, to, method, next)
}

// isChange reports whether a request of the controller is to change the
// migration state so that ok holds.
func isChange(req lockcluster.Request, ok func(m *lockcluster.Migration) bool) bool {
	r, is := req.(lockcluster.SetMigration)
	return is && ok(&r.Next)
}

func acquire(repo string, pull int) lockcluster.Acquire {
	return lockcluster.Acquire{
		Key:   lockcluster.Key{Namespace: lockcluster.DefaultNamespace, Repo: repo, Path: ".", Workspace: "default"},
		Owner: lockcluster.Owner{Repo: repo, Pull: pull}, User: "u",
	}
}

func release(repo string, pull int) lockcluster.Release {
	a := acquire(repo, pull)
	return lockcluster.Release{Namespace: a.Key.Namespace, Text: a.Key.Text(), Guard: lockcluster.Guard{Owner: &a.Owner}}
}

// try asks a node, and returns the status or the error.
func (s *site) try(node string, req lockcluster.Request) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	res, err := s.ctl(node).Do(ctx, lockcluster.RequestID{}, req)
	if err != nil {
		return "error: " + err.Error()
	}
	return res.Status.String()
}

func (s *site) want(node string, req lockcluster.Request, want lockcluster.Status) {
	s.t.Helper()
	if got := s.try(node, req); got != want.String() {
		s.t.Fatalf("%T through %s: %s, want %s", req, node, got, want)
	}
}

// holder says who holds the lock that req asks for, by the system that decides.
func (s *site) holder(node string, req lockcluster.Acquire) (holder string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := s.ctl(node).Read(ctx, func(r state.Reader, _ uint64) {
		holder = ""
		if l := state.GetLock(r, req.Key.Namespace, req.Key.Text()); l != nil {
			holder = fmt.Sprintf("#%d", l.Owner.Pull)
		}
	})
	if err != nil {
		s.t.Fatalf("read: %v", err)
	}
	return holder
}

func (s *site) switchTo(system lockcluster.System) (lockcluster.SwitchResult, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return s.ctl(s.Leader()).Switch(ctx, lockcluster.SwitchRequest{To: system.String(), Timeout: 10 * time.Second})
}

func (s *site) mustSwitch(system lockcluster.System) {
	s.t.Helper()
	s.leader()
	if _, err := s.switchTo(system); err != nil {
		s.t.Fatalf("switch to %s: %v", system, err)
	}
}

func (s *site) mustMode(mode lockcluster.Mode, change func(*lockcluster.ModeRequest)) {
	s.t.Helper()
	_, c := s.leader()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req := lockcluster.ModeRequest{Mode: mode.String()}
	if change != nil {
		change(&req)
	}
	if _, err := c.SetMode(ctx, req); err != nil {
		s.t.Fatalf("mode %s: %v", mode, err)
	}
}

func (s *site) inMode(mode lockcluster.Mode) {
	s.t.Helper()
	s.Eventually("mode "+mode.String(), func() bool {
		m := s.ctl(s.Leader()).Migration()
		return m.Mode == mode && !m.GateClosed
	})
	s.leader()
}
