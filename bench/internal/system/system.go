package system

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster/bench/internal/proc"
)

// Deployment is something that runs and holds locks.
type Deployment interface {
	// Name is short and unique, for messages and directories.
	Name() string
	// Check tells, before anything is started, whether the deployment can be:
	// the error says what is missing and how to get it.
	Check() error
	// Start brings it up with its data under dir and returns when it serves.
	// After an error, Stop still has to be called.
	Start(ctx context.Context, dir string) error
	// Describe returns the version and the settings that matter, once started.
	Describe() string
	// Load stores locks by the quickest way there is; it is not measured.
	Load(ctx context.Context, locks []*Lock) error
	// Alive returns an error when a part of it has ended by itself.
	Alive() error
	// Processes returns what it consists of besides this process.
	Processes() []*proc.Process
	// Stop ends it. It may be called more than once and without Start.
	Stop() error
}

// System is one way to use a deployment.
type System interface {
	// Name is what the user selects it by and what the tables show.
	Name() string
	// Deployment is what it runs on; systems may share one.
	Deployment() Deployment
	// Describe says how a lock is taken, released and read.
	Describe() string
	// Open returns n clients, each for one goroutine, and a function that
	// closes them and the connections that they share.
	Open(ctx context.Context, n int) (clients []Client, closeAll func() error, err error)
}

// Client uses a system on one goroutine.
type Client interface {
	// TryLock takes the lock if it is free. If not, it returns the holder's
	// bytes.
	TryLock(ctx context.Context, l *Lock) (acquired bool, holder []byte, err error)
	// Unlock frees a lock that this client took; released is false when it was
	// not there or not this client's any more.
	Unlock(ctx context.Context, l *Lock) (released bool, err error)
	// Get returns the stored bytes, nil if the lock is free.
	Get(ctx context.Context, l *Lock) ([]byte, error)
	// List reads all locks of a repository and returns how many there were and
	// how many bytes of values came with them.
	List(ctx context.Context, repo string) (Listing, error)
}

// Listing is what a List has read.
type Listing struct {
	Locks int
	Bytes int
}

// clientsPerConn is how many clients share one gRPC connection, for etcd and
// for us alike.
const clientsPerConn = 16

// startTimeout bounds how long a deployment may take until it serves.
const startTimeout = 60 * time.Second

// needProgram returns the path of a program, or an error that says how to
// install it.
func needProgram(name, install string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not installed (looked in PATH): %s", name, install)
	}
	return path, nil
}

// version returns the first line of what a program says about its version.
func version(path string, args ...string) string {
	out, err := exec.Command(path, args...).Output()
	if err != nil {
		return "version unknown: " + err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// waitFor tries ready until it succeeds, alive fails or the time is up.
func waitFor(ctx context.Context, what string, alive, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var last error
	for {
		if err := alive(ctx); err != nil {
			return err
		}
		try, cancelTry := context.WithTimeout(ctx, 2*time.Second)
		last = ready(try)
		cancelTry()
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s serves: %w (last try: %v)", what, ctx.Err(), last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// inParallel splits locks over workers goroutines and stops at the first
// error.
func inParallel(ctx context.Context, locks []*Lock, workers, batch int, store func(context.Context, int, []*Lock) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan []*Lock)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for part := range next {
				if err := store(ctx, w, part); err != nil {
					cancel(err)
				}
			}
		})
	}
	for len(locks) > 0 && ctx.Err() == nil {
		n := min(batch, len(locks))
		next <- locks[:n]
		locks = locks[n:]
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}
