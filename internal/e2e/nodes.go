package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// Node is one node process and where it listens.
type Node struct {
	ID                     string
	Raft, GRPC, HTTP, RESP string
	dir, log               string
	bin                    string
	args, env              []string

	mu  sync.Mutex
	cmd *exec.Cmd
	end chan struct{} // closed when cmd has ended
}

// Nodes is a cluster of node processes on this machine.
type Nodes struct {
	All []*Node
	bin string
}

// binaries are the commands that were built, by their build tags.
var binaries struct {
	mu    sync.Mutex // guards what follows; held while one is built
	dir   string
	built map[string]string
}

// build builds the command with tags once per test process.
func build(tags string) (string, error) {
	binaries.mu.Lock()
	defer binaries.mu.Unlock()
	if bin, ok := binaries.built[tags]; ok {
		return bin, nil
	}
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/lockcluster/lockcluster").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	if binaries.dir == "" {
		if binaries.dir, err = os.MkdirTemp("", "lockcluster-e2e-"); err != nil {
			return "", err
		}
		binaries.built = map[string]string{}
	}
	bin := filepath.Join(binaries.dir, strings.NewReplacer(",", "-").Replace(tags), "lockcluster")
	build := exec.Command("go", "build", "-tags", tags, "-o", bin, "./cmd/lockcluster")
	build.Dir = strings.TrimSpace(string(root))
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build lockcluster: %w\n%s", err, out)
	}
	binaries.built[tags] = bin
	return bin, nil
}

// RemoveBinary removes what [Binary] built; for TestMain.
func RemoveBinary() {
	binaries.mu.Lock()
	defer binaries.mu.Unlock()
	if binaries.dir != "" {
		_ = os.RemoveAll(binaries.dir)
		binaries.dir, binaries.built = "", nil
	}
}

// plainTags are the build tags of the command that users have.
const plainTags = "hashicorpmetrics"

// Binary builds the command once per test process and returns its path.
func Binary(t testing.TB) string { return binaryWith(t, plainTags) }

func binaryWith(t testing.TB, tags string) string {
	t.Helper()
	bin, err := build(tags)
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// Start starts n nodes with extra arguments for each and waits until they
// serve. They are stopped when the test ends; their logs are shown if it failed.
func Start(t testing.TB, n int, extra ...string) *Nodes {
	t.Helper()
	return Setup{Nodes: n, Args: func(string) []string { return extra }}.Start(t)
}

// Setup is a cluster to be started.
type Setup struct {
	Nodes int
	Tags  string                   // build tags; empty: those of the command that users have
	Args  func(id string) []string // more arguments for a node; nil: none
	Env   []string                 // more environment for each node
}

// Start is the function of that name for a setup.
func (s Setup) Start(t testing.TB) *Nodes {
	t.Helper()
	c := &Nodes{bin: binaryWith(t, cmp.Or(s.Tags, plainTags))}
	dir := t.TempDir()
	var addrs []string
	for _, port := range testutil.FreePorts(t, 4*s.Nodes) {
		addrs = append(addrs, fmt.Sprintf("127.0.0.1:%d", port))
	}
	var initial []string
	for i := range s.Nodes {
		id := fmt.Sprintf("n%d", i+1)
		node := &Node{
			ID: id, Raft: addrs[4*i], GRPC: addrs[4*i+1], HTTP: addrs[4*i+2], RESP: addrs[4*i+3],
			dir: filepath.Join(dir, id), log: filepath.Join(dir, id+".log"), bin: c.bin, env: s.Env,
		}
		c.All = append(c.All, node)
		initial = append(initial, id+"="+node.Raft)
	}
	t.Cleanup(func() { c.stop(t) })
	for _, node := range c.All {
		node.args = []string{
			"server", "--node-id", node.ID, "--data-dir", node.dir, "--raft-addr", node.Raft, "--grpc-addr", node.GRPC,
			"--http-addr", node.HTTP, "--resp-addr", node.RESP, "--initial-cluster", strings.Join(initial, ","),
		}
		if s.Args != nil {
			node.args = append(node.args, s.Args(node.ID)...)
		}
		node.Start(t)
	}
	c.WaitServing(t)
	return c
}

func (c *Nodes) stop(t testing.TB) {
	for _, node := range c.All {
		node.Kill()
		if t.Failed() {
			b, _ := os.ReadFile(node.log)
			t.Logf("log of %s (end):\n%s", node.ID, b[max(0, len(b)-6000):])
		}
	}
}

// GRPC returns the gRPC addresses of all nodes.
func (c *Nodes) GRPC() []string {
	var addrs []string
	for _, n := range c.All {
		addrs = append(addrs, n.GRPC)
	}
	return addrs
}

// Node returns the node of that id.
func (c *Nodes) Node(t testing.TB, id string) *Node {
	t.Helper()
	for _, n := range c.All {
		if n.ID == id {
			return n
		}
	}
	t.Fatalf("no node %q", id)
	return nil
}

// Status is the part of `cluster status -o json` that tests need.
type Status struct {
	Leader  string `json:"leader"`
	Term    uint64 `json:"term"`
	Mode    string `json:"mode"`
	Active  string `json:"active_system"`
	Epoch   uint64 `json:"epoch"`
	Members []struct {
		ID           string `json:"id"`
		Role         string `json:"role"`
		Reachable    bool   `json:"reachable"`
		AppliedIndex uint64 `json:"applied_index"`
		StateHash    string `json:"state_hash"`
	} `json:"members"`
}

// Run runs the command line against the cluster and returns what it prints.
func (c *Nodes) Run(ctx context.Context, args ...string) ([]byte, error) {
	return c.runAt(ctx, c.GRPC(), args...)
}

// runAt is Run with only some nodes to ask.
func (c *Nodes) runAt(ctx context.Context, endpoints []string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.bin, args...)
	cmd.Env = append(testutil.Environ(), "LOCKCLUSTER_ENDPOINTS="+strings.Join(endpoints, ","))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("lockcluster %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

// Status asks the cluster for its status.
func (c *Nodes) Status(ctx context.Context) (Status, error) { return c.statusAt(ctx, c.All...) }

// statusAt asks some of the nodes for the status.
func (c *Nodes) statusAt(ctx context.Context, nodes ...*Node) (Status, error) {
	var s Status
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var endpoints []string
	for _, n := range nodes {
		endpoints = append(endpoints, n.GRPC)
	}
	out, err := c.runAt(ctx, endpoints, "cluster", "status", "-o", "json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}

// Leader returns the leader, waiting until there is one.
func (c *Nodes) Leader(t testing.TB) *Node {
	t.Helper()
	var id string
	testutil.WaitFor(t, time.Minute, func() error {
		s, err := c.Status(t.Context())
		if err == nil && s.Leader == "" {
			err = fmt.Errorf("no leader")
		}
		id = s.Leader
		return err
	})
	return c.Node(t, id)
}

// WaitServing waits until every node is reachable and there is a leader.
func (c *Nodes) WaitServing(t testing.TB) {
	t.Helper()
	testutil.WaitFor(t, time.Minute, func() error {
		s, err := c.Status(t.Context())
		if err != nil {
			return err
		}
		if s.Leader == "" || len(s.Members) != len(c.All) {
			return fmt.Errorf("leader %q, %d members", s.Leader, len(s.Members))
		}
		for _, m := range s.Members {
			if !m.Reachable {
				return fmt.Errorf("%s is not reachable", m.ID)
			}
		}
		return nil
	})
}

// Start starts the node's process; it must not run.
func (n *Node) Start(t testing.TB) {
	t.Helper()
	out, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(n.bin, n.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(testutil.Environ(), n.env...), out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(end)
	}()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cmd, n.end = cmd, end
}

// Signal sends sig to the node's process.
func (n *Node) Signal(sig os.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		_ = n.cmd.Process.Signal(sig)
	}
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (n *Node) Kill() {
	n.Signal(syscall.SIGKILL)
	n.mu.Lock()
	end := n.end
	n.mu.Unlock()
	if end != nil {
		<-end
	}
}
