package crew

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/bench/internal/system"
	"github.com/lockcluster/lockcluster/rpc"
)

// patience is how long a writer waits for one acknowledgement.
const patience = time.Minute

// Crew is a number of writers at work. Use [Start] and [Crew.Stop].
type Crew struct {
	client *rpc.Client
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex // guards what follows
	acks ackLog
	err  error // the first write that failed
	// changed is closed and replaced with every acknowledgement.
	changed chan struct{}
}

// Start lets n writers begin.
func Start(ctx context.Context, c *system.Cluster, n int) (*Crew, error) {
	client, err := c.Dial(rpc.ClientConfig{Connections: (n + 15) / 16})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &Crew{client: client, cancel: cancel, acks: ackLog{base: time.Now()}, changed: make(chan struct{})}
	for i := range n {
		w.wg.Go(func() { w.write(ctx, system.NewLock("acme/crew", fmt.Sprintf("writer/%03d", i), i+1)) })
	}
	return w, nil
}

func (w *Crew) write(ctx context.Context, l *system.Lock) {
	var req lockcluster.Request = l.Acquire()
	for ctx.Err() == nil {
		start := time.Now()
		opCtx, cancel := context.WithTimeout(ctx, patience)
		res, err := w.client.Do(opCtx, lockcluster.RequestID{}, req)
		cancel()
		if ctx.Err() != nil {
			return // it was told to stop
		}
		switch {
		case err != nil:
			w.fail(fmt.Errorf("a writer's request: %w", err))
			return
		case res.Status == lockcluster.StatusGranted:
			req = lockcluster.Release{Namespace: lockcluster.DefaultNamespace, Text: l.Text(), Guard: lockcluster.Guard{Token: res.Lock.Token}}
		case res.Status == lockcluster.StatusReleased:
			req = l.Acquire()
		default: // each lock has one writer, and each request happens once
			w.fail(fmt.Errorf("a writer's request was answered %q", res.Status))
			return
		}
		w.acknowledged(start)
	}
}

func (w *Crew) acknowledged(start time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acks.add(start, time.Now()) // under the lock, so that they are in order
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *Crew) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// Stop ends the writers and returns the first failure. It may be called more
// than once.
func (w *Crew) Stop() error {
	w.cancel()
	w.wg.Wait()
	_ = w.client.Close() // nothing is under way
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Next returns when a write was acknowledged that began after t, or a writer
// has failed, or ctx ends.
func (w *Crew) Next(ctx context.Context, t time.Time) (time.Time, error) {
	seen := 0
	for {
		w.mu.Lock()
		for ; seen < w.acks.len(); seen++ {
			if w.acks.start(seen).After(t) {
				end := w.acks.end(seen)
				w.mu.Unlock()
				return end, nil
			}
		}
		err, changed := w.err, w.changed
		w.mu.Unlock()
		if err != nil {
			return time.Time{}, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("wait for the next acknowledged write: %w", context.Cause(ctx))
		}
	}
}

// LongestGap returns the longest time between from and to in which no write
// was acknowledged, as far as it lies between them.
func (w *Crew) LongestGap(from, to time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	longest, last := time.Duration(0), from
	for i := w.acks.first(from); i < w.acks.len() && !w.acks.end(i).After(to); i++ {
		longest, last = max(longest, w.acks.end(i).Sub(last)), w.acks.end(i)
	}
	return max(longest, to.Sub(last))
}

// Rate returns the acknowledged writes in a second between from and to.
func (w *Crew) Rate(from, to time.Time) float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for i := w.acks.first(from); i < w.acks.len() && !w.acks.end(i).After(to); i++ {
		if w.acks.end(i).After(from) {
			n++
		}
	}
	return float64(n) / to.Sub(from).Seconds()
}
