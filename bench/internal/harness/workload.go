package harness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/lockcluster/lockcluster/bench/internal/system"
)

// Kind is what the clients of a workload do.
type Kind string

// The kinds of workload.
const (
	Pairs Kind = "pairs" // TryLock then Unlock, each client on locks of its own
	Reads Kind = "read"  // linearizable reads of one lock each
	Lists Kind = "list"  // one client lists ListSize locks
)

// Sizes of the data that reads and lists find.
const (
	ListSize = 10_000
	listRepo = "acme/listed"
)

// Workload is one row group of the result.
type Workload struct {
	Kind    Kind
	Clients int
}

// DefaultWorkloads is what performance.md section 1 asks for.
const DefaultWorkloads = "pairs-1,pairs-16,pairs-64,pairs-256,read-1,read-64,list-1"

// Name is how the user writes the workload.
func (w Workload) Name() string { return fmt.Sprintf("%s-%d", w.Kind, w.Clients) }

// Title says what is measured, for people.
func (w Workload) Title() string {
	clients := fmt.Sprintf("%d clients", w.Clients)
	if w.Clients == 1 {
		clients = "1 client"
	}
	switch w.Kind {
	case Pairs:
		return fmt.Sprintf("TryLock+Unlock pairs, %d-byte value, %s", system.ValueSize, clients)
	case Reads:
		return fmt.Sprintf("linearizable reads of %d bytes, %s", system.ValueSize, clients)
	default:
		return fmt.Sprintf("list of %d locks of %d bytes, %s", ListSize, system.ValueSize, clients)
	}
}

// ParseWorkloads reads a comma-separated list of KIND-CLIENTS.
func ParseWorkloads(text string) ([]Workload, error) {
	var ws []Workload
	for name := range strings.SplitSeq(text, ",") {
		name = strings.TrimSpace(name)
		kind, number, _ := strings.Cut(name, "-")
		n, err := strconv.Atoi(number)
		w := Workload{Kind: Kind(kind), Clients: n}
		if err != nil || n < 1 || n > 4096 || (w.Kind != Pairs && w.Kind != Reads && w.Kind != Lists) {
			return nil, fmt.Errorf("workload %q: want pairs-N, read-N or list-N with N clients from 1 to 4096, for example %s", name, DefaultWorkloads)
		}
		ws = append(ws, w)
	}
	return ws, nil
}

// needsData reports whether the workload wants the listed locks to be there.
func (w Workload) needsData() bool { return w.Kind != Pairs }

// listedLocks are the locks that reads and lists find.
func listedLocks() []*system.Lock {
	locks := make([]*system.Lock, ListSize)
	for i := range locks {
		locks[i] = system.NewLock(listRepo, fmt.Sprintf("env/%05d", i), i+1)
	}
	return locks
}

// worker is what one client does again and again. An operation that failed is
// not counted.
type worker func(ctx context.Context) (timing, error)

// timing is how long an operation took: as a whole, and its TryLock.
type timing struct{ whole, tryLock time.Duration }

// newWorker makes the operation of client number i. salt keeps the locks of
// one cell apart from those of another.
func (w Workload) newWorker(c system.Client, i int, salt string, listed []*system.Lock) worker {
	switch w.Kind {
	case Pairs:
		return pairsWorker(c, i, salt)
	case Reads:
		return readsWorker(c, i, listed)
	default:
		return listsWorker(c)
	}
}

// locksPerWorker is over how many locks a pairs worker rotates.
const locksPerWorker = 16

func pairsWorker(c system.Client, i int, salt string) worker {
	repo := fmt.Sprintf("acme/svc-%s-%03d", salt, i)
	next, made := 0, 0
	var locks [locksPerWorker]*system.Lock
	renew := func(at int) {
		locks[at] = system.NewLock(repo, fmt.Sprintf("env/%05d", made), 7)
		made++
	}
	for at := range locks {
		renew(at)
	}
	return func(ctx context.Context) (timing, error) {
		at := next % locksPerWorker
		next++
		t, err := pair(ctx, c, locks[at])
		if err != nil {
			// Its outcome may be unknown: never use this lock again.
			renew(at)
		}
		return t, err
	}
}

func pair(ctx context.Context, c system.Client, l *system.Lock) (timing, error) {
	start := time.Now()
	acquired, holder, err := c.TryLock(ctx, l)
	t := timing{tryLock: time.Since(start)}
	if err != nil {
		return t, fmt.Errorf("TryLock: %w", err)
	}
	if !acquired {
		return t, fmt.Errorf("TryLock of a free lock was refused (the holder's record has %d bytes)", len(holder))
	}
	released, err := c.Unlock(ctx, l)
	t.whole = time.Since(start)
	if err != nil {
		return t, fmt.Errorf("unlock: %w", err)
	}
	if !released {
		return t, fmt.Errorf("unlock found the lock gone")
	}
	return t, nil
}

func readsWorker(c system.Client, i int, listed []*system.Lock) worker {
	rng := rand.New(rand.NewPCG(1, uint64(i)))
	return func(ctx context.Context) (timing, error) {
		l := listed[rng.IntN(len(listed))]
		start := time.Now()
		value, err := c.Get(ctx, l)
		t := timing{whole: time.Since(start)}
		if err != nil {
			return t, fmt.Errorf("get: %w", err)
		}
		if len(value) == 0 {
			return t, fmt.Errorf("get did not find the lock %s", l.Text())
		}
		return t, nil
	}
}

func listsWorker(c system.Client) worker {
	return func(ctx context.Context) (timing, error) {
		start := time.Now()
		got, err := c.List(ctx, listRepo)
		t := timing{whole: time.Since(start)}
		if err != nil {
			return t, fmt.Errorf("list: %w", err)
		}
		if got.Locks != ListSize {
			return t, fmt.Errorf("list returned %d locks, want %d", got.Locks, ListSize)
		}
		return t, nil
	}
}
