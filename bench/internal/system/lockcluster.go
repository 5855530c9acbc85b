package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/lockcluster/lockcluster/bench/internal/proc"
	"github.com/lockcluster/lockcluster/rpc"
)

// Ours says how lockcluster itself is run.
type Ours struct {
	Binary   string // path of a built lockcluster; empty: built from Source
	Source   string // the repository
	LogStore string // wal or boltdb
}

// Cluster is three lockcluster nodes.
type Cluster struct {
	cfg   Ours
	dir   string
	nodes []*node
	admin *rpc.Client
}

// node is one lockcluster process with its addresses.
type node struct {
	id, dir                string
	raft, grpc, http, resp string
	proc                   *proc.Process
}

// NewCluster returns the deployment of three lockcluster nodes.
func NewCluster(cfg Ours) *Cluster { return &Cluster{cfg: cfg} }

// newOurs returns the systems on one lockcluster.
func newOurs(cfg Ours) []System {
	c := NewCluster(cfg)
	return []System{
		&grpcSystem{cluster: c},
		&redisSystem{name: "lockcluster-redis", deployment: c, addr: c.leaderRESP, dialect: redisDoor},
		&redisSystem{name: "lockcluster-redis-atlantis", deployment: c, addr: c.leaderRESP, dialect: redisAsAtlantis},
	}
}

// Name implements [Deployment].
func (c *Cluster) Name() string { return "lockcluster" }

// Check implements [Deployment].
func (c *Cluster) Check() error {
	if c.cfg.Binary != "" {
		if _, err := exec.LookPath(c.cfg.Binary); err != nil {
			return fmt.Errorf("the lockcluster binary: %w", err)
		}
		return nil
	}
	if _, err := os.Stat(filepath.Join(c.cfg.Source, "cmd", "lockcluster")); err != nil {
		return fmt.Errorf("no lockcluster to build at %q: name a built one with -lockcluster, or the repository with -repo", c.cfg.Source)
	}
	_, err := needProgram("go", "see https://go.dev/dl, or name a built lockcluster with -lockcluster")
	return err
}

// Describe implements [Deployment].
func (c *Cluster) Describe() string {
	return fmt.Sprintf("%s, 3 nodes, --log-store %s, default timers", version(c.cfg.Binary, "version"), c.cfg.LogStore)
}

// Start implements [Deployment].
func (c *Cluster) Start(ctx context.Context, dir string) error {
	c.dir = dir
	if err := c.build(ctx); err != nil {
		return err
	}
	addrs, err := proc.FreeAddrs(12)
	if err != nil {
		return err
	}
	for i := range 3 {
		id := fmt.Sprintf("n%d", i+1)
		c.nodes = append(c.nodes, &node{id: id, dir: filepath.Join(dir, id), raft: addrs[i], grpc: addrs[3+i], http: addrs[6+i], resp: addrs[9+i]})
	}
	for i := range c.nodes {
		if err := c.StartNode(i); err != nil {
			return err
		}
	}
	return waitFor(ctx, "lockcluster", func(context.Context) error { return c.Alive() }, func(ctx context.Context) error {
		for _, n := range c.nodes {
			if err := n.ready(ctx); err != nil {
				return err
			}
		}
		_, err := c.Leader(ctx)
		return err
	})
}

// build makes the binary unless the user named one.
func (c *Cluster) build(ctx context.Context) error {
	if c.cfg.Binary != "" {
		return nil
	}
	bin := filepath.Join(c.dir, "lockcluster")
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", "hashicorpmetrics", "-o", bin, "./cmd/lockcluster")
	cmd.Dir = c.cfg.Source
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build lockcluster in %s: %w\n%s", c.cfg.Source, err, out)
	}
	c.cfg.Binary = bin
	return nil
}

// StartNode starts the process of node i, from 0, on the data that it has.
func (c *Cluster) StartNode(i int) error {
	var initial []string
	for _, n := range c.nodes {
		initial = append(initial, n.id+"="+n.raft)
	}
	n := c.nodes[i]
	p, err := proc.Start("lockcluster-"+n.id, n.dir, c.cfg.Binary, "server",
		"--node-id", n.id, "--data-dir", filepath.Join(n.dir, "data"),
		"--raft-addr", n.raft, "--grpc-addr", n.grpc, "--http-addr", n.http, "--resp-addr", n.resp,
		"--initial-cluster", strings.Join(initial, ","), "--log-store", c.cfg.LogStore, "--insecure")
	if err != nil {
		return err
	}
	n.proc = p
	return nil
}

// Alive implements [Deployment].
func (c *Cluster) Alive() error { return alive(c.Processes()) }

// Processes implements [Deployment].
func (c *Cluster) Processes() []*proc.Process {
	var ps []*proc.Process
	for _, n := range c.nodes {
		if n.proc != nil {
			ps = append(ps, n.proc)
		}
	}
	return ps
}

// Stop implements [Deployment].
func (c *Cluster) Stop() error {
	if c.admin != nil {
		_ = c.admin.Close() // nothing is under way
		c.admin = nil
	}
	return proc.StopAll(c.Processes(), 20*time.Second)
}

// ready asks a node's readiness page.
func (n *node) ready(ctx context.Context) error {
	body, err := httpGet(ctx, "http://"+n.http+"/readyz")
	if err != nil {
		return fmt.Errorf("%s is not ready: %w %s", n.id, err, body)
	}
	return nil
}

// httpGet returns a page; any status but 200 is an error.
func httpGet(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(body), err
}

// Load implements [Deployment].
func (c *Cluster) Load(ctx context.Context, locks []*Lock) error {
	addr, err := c.leaderRESP(ctx)
	if err != nil {
		return err
	}
	return loadByRedis(ctx, addr, locks, 100)
}
