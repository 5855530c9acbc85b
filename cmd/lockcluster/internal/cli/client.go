package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
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

// diagnoseTimeout is how long to ask why a call was not answered: the command's
// own time may be over.
const diagnoseTimeout = 500 * time.Millisecond

// explain says in words what it means that a call was not answered.
func (f *clientFlags) explain(ctx context.Context, c *client, err error) error {
	var unanswered *rpc.UnansweredError
	if !errors.As(err, &unanswered) || ctx.Err() != nil {
		return err
	}
	text := ""
	switch {
	case !unanswered.Reached && slices.ContainsFunc(f.endpoints, foreign):
		text = "no node answers at " + strings.Join(f.endpoints, ", ") + ": something answers there that is not lockcluster's gRPC; " +
			"the default gRPC port is 7100, of lockcluster dev 7101-7103: name the gRPC addresses of the nodes with --endpoints (" + endpointsEnv + ")"
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

// http2Hello is how a client of gRPC begins: HTTP/2's preface and empty settings.
const http2Hello = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// foreign reports whether something is at an address that speaks no HTTP/2. What
// says nothing may be a node that is stuck.
func foreign(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, diagnoseTimeout)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(diagnoseTimeout)) // never fails on TCP
	if _, err := io.WriteString(conn, http2Hello); err != nil {
		return false
	}
	var frame [4]byte // its length and its type: settings are 4
	_, err = io.ReadFull(conn, frame[:])
	return err == nil && frame[3] != 4
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
