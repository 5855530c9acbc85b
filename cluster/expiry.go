package cluster

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// expiry ends leases, on the leader. It counts every TTL on this process's
// monotonic clock, from the moment the leader saw the lease set, or took over:
// a lease is never shorter than asked, whatever the clocks say, and may be
// longer by a failover. What it proposes carries the lease's epoch and the
// term, so that the state ignores it when the lease was renewed meanwhile, or
// when another node leads.
type expiry struct {
	propose func(context.Context, lockcluster.Request) outcome
	leases  func(yield func(state.Lease) bool)

	mu     sync.Mutex // guards what follows
	active bool
	timers map[leaseID]*leaseTimer
	queue  leaseQueue
	wake   chan struct{}
}

type leaseID struct {
	namespace string
	space     lockcluster.Space
	key       string
}

type leaseTimer struct {
	id       leaseID
	epoch    uint64
	deadline time.Time
	pos      int // in the queue
}

// expiryRetry is the pause after which an expiry that was not decided is
// proposed again.
const expiryRetry = 200 * time.Millisecond

// expireTogether bounds how many leases are ended at a time.
const expireTogether = 512

func newExpiry(propose func(context.Context, lockcluster.Request) outcome, leases func(func(state.Lease) bool)) *expiry {
	return &expiry{propose: propose, leases: leases, wake: make(chan struct{}, 1)}
}

// changed notes what an applied entry did to leases. It is called on the apply
// goroutine of every node, and does nothing on one that does not lead.
func (e *expiry) changed(changes []state.LeaseChange) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.active {
		return
	}
	now := time.Now()
	for _, c := range changes {
		if c.Armed {
			e.armLocked(c.Lease, now)
		} else {
			e.disarmLocked(leaseID{c.Namespace, c.Space, c.Key})
		}
	}
	e.kick()
}

func (e *expiry) kick() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *expiry) armLocked(l state.Lease, now time.Time) {
	id := leaseID{l.Namespace, l.Space, l.Key}
	deadline := now.Add(l.TTL)
	t, ok := e.timers[id]
	switch {
	case !ok:
		t = &leaseTimer{id: id, epoch: l.Epoch, deadline: deadline}
		e.timers[id] = t
		heap.Push(&e.queue, t)
	case l.Epoch >= t.epoch: // the same epoch: it is counted in full again
		t.epoch, t.deadline = l.Epoch, deadline
		heap.Fix(&e.queue, t.pos)
	}
}

func (e *expiry) disarmLocked(id leaseID) {
	if t, ok := e.timers[id]; ok {
		heap.Remove(&e.queue, t.pos)
		delete(e.timers, id)
	}
}

// rescan counts all leases anew, after the state was replaced.
func (e *expiry) rescan() {
	e.mu.Lock()
	active := e.active
	e.timers, e.queue = map[leaseID]*leaseTimer{}, nil
	e.mu.Unlock()
	if active {
		e.armAll()
	}
}

// armAll counts every lease of the present state in full, unless a later
// change of it was seen already.
func (e *expiry) armAll() {
	now := time.Now()
	e.leases(func(l state.Lease) bool {
		e.mu.Lock()
		e.armLocked(l, now)
		e.mu.Unlock()
		return true
	})
	e.kick()
}

// run ends leases until ctx ends. The state holds at least all that was
// committed before term.
func (e *expiry) run(ctx context.Context, term uint64) {
	e.mu.Lock()
	e.active, e.timers, e.queue = true, map[leaseID]*leaseTimer{}, nil
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		e.active, e.timers, e.queue = false, nil, nil
		e.mu.Unlock()
	}()
	e.armAll()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-e.wake:
		case <-ctx.Done():
			return
		}
		due, next := e.due(time.Now())
		if len(due) > 0 {
			e.expire(ctx, term, due)
			next = 0 // look again
		}
		timer.Reset(next)
	}
}

// due returns the leases that have run out, and how long until the next does.
// A lease that is handed out is looked at again after expiryRetry, unless its
// end was applied by then.
func (e *expiry) due(now time.Time) (due []leaseTimer, next time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.queue) > 0 && len(due) < expireTogether {
		t := e.queue[0]
		if wait := t.deadline.Sub(now); wait > 0 {
			return due, wait
		}
		t.deadline = now.Add(expiryRetry)
		due = append(due, *t)
		heap.Fix(&e.queue, 0)
	}
	return due, time.Hour
}

func (e *expiry) expire(ctx context.Context, term uint64, due []leaseTimer) {
	var wg sync.WaitGroup
	for _, t := range due {
		wg.Go(func() {
			o := e.propose(ctx, lockcluster.Expire{
				Namespace: t.id.namespace, Space: t.id.space, Key: t.id.key, LeaseEpoch: t.epoch, Term: term,
			})
			if o.fate == fateDecided && o.result.Status == lockcluster.StatusIgnored {
				e.forget(t)
			}
		})
	}
	wg.Wait()
}

// forget drops a timer whose lease is gone: it may have ended between the
// picture that armAll reads and its timer. It also drops one whose lease may
// not end now, because another system decides about it; the state arms that
// lease again when this changes, and a timer that was armed since stays.
func (e *expiry) forget(due leaseTimer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t, ok := e.timers[due.id]; ok && t.epoch == due.epoch && t.deadline.Equal(due.deadline) {
		e.disarmLocked(due.id)
	}
}

// leaseQueue is a heap by deadline.
type leaseQueue []*leaseTimer

func (q leaseQueue) Len() int           { return len(q) }
func (q leaseQueue) Less(i, j int) bool { return q[i].deadline.Before(q[j].deadline) }

func (q leaseQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].pos, q[j].pos = i, j
}

// Push implements [heap.Interface].
func (q *leaseQueue) Push(x any) {
	t := x.(*leaseTimer)
	t.pos = len(*q)
	*q = append(*q, t)
}

// Pop implements [heap.Interface].
func (q *leaseQueue) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return t
}
