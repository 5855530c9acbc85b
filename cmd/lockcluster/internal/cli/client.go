package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/cmd/lockcluster/internal/dev"
	"github.com/lockcluster/lockcluster/rpc"
)

const clientTimeout = 10 * time.Second

// Environment variables of the client commands; a flag wins over them.
const (
	endpointsEnv = "LOCKCLUSTER_ENDPOINTS"
	timeoutEnv   = "LOCKCLUSTER_TIMEOUT"
)

// clientFlags say where the cluster is and how long to wait for it.
type clientFlags struct {
	endpoints []string
	timeout   time.Duration
	set       func(name string) bool
	// long marks a command whose answer may take its time, a listing for
	// example: only a timeout that the user gives ends it. A node that says
	// nothing is given up on in any case.
	long bool
}

func (a *app) addClientFlags(fs *pflag.FlagSet, f *clientFlags) {
	fs.StringSliceVar(&f.endpoints, "endpoints", dev.GRPCAddrs(devBasePort, devNodes),
		"gRPC `addresses` of nodes; one is enough ("+endpointsEnv+")")
	fs.DurationVar(&f.timeout, "timeout", clientTimeout, "how long to wait for the cluster ("+timeoutEnv+")")
	f.set = fs.Changed
}

// complete takes what no flag says from the environment.
func (f *clientFlags) complete(environ []string) error {
	for _, entry := range environ {
		name, text, _ := strings.Cut(entry, "=")
		switch {
		case text == "":
		case name == endpointsEnv && !f.set("endpoints"):
			f.endpoints = strings.Split(text, ",")
		case name == timeoutEnv && !f.set("timeout"):
			d, err := time.ParseDuration(text)
			if err != nil {
				return usagef("%s=%q: want a duration, for example 10s", timeoutEnv, text)
			}
			f.timeout, f.long = d, false
		}
	}
	f.long = f.long && !f.set("timeout")
	if f.timeout <= 0 {
		return usagef("--timeout %s: give a time above 0", f.timeout)
	}
	var endpoints []string
	for _, e := range f.endpoints {
		if e = strings.TrimSpace(e); e != "" {
			endpoints = append(endpoints, e)
		}
	}
	f.endpoints = endpoints
	return nil
}

// client is a client of the cluster, with what several commands need.
type client struct{ *rpc.Client }

func (a *app) dial(ctx context.Context, f *clientFlags) (*client, error) {
	if err := f.complete(a.environ); err != nil {
		return nil, err
	}
	c, err := rpc.Dial(ctx, rpc.ClientConfig{Endpoints: f.endpoints, Timeout: f.timeout})
	if err != nil {
		return nil, usagef("--endpoints: %w", err)
	}
	return &client{c}, nil
}

// withClient makes a command's function of one that needs a client. The
// context that it gets ends with --timeout and with Ctrl-C.
func (a *app) withClient(f *clientFlags, run func(ctx context.Context, c *client, words []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, words []string) error {
		ctx, stop := interruptible(cmd.Context())
		defer stop()
		c, err := a.dial(ctx, f)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		if f.long {
			return run(ctx, c, words)
		}
		ctx, cancel := context.WithTimeout(ctx, f.timeout)
		defer cancel()
		return run(ctx, c, words)
	}
}

// needLock returns the lock with that key text; that there is none is an error.
func (c *client) needLock(ctx context.Context, namespace, text string) (*lockcluster.Lock, error) {
	if err := lockcluster.ValidateNamespace(namespace); err != nil {
		return nil, usagef("--namespace: %w", err)
	}
	lock, _, err := c.GetLock(ctx, namespace, text)
	if err != nil {
		return nil, err
	}
	if lock == nil {
		return nil, fmt.Errorf("%s is not locked", visible(text))
	}
	return lock, nil
}
