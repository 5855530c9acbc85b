package system

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lockcluster/lockcluster/bench/internal/proc"
	"github.com/lockcluster/lockcluster/rpc"
)

// Dial returns a client of the cluster that knows all nodes.
func (c *Cluster) Dial(cfg rpc.ClientConfig) (*rpc.Client, error) {
	for _, n := range c.nodes {
		cfg.Endpoints = append(cfg.Endpoints, n.grpc)
	}
	return rpc.Dial(context.Background(), cfg) // it does not wait
}

// Status is what the cluster says about itself.
func (c *Cluster) Status(ctx context.Context) (rpc.ClusterStatus, error) {
	if c.admin == nil {
		admin, err := c.Dial(rpc.ClientConfig{Connections: 1})
		if err != nil {
			return rpc.ClusterStatus{}, err
		}
		c.admin = admin
	}
	return c.admin.Status(ctx, false)
}

// Leader returns the number of the node that leads, from 0.
func (c *Cluster) Leader(ctx context.Context) (int, error) {
	status, err := c.Status(ctx)
	if err != nil {
		return 0, err
	}
	for i, n := range c.nodes {
		if n.id == status.Leader {
			return i, nil
		}
	}
	return 0, fmt.Errorf("find the leader: the cluster names %q", status.Leader)
}

func (c *Cluster) leaderRESP(ctx context.Context) (string, error) {
	i, err := c.Leader(ctx)
	if err != nil {
		return "", err
	}
	return c.nodes[i].resp, nil
}

// WaitCaughtUp waits until every node answers and has applied all that was
// committed when the wait began.
func (c *Cluster) WaitCaughtUp(ctx context.Context) error {
	var want uint64
	return waitFor(ctx, "lockcluster", func(context.Context) error { return c.Alive() }, func(ctx context.Context) error {
		status, err := c.Status(ctx)
		if err != nil {
			return err
		}
		if want == 0 {
			want = status.CommitIndex
		}
		if status.Leader == "" || len(status.Members) != len(c.nodes) {
			return fmt.Errorf("%d members, leader %q", len(status.Members), status.Leader)
		}
		for _, m := range status.Members {
			if !m.Reachable || m.AppliedIndex < want {
				return fmt.Errorf("%s has applied %d of %d: %s", m.ID, m.AppliedIndex, want, m.Problem)
			}
		}
		return nil
	})
}

// KillNode kills node i, from 0, without notice, and waits until it is gone.
func (c *Cluster) KillNode(i int) error {
	p := c.nodes[i].proc
	c.nodes[i].proc = nil
	return p.Kill()
}

// Run calls the command line against this cluster.
func (c *Cluster) Run(ctx context.Context, args ...string) error {
	var endpoints []string
	for _, n := range c.nodes {
		endpoints = append(endpoints, n.grpc)
	}
	args = append(args, "--endpoints", strings.Join(endpoints, ","))
	_, err := exec.CommandContext(ctx, c.cfg.Binary, args...).Output()
	if err == nil {
		return nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return fmt.Errorf("lockcluster %s: %w", strings.Join(args, " "), err)
}

// NodeStatus asks node i about itself.
func (c *Cluster) NodeStatus(ctx context.Context, i int) (applied uint64, err error) {
	client, err := rpc.Dial(ctx, rpc.ClientConfig{Endpoints: []string{c.nodes[i].grpc}, Connections: 1})
	if err != nil {
		return 0, err
	}
	defer client.Close()
	status, err := client.Status(ctx, true)
	if err != nil {
		return 0, err
	}
	for _, m := range status.Members {
		if m.ID == c.nodes[i].id {
			return m.AppliedIndex, nil
		}
	}
	return 0, fmt.Errorf("%s does not know itself", c.nodes[i].id)
}

// Ready returns nil when node i says that it can serve.
func (c *Cluster) Ready(ctx context.Context, i int) error { return c.nodes[i].ready(ctx) }

// Process returns the process of node i, nil if it was killed.
func (c *Cluster) Process(i int) *proc.Process { return c.nodes[i].proc }

// Size returns the number of nodes.
func (c *Cluster) Size() int { return len(c.nodes) }

// Metrics returns the metrics of node i that have no labels.
func (c *Cluster) Metrics(ctx context.Context, i int) (map[string]float64, error) {
	page, err := httpGet(ctx, "http://"+c.nodes[i].http+"/metrics")
	if err != nil {
		return nil, fmt.Errorf("read the metrics of %s: %w", c.nodes[i].id, err)
	}
	values := map[string]float64{}
	for line := range strings.Lines(page) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(text, 64); err == nil {
			values[name] = v
		}
	}
	return values, nil
}

// Snapshotting reports whether node i is writing a snapshot of its state.
func (c *Cluster) Snapshotting(i int) bool {
	found, _ := filepath.Glob(filepath.Join(c.nodes[i].dir, "data", "*", "snapshots", "*.tmp")) // the pattern is good
	return len(found) > 0
}
