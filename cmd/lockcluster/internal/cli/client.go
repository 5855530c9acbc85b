package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/cmd/lockcluster/internal/dev"
	"github.com/lockcluster/lockcluster/rpc"
)

const (
	clientTimeout = 10 * time.Second
	// refusedTimeout is how long to wait for a cluster of which no node runs: one
	// that is just being started is found.
	refusedTimeout = 3 * time.Second
)

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
	fromEnv   bool // the endpoints
	// long marks a command that may take its time, a listing for example: the
	// timeout is then for the time without any progress.
	long bool
}

func (a *app) addClientFlags(fs *pflag.FlagSet, f *clientFlags) {
	fs.StringSliceVar(&f.endpoints, "endpoints", dev.GRPCAddrs(devBasePort, devNodes),
		"gRPC `addresses` of nodes; one is enough ("+endpointsEnv+")")
	fs.DurationVar(&f.timeout, "timeout", clientTimeout, "how long to wait for an answer ("+timeoutEnv+")")
	f.set = fs.Changed
}

// complete takes what no flag says from the environment.
func (f *clientFlags) complete(environ []string) error {
	for _, entry := range environ {
		name, text, _ := strings.Cut(entry, "=")
		switch {
		case text == "":
		case name == endpointsEnv && !f.set("endpoints"):
			f.fromEnv = true
			f.endpoints = strings.Split(text, ",")
		case name == timeoutEnv && !f.set("timeout"):
			d, err := time.ParseDuration(text)
			if err != nil {
				return usagef("%s=%q: want a duration, for example 10s", timeoutEnv, text)
			}
			f.timeout = d
		}
	}
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
	c, err := rpc.Dial(ctx, rpc.ClientConfig{Endpoints: f.endpoints, Timeout: f.timeout, RefusedTimeout: refusedTimeout})
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
			return f.explain(ctx, c, run(ctx, c, words))
		}
		limited, cancel := context.WithTimeout(ctx, f.timeout)
		defer cancel()
		return f.explain(ctx, c, run(limited, c, words))
	}
}

// needLock returns the lock with that key text; that there is none is an error.
func (c *client) needLock(ctx context.Context, namespace, text string) (*lockcluster.Lock, error) {
	if err := lockcluster.ValidateNamespace(namespace); err != nil {
		return nil, usagef("--namespace: %w", err)
	}
	if text == "" {
		return nil, badKey(text)
	}
	lock, _, err := c.GetLock(ctx, namespace, text)
	if err != nil {
		return nil, err
	}
	switch {
	case lock != nil:
		return lock, nil
	case strings.Count(text, "/") < 2:
		return nil, badKey(text)
	case strings.HasPrefix(text, redisPrefix):
		return nil, fmt.Errorf("%s is not locked; a KEY has no %q before it, that is for Redis", visible(text), redisPrefix)
	}
	return nil, fmt.Errorf("%s is not locked", visible(text))
}

// diagnoseTimeout is how long to ask why a call was not answered.
const diagnoseTimeout = 2 * time.Second

// explain says in words what it means that a call was not answered.
func (f *clientFlags) explain(ctx context.Context, c *client, err error) error {
	var unanswered *rpc.UnansweredError
	if !errors.As(err, &unanswered) || ctx.Err() != nil {
		return err
	}
	text := ""
	switch {
	case !unanswered.Reached:
		text = "no node answers at " + strings.Join(f.endpoints, ", ")
		if !f.set("endpoints") && !f.fromEnv {
			text += " (the addresses of lockcluster dev, as none were given)"
		}
		text += ": is the cluster running? Start one with 'lockcluster dev', or name the gRPC addresses of its nodes with --endpoints (" + endpointsEnv + ")"
	case leaderless(ctx, c):
		text = "the nodes answer, but there is no leader: too few voters reach each other; see 'lockcluster cluster status'"
	default:
		return err
	}
	if errors.Is(err, lockcluster.ErrOutcomeUnknown) {
		text += "; whether the change was made is not known: look before you repeat it"
	}
	return &explainedError{text, err}
}

// leaderless asks any node whether it knows of no leader.
func leaderless(ctx context.Context, c *client) bool {
	ctx, cancel := context.WithTimeout(ctx, diagnoseTimeout)
	defer cancel()
	s, err := c.Status(ctx, true)
	return err == nil && s.Leader == ""
}

// explainedError has a text for a person instead of its cause's.
type explainedError struct {
	text string
	err  error
}

func (e *explainedError) Error() string { return e.text }
func (e *explainedError) Unwrap() error { return e.err }
