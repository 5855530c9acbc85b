package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster/bench/internal/system"
)

// Cell is one system's turn: one workload, one round.
type Cell struct {
	Workload   string  `json:"workload"`
	System     string  `json:"system"`
	Round      int     `json:"round"`
	Seconds    float64 `json:"seconds"`
	Ops        int     `json:"ops"`
	PerSecond  float64 `json:"per_second"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	Max        float64 `json:"max_ms"`
	TryLockP50 float64 `json:"trylock_p50_ms,omitempty"`
	TryLockP99 float64 `json:"trylock_p99_ms,omitempty"`
	// Processor time that one operation took, warm-up included: of the servers,
	// and of the clients, which all run in this process. It is what remains
	// comparable while others use the machine.
	ServerCPU  float64 `json:"server_cpu_us_per_op"`
	ClientCPU  float64 `json:"client_cpu_us_per_op"`
	Errors     int     `json:"errors,omitempty"`
	FirstError string  `json:"first_error,omitempty"`
}

// opTimeout bounds one operation; all systems have the same.
const opTimeout = 20 * time.Second

// warmUp is the uncounted start of a cell: connections, caches, leader.
func warmUp(cell time.Duration) time.Duration {
	return min(max(cell/5, 200*time.Millisecond), time.Second)
}

// tally is what one worker has seen.
type tally struct {
	whole, tryLock []time.Duration
	done           int // operations, those outside the time included
	errors         int
	first          error
}

func done(ts []tally) int {
	n := 0
	for _, t := range ts {
		n += t.done
	}
	return n
}

// runCell measures one system on one workload for the length of a cell.
func runCell(ctx context.Context, w Workload, s system.System, round int, length time.Duration, listed []*system.Lock) (Cell, error) {
	clients, closeAll, err := s.Open(ctx, w.Clients)
	if err != nil {
		return Cell{}, fmt.Errorf("open %d clients of %s: %w", w.Clients, s.Name(), err)
	}
	salt := fmt.Sprintf("%d-%d", w.Clients, round)
	tallies := make([]tally, len(clients))
	from := time.Now().Add(warmUp(length))
	until := from.Add(length)
	meter, err := startMeter(s.Deployment().Processes())
	if err != nil {
		return Cell{}, errors.Join(err, closeAll())
	}
	var wg sync.WaitGroup
	for i, c := range clients {
		work := w.newWorker(c, i, salt, listed)
		wg.Go(func() { tallies[i] = drive(ctx, work, from, until) })
	}
	wg.Wait()
	server, client, err := meter.read()
	if err != nil {
		return Cell{}, errors.Join(err, closeAll())
	}
	if err := closeAll(); err != nil {
		return Cell{}, fmt.Errorf("close the clients of %s: %w", s.Name(), err)
	}
	if err := ctx.Err(); err != nil {
		return Cell{}, err
	}
	if err := s.Deployment().Alive(); err != nil {
		return Cell{}, err
	}
	cell := summarize(tallies, length)
	if n := done(tallies); n > 0 {
		cell.ServerCPU, cell.ClientCPU = micros(server)/float64(n), micros(client)/float64(n)
	}
	cell.Workload, cell.System, cell.Round = w.Name(), s.Name(), round
	if cell.Ops == 0 {
		return cell, fmt.Errorf("%s on %s: not one operation succeeded in %v (%d errors, the first: %s)", s.Name(), w.Name(), length, cell.Errors, cell.FirstError)
	}
	return cell, nil
}

// drive runs operations until the time is up and keeps those that lie wholly
// within it.
func drive(ctx context.Context, work worker, from, until time.Time) tally {
	var t tally
	for ctx.Err() == nil {
		start := time.Now()
		if !start.Before(until) {
			return t
		}
		opCtx, cancel := context.WithTimeout(ctx, opTimeout)
		took, err := work(opCtx)
		cancel()
		if err != nil {
			if ctx.Err() != nil {
				return t
			}
			t.errors++
			if t.first == nil {
				t.first = err
			}
			time.Sleep(5 * time.Millisecond) // an error must not become a busy loop
			continue
		}
		t.done++
		if start.Before(from) || time.Now().After(until) {
			continue
		}
		t.whole = append(t.whole, took.whole)
		if took.tryLock > 0 {
			t.tryLock = append(t.tryLock, took.tryLock)
		}
	}
	return t
}

func summarize(tallies []tally, length time.Duration) Cell {
	var whole, tryLock []time.Duration
	c := Cell{Seconds: length.Seconds()}
	for _, t := range tallies {
		whole = append(whole, t.whole...)
		tryLock = append(tryLock, t.tryLock...)
		c.Errors += t.errors
		if t.first != nil && c.FirstError == "" {
			c.FirstError = t.first.Error()
		}
	}
	slices.Sort(whole)
	slices.Sort(tryLock)
	c.Ops = len(whole)
	c.PerSecond = float64(c.Ops) / c.Seconds
	c.P50, c.P99, c.Max = millis(quantile(whole, 0.50)), millis(quantile(whole, 0.99)), millis(quantile(whole, 1))
	c.TryLockP50, c.TryLockP99 = millis(quantile(tryLock, 0.50)), millis(quantile(tryLock, 0.99))
	return c
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// quantile returns the smallest value that at least the share q of sorted does
// not exceed; zero when there is none.
func quantile[T ~int64 | ~float64](sorted []T, q float64) T {
	if len(sorted) == 0 {
		return 0
	}
	at := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(at, 0), len(sorted)-1)]
}

// median of unsorted values; the mean of the middle two when there are evenly
// many.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}
