package rpc_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// system is a small replicated system: the real lock rules over the real
// store, and one of its nodes leads. It has no log: a node proposes by deciding.
type system struct {
	store *state.Mem

	mu      sync.Mutex // guards what follows
	index   uint64
	leader  int // -1: none
	nodes   []*node
	forward bool // nodes that do not lead forward, as those of package cluster do
	quiet   bool // commands are not remembered in decided
	hidden  bool // nodes do not say who leads

	advertised string // the address that every node is said to have, if not its own
	clusterID  string // "c" if empty

	epoch   uint64
	members []string
	decided []lockcluster.RequestID // every command that reached the rules
	blocked chan struct{}           // not nil: requests wait for it before they are decided
}

// node is one node of a system, with its real server.
type node struct {
	sys    *system
	at     int
	id     string
	apart  bool // it was removed: it hears of no leader
	server *rpc.Server
	local  *intents
}

// newSystem returns a running system of n nodes; the first leads.
func newSystem(tb testing.TB, n int, change ...func(*rpc.Config, *rpc.System)) *system {
	tb.Helper()
	s := &system{store: state.NewMem(), forward: true, epoch: 1}
	for i := range n {
		nd := &node{sys: s, at: i, id: fmt.Sprintf("n%d", i+1), local: &intents{}}
		s.members = append(s.members, nd.id)
		cfg := rpc.Config{GRPCAddr: "127.0.0.1:0"}
		sys := rpc.System{NodeID: nd.id, Node: nd, Cluster: nd, Backup: nd, Peer: nd, Intents: nd.local}
		for _, f := range change {
			f(&cfg, &sys)
		}
		server, err := rpc.Open(cfg, sys)
		if err != nil {
			tb.Fatal(err)
		}
		nd.server = server
		s.nodes = append(s.nodes, nd)
		tb.Cleanup(func() { nd.close(tb) })
	}
	return s
}

func (n *node) close(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := n.server.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		tb.Errorf("close node %s: %v", n.id, err)
	}
}

func (s *system) endpoints() (addrs []string) {
	for _, n := range s.nodes {
		addrs = append(addrs, n.server.GRPCAddr())
	}
	return addrs
}

func (s *system) setLeader(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leader = i
}

// count returns how often a request reached the rules.
func (s *system) count(id lockcluster.RequestID) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.decided {
		if d.ClientID == id.ClientID && d.Sequence == id.Sequence {
			n++
		}
	}
	return n
}

func (s *system) hideLeader() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hidden = true
}

func (n *node) Leader() (id, addr string) {
	n.sys.mu.Lock()
	defer n.sys.mu.Unlock()
	if n.sys.leader < 0 {
		return "", ""
	}
	if n.sys.hidden {
		return n.sys.nodes[n.sys.leader].id, ""
	}
	l := n.sys.nodes[n.sys.leader]
	return l.id, l.server.GRPCAddr()
}

// leads returns nil if the node may decide.
func (n *node) leads() error {
	id, addr := n.Leader()
	switch {
	case id == "":
		return fmt.Errorf("%w: nobody was elected", lockcluster.ErrNoLeader)
	case id != n.id:
		return &lockcluster.NotLeaderError{LeaderID: id, LeaderAddr: addr}
	}
	return nil
}

func (n *node) Do(ctx context.Context, id lockcluster.RequestID, req lockcluster.Request) (lockcluster.Result, error) {
	if err := state.Validate(req); err != nil {
		return lockcluster.Result{}, err
	}
	if err := n.leads(); err != nil && (!n.sys.forward || !errors.As(err, new(*lockcluster.NotLeaderError))) {
		return lockcluster.Result{}, err
	}
	n.sys.mu.Lock()
	blocked := n.sys.blocked
	n.sys.mu.Unlock()
	if blocked != nil {
		select {
		case <-blocked:
		case <-ctx.Done():
			return lockcluster.Result{}, fmt.Errorf("%w: %w", lockcluster.ErrOutcomeUnknown, ctx.Err())
		}
	}
	return n.sys.decide(id, req), nil
}

func (s *system) decide(id lockcluster.RequestID, req lockcluster.Request) (res lockcluster.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index++
	if !s.quiet {
		s.decided = append(s.decided, id)
	}
	s.store.Update(s.index, 1, func(tx state.Tx) {
		a := state.Begin(tx, state.Env{Index: s.index, Term: 1, Now: time.Unix(1_700_000_000, 0).UTC()})
		res = a.Do(command.Command{ID: id, Request: req})
		a.End()
	})
	return res
}

func (n *node) Read(_ context.Context, f func(r state.Reader, index uint64)) error {
	if _, err := n.View(context.Background()); err != nil {
		return err
	}
	n.sys.store.Read(f)
	return nil
}

func (n *node) View(context.Context) (*state.View, error) {
	if err := n.leads(); err != nil && (!n.sys.forward || !errors.As(err, new(*lockcluster.NotLeaderError))) {
		return nil, err
	}
	return n.sys.store.View(), nil
}

func (n *node) StaleView() (*state.View, time.Duration) { return n.sys.store.View(), 3 * time.Second }

func (n *node) Status(_ context.Context, local bool) (rpc.ClusterStatus, error) {
	id, addr := n.Leader()
	addr = cmp.Or(n.sys.advertised, addr)
	st := rpc.ClusterStatus{
		NodeID: n.id, ClusterID: cmp.Or(n.sys.clusterID, "c"), Leader: id, LeaderGRPCAddr: addr, Term: 7, CommitIndex: 9, Mode: "enhanced",
		ActiveSystem: "enhanced", Epoch: 2, Version: "v1", Locks: 3, CommandLocks: 4, Documents: 5, Members: []rpc.MemberStatus{},
	}
	if n.apart {
		st.Leader, st.LeaderGRPCAddr, st.CommitIndex = "", "", 0
	}
	if local {
		return st, nil
	}
	for _, m := range n.sys.nodes {
		st.Members = append(st.Members, rpc.MemberStatus{
			ID: m.id, Address: "raft:1", Role: "follower", Suffrage: "voter", Reachable: true, AppliedIndex: 8, StateHash: "abc",
			GRPCAddr: cmp.Or(n.sys.advertised, m.server.GRPCAddr()), HTTPAddr: "h:1", RESPAddr: "r:1", Version: "v1", Uptime: time.Minute, Problem: "none",
		})
	}
	return st, nil
}

func (n *node) AddMember(_ context.Context, id, _ string) (uint64, error) {
	if err := n.leads(); err != nil {
		return 0, err
	}
	n.sys.mu.Lock()
	defer n.sys.mu.Unlock()
	if slices.Contains(n.sys.members, id) {
		return 0, fmt.Errorf("%w: node %s is a member already", rpc.ErrRefused, id)
	}
	n.sys.members = append(n.sys.members, id)
	return 11, nil
}

func (n *node) RemoveMember(_ context.Context, id string) (uint64, error) {
	if err := n.leads(); err != nil {
		return 0, err
	}
	n.sys.mu.Lock()
	defer n.sys.mu.Unlock()
	n.sys.members = slices.DeleteFunc(n.sys.members, func(m string) bool { return m == id })
	return 12, nil
}

func (n *node) TransferLeader(_ context.Context, to string) (string, error) {
	if err := n.leads(); err != nil {
		return "", err
	}
	for _, m := range n.sys.nodes {
		if m.id == to {
			n.sys.setLeader(m.at)
			return to, nil
		}
	}
	return "", fmt.Errorf("%w: there is no node %s", rpc.ErrRefused, to)
}

// SnapshotSave writes the records; the codec of package fsm is not what is
// tested here.
// SaveDeciding implements [rpc.Backup]: one system decides here.
func (n *node) SaveDeciding(ctx context.Context, w io.Writer) error { return n.SnapshotSave(ctx, w) }

func (n *node) SnapshotSave(ctx context.Context, w io.Writer) error {
	view, err := n.View(ctx)
	if err != nil {
		return err
	}
	view.Scan("", "", func(key string, value []byte) bool {
		_, err = fmt.Fprintf(w, "%q %q\n", key, value)
		return err == nil
	})
	return err
}

func (n *node) SnapshotRestore(_ context.Context, r io.Reader) (rpc.RestoreInfo, error) {
	if err := n.leads(); err != nil {
		return rpc.RestoreInfo{}, err
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return rpc.RestoreInfo{}, err
	}
	if len(b) == 0 {
		return rpc.RestoreInfo{}, fmt.Errorf("%w: the backup is empty", lockcluster.ErrInvalid)
	}
	n.sys.mu.Lock()
	defer n.sys.mu.Unlock()
	n.sys.epoch++
	return rpc.RestoreInfo{Index: uint64(len(b)), Epoch: n.sys.epoch}, nil
}

// clusterOfTests is the cluster of all nodes.
const clusterOfTests = "here"

func (n *node) ClusterID() string { return clusterOfTests }

func (n *node) ServePropose(_ context.Context, batch [][]byte) ([][]byte, error) {
	if err := n.leads(); err != nil {
		return nil, err
	}
	return batch, nil
}

func (n *node) ServeReadIndex(_ context.Context, from string) (uint64, error) {
	if err := n.leads(); err != nil {
		return 0, err
	}
	return uint64(len(from)), nil
}

func (n *node) ServeCheckpoint(_ context.Context, index uint64) (string, error) {
	return fmt.Sprintf("hash of %d", index), nil
}

func (n *node) ServeNodeStatus(context.Context) ([]byte, error) { return []byte(n.id), nil }

func (n *node) ServeJoin(_ context.Context, request []byte) ([]byte, error) {
	return append([]byte("welcome "), request...), nil
}

// intents remembers who reserved what.
type intents struct {
	mu       sync.Mutex
	reserved []string
}

func (i *intents) Reserve(_ context.Context, namespace, key string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.reserved = append(i.reserved, namespace+" "+key)
	return len(i.reserved) > 1
}

func (i *intents) Settle(string, string) {}

// dial returns a client of the endpoints.
func dial(tb testing.TB, cfg rpc.ClientConfig) *rpc.Client {
	tb.Helper()
	c, err := rpc.Dial(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Errorf("close client: %v", err)
		}
	})
	return c
}

func lockKey(i int) lockcluster.Key {
	return lockcluster.Key{Namespace: "default", Repo: "acme/app", Path: fmt.Sprintf("dir/%05d", i), Workspace: "default"}
}

func pullOwner(pull int) lockcluster.Owner {
	return lockcluster.Owner{Host: "github.com", Repo: "acme/app", Pull: pull}
}
