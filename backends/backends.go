package backends

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// Fence orders those who may write to a legacy store: the raft term of the
// leader, then the epoch of the migration state.
type Fence struct {
	Term  uint64
	Epoch uint64
}

// Less reports whether f is older than g.
func (f Fence) Less(g Fence) bool {
	return f.Term < g.Term || f.Term == g.Term && f.Epoch < g.Epoch
}

// String returns "term.epoch".
func (f Fence) String() string { return fmt.Sprintf("%d.%d", f.Term, f.Epoch) }

// Backend is one lock system over one namespace. All methods are safe for
// concurrent use.
type Backend interface {
	// Kind is the name that [Open] knows it by.
	Kind() string
	// Do decides one request, from Acquire to Txn, Import, Mirror or Routed, and
	// makes it durable before it answers. now is the leader's wall clock.
	// A fence above all before it raises the store's.
	//
	// Errors: [ErrFenced] and [lockcluster.ErrOverloaded], nothing was done;
	// [ErrUnavailable], which says whether anything was.
	Do(ctx context.Context, f Fence, now time.Time, req lockcluster.Request) (lockcluster.Result, error)
	// Read calls f with the present locks, command locks and documents. When
	// others write to the store, each read that f makes is of another moment.
	// What f has seen counts only if Read returns nil.
	Read(ctx context.Context, f func(r state.Reader)) error
	// View returns an unchanging picture of everything.
	View(ctx context.Context) (*state.View, error)
	// Raise has the store refuse every lower fence from now on. Whatever was
	// written under a lower one is part of all later answers.
	Raise(ctx context.Context, f Fence) error
	// Check reports whether the backend could serve now.
	Check(ctx context.Context) error
	// Close ends what waits with [lockcluster.ErrClosed].
	Close() error
}

// Inspector is what every backend of this package is, too.
type Inspector interface {
	// Unreadable lists the stored records that are left alone: they cannot be
	// read, or contradict others. A request that needs one is refused.
	Unreadable(ctx context.Context) ([]Bad, error)
}

// Bad is a stored record that is left alone. It never holds the value.
type Bad struct {
	Bucket string `json:"bucket"` // runLocks, pulls or globalLocks, or the kind of key in Redis
	Key    string `json:"key"`    // as it is stored
	Reason string `json:"reason"`
}

// The errors of this package, beside those of the root package.
var (
	// ErrFenced means that the store knows a higher fence; nothing was done.
	ErrFenced = errors.New("another leader has taken over the legacy store")
	// ErrUnavailable means that the store did not do it. It wraps
	// [lockcluster.ErrOutcomeUnknown] when it may have done it all the same.
	ErrUnavailable = errors.New("legacy store unavailable")
	// ErrUnknownBackend means that there is no backend of that name.
	ErrUnknownBackend = errors.New("unknown backend")
	// ErrInUse means that another process has the file open.
	ErrInUse = errors.New("the file is in use by another process")
)

// unavailable makes an [ErrUnavailable] after which nothing was done.
func unavailable(err error) error {
	return fmt.Errorf("%w, nothing was changed: %w", ErrUnavailable, err)
}

// unknown makes an [ErrUnavailable] whose outcome is not known.
func unknown(err error) error {
	return fmt.Errorf("%w: %w: %w", ErrUnavailable, lockcluster.ErrOutcomeUnknown, err)
}

// Options says which backend to open, and how.
type Options struct {
	// Backend is its name, see [Names].
	Backend string
	// Namespace is what it covers. Default: that of the URL's Redis database,
	// or [lockcluster.DefaultNamespace].
	Namespace string
	// Path is the atlantis.db (boltdb).
	Path string
	// Create makes the file, with Atlantis's buckets, if it is not there.
	Create bool
	// URL is the address (redis):
	//
	//	redis://[user:password@]host:port[/db]              rediss:// for TLS
	//	redis+cluster://[user:password@]host:port,host:port rediss+cluster://
	//	redis+sentinel://[user:password@]host:port,.../master-name[/db]
	//
	// redis://host:port?cluster=true&addr=host:port is a cluster, too.
	URL string
	// TLS replaces the standard settings of TLS (redis).
	TLS *tls.Config
	// Timeout bounds one exchange with the store; default 5 s.
	Timeout time.Duration
}

const timeoutDefault = 5 * time.Second

var openers = map[string]func(context.Context, Options) (Backend, error){
	kindBolt:  openBolt,
	kindRedis: openRedis,
}

// Names returns the names of the backends, in order.
func Names() []string {
	names := make([]string, 0, len(openers))
	for name := range openers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Open opens the backend that o names. A boltdb is read as a whole, and is
// locked until it is closed; a redis need not be reachable yet.
//
// Errors: [ErrUnknownBackend], [ErrInUse], [lockcluster.ErrInvalid].
func Open(ctx context.Context, o Options) (Backend, error) {
	open := openers[o.Backend]
	if open == nil {
		return nil, fmt.Errorf("%w %q: the known ones are %s", ErrUnknownBackend, o.Backend, strings.Join(Names(), " and "))
	}
	if o.Namespace != "" {
		if err := lockcluster.ValidateNamespace(o.Namespace); err != nil {
			return nil, err
		}
	}
	if o.Timeout == 0 {
		o.Timeout = timeoutDefault
	}
	return open(ctx, o)
}
