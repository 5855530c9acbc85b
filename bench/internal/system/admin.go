package system

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

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
