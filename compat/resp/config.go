package resp

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// System is the node as the door needs it. All methods may be called from many
// goroutines, answer on any node, and return when ctx ends.
type System interface {
	// Do has a request decided. A zero id lets the node choose one.
	Do(ctx context.Context, id lockcluster.RequestID, req lockcluster.Request) (lockcluster.Result, error)
	// Read calls f with a state that holds every request answered before. f is
	// short and does not block.
	Read(ctx context.Context, f func(r state.Reader, index uint64)) error
	// View returns such a state to keep.
	View(ctx context.Context) (*state.View, error)
}

// Node is a node of the cluster as CLUSTER SLOTS announces it.
type Node struct {
	ID     string
	Addr   string // host:port of its Redis door, as clients dial it
	Leader bool
	Self   bool // the node that is asked
	Live   bool // false keeps it out of CLUSTER SLOTS
}

// Config is what the door needs to know. Zero values take the defaults written
// beside them.
type Config struct {
	Addr string      // host:port to listen on; port 0 picks one
	TLS  *tls.Config // nil: plain TCP

	Username string // of AUTH; default "default"
	Password string // empty: no authentication

	// ExactRepoMatch answers SCAN MATCH pr/<repository>* of go-redis with that
	// repository's locks only. nil means true.
	ExactRepoMatch *bool
	// RedactStoredCredentials removes the user-info of URLs from every value
	// before it is stored. Values then do not come back byte for byte.
	RedactStoredCredentials bool

	ValueSizeMax int           // bytes of one argument; 8 MiB
	ArgsMax      int           // arguments of one command; 1,000
	ConnsMax     int           // connections at a time; 10,000
	BufferMax    int64         // bytes of large commands in flight, all connections; 512 MiB
	ScriptLimit  time.Duration // run time of a script; 5 s
	ScriptMemory int64         // bytes by which scripts may let the heap grow; 256 MiB
	HoldLimit    time.Duration // how long a request waits for a leader; 2.5 s
	WriteLimit   time.Duration // how long a client may take to read its answers; 60 s

	// Intents is the memory of who is about to take which lock; it belongs on
	// the leader. nil: this node's own, which is right for a single node.
	Intents Intents
	// Nodes lists the cluster. nil: this node alone.
	Nodes func() []Node

	Logger     *slog.Logger          // nil: discards
	Registerer prometheus.Registerer // nil: no metrics
	Version    string                // shown by INFO
}

func (c Config) withDefaults() Config {
	c.Username = cmp.Or(c.Username, "default")
	c.ValueSizeMax = cmp.Or(c.ValueSizeMax, lockcluster.ValueSizeMax)
	c.ArgsMax = cmp.Or(c.ArgsMax, 1000)
	c.ConnsMax = cmp.Or(c.ConnsMax, 10_000)
	c.BufferMax = cmp.Or(c.BufferMax, 512<<20)
	c.ScriptLimit = cmp.Or(c.ScriptLimit, 5*time.Second)
	c.ScriptMemory = cmp.Or(c.ScriptMemory, 256<<20)
	c.HoldLimit = cmp.Or(c.HoldLimit, 2500*time.Millisecond)
	c.WriteLimit = cmp.Or(c.WriteLimit, time.Minute)
	if c.ExactRepoMatch == nil {
		yes := true
		c.ExactRepoMatch = &yes
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Intents == nil {
		c.Intents = NewIntentTable(nil, 0)
	}
	return c
}

// Validate reports the first thing in c that cannot work, and what to change.
// It applies the defaults before it looks.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case c.Addr == "":
		return fmt.Errorf("redis address is not set: give --resp-addr host:port")
	case c.ValueSizeMax < 1<<10 || c.ValueSizeMax > lockcluster.ValueSizeMax:
		return fmt.Errorf("redis value limit %d: use 1 KiB to 8 MiB", c.ValueSizeMax)
	case c.ArgsMax < 16 || c.ArgsMax > 1<<20:
		return fmt.Errorf("redis argument limit %d: use 16 to 1048576", c.ArgsMax)
	case c.ConnsMax < 1 || c.BufferMax < 1<<20 || c.ScriptMemory < 1<<20:
		return fmt.Errorf("redis limits: connections must be above 0, buffer and script memory at least 1 MiB")
	case c.ScriptLimit < 0 || c.HoldLimit < 0 || c.WriteLimit < 0:
		return fmt.Errorf("redis time limits must not be negative")
	}
	return nil
}
