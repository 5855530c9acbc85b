package resp

import (
	"context"
	"strings"
	"sync"
	"time"
)

// Intents knows who is about to take which lock. Atlantis takes a lock by GET
// and, when that finds nothing, SET; two who do it at the same moment are told
// apart by the second's SET at the latest, but then the loser only gets an
// error. Intents lets the second GET wait for the first one's SET, so that it
// sees the holder.
//
// It belongs where all contenders meet: on the leader. Nothing depends on it
// but who is told what; a lost or wrong answer costs nobody a lock.
type Intents interface {
	// Reserve says that a client has found nobody under key (a Redis key of a
	// lock or command lock) and will probably take it. It returns true when the
	// client should look again, because the lock may be held by now: at once
	// when it is, or after waiting for another client that had reserved it. It
	// returns within about two windows, or when ctx ends.
	Reserve(ctx context.Context, namespace, key string) bool
	// Settle says that somebody's SET of key has been decided. It is a hint for
	// the table on the same node.
	Settle(namespace, key string)
}

const (
	// intentWindow is how long a reservation keeps others waiting for a SET. It
	// is rarely used up: a grant ends it. It is long enough for a busy machine,
	// and short enough for one who waits for somebody who just looked.
	intentWindow = 250 * time.Millisecond
	// intentWaitersMax bounds how many wait at a time.
	intentWaitersMax = 4096
)

// IntentTable is the [Intents] of one node, in memory. The leader's counts.
type IntentTable struct {
	lookup func(namespace, key string) bool
	window time.Duration

	mu      sync.Mutex // guards what follows
	intents map[intentKey]*intent
	order   []*intent // by time, to forget those that have ended
	waiting int
}

type intentKey struct{ namespace, key string }

type intent struct {
	key     intentKey
	until   time.Time
	settled chan struct{} // made by the first who waits
}

// NewIntentTable returns an empty table. lookup reports whether key (a Redis
// key) is held as far as this node knows, without asking others; nil if all
// SETs come through this node's door. window 0 means 250 ms.
//
// Reservations do not say whose they are: a pool's connection carries the GETs
// of several callers in turn, and they compete like any others. Whoever applies
// the log must call [IntentTable.Settle] for every lock that it grants, also
// when nobody reserved it.
func NewIntentTable(lookup func(namespace, key string) bool, window time.Duration) *IntentTable {
	if window <= 0 {
		window = intentWindow
	}
	return &IntentTable{lookup: lookup, window: window, intents: map[intentKey]*intent{}}
}

// Reserve implements [Intents].
func (t *IntentTable) Reserve(ctx context.Context, namespace, key string) bool {
	k := intentKey{namespace, key}
	now := time.Now()
	last := now.Add(2 * t.windowOf(k))
	for {
		other, settled := t.take(k, now, last)
		// After the reservation, so that a grant in between is seen here if it
		// did not end the reservation.
		if t.held(k) {
			t.leave(other)
			t.Settle(namespace, key)
			return true
		}
		if other == nil {
			return false
		}
		again := wait(ctx, other, settled)
		t.leave(other)
		if again {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		now = time.Now()
	}
}

func (t *IntentTable) held(k intentKey) bool { return t.lookup != nil && t.lookup(k.namespace, k.key) }

// take reserves k, or returns the reservation to wait for; [IntentTable.leave]
// must follow.
func (t *IntentTable) take(k intentKey, now, last time.Time) (other *intent, settled <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(now)
	it := t.intents[k]
	switch {
	case it == nil || !it.until.After(now):
		it = &intent{key: k, until: now.Add(t.windowOf(k))}
		t.intents[k] = it
		t.order = append(t.order, it)
		return nil, nil
	case t.waiting >= intentWaitersMax, !now.Before(last):
		return nil, nil
	}
	if it.settled == nil {
		it.settled = make(chan struct{})
	}
	t.waiting++
	return it, it.settled
}

// windowOf returns how long a reservation of k keeps others waiting. Command
// locks are looked at far more often than they are taken, so those who only
// look wait less for each other.
func (t *IntentTable) windowOf(k intentKey) time.Duration {
	if strings.HasPrefix(k.key, commandPrefix) {
		return t.window / 4
	}
	return t.window
}

// leave ends a wait for other, if there was one.
func (t *IntentTable) leave(other *intent) {
	if other == nil {
		return
	}
	t.mu.Lock()
	t.waiting--
	t.mu.Unlock()
}

// forget drops the reservations that have ended; the caller holds mu. One that
// ends out of turn, with a shorter window, stays a little longer, without
// effect.
func (t *IntentTable) forget(now time.Time) {
	n := 0
	for n < len(t.order) && !t.order[n].until.After(now) {
		if it := t.order[n]; t.intents[it.key] == it {
			delete(t.intents, it.key)
		}
		t.order[n] = nil
		n++
	}
	if n > 0 {
		t.order = t.order[n:]
	}
}

// wait returns true when somebody's SET was decided; false when the
// reservation has ended.
func wait(ctx context.Context, it *intent, settled <-chan struct{}) bool {
	end := time.NewTimer(time.Until(it.until))
	defer end.Stop()
	select {
	case <-settled:
		return true
	case <-end.C:
		return false
	case <-ctx.Done():
		return false
	}
}

// Settle implements [Intents].
func (t *IntentTable) Settle(namespace, key string) {
	k := intentKey{namespace, key}
	t.mu.Lock()
	defer t.mu.Unlock()
	it := t.intents[k]
	if it == nil {
		return
	}
	delete(t.intents, k) // it stays in order until it would have ended
	if it.settled != nil {
		close(it.settled)
	}
}

// waitersPerHost bounds how many GETs of one address wait at a time. go-redis
// has ten connections for each processor; some must be left for the SETs.
const waitersPerHost = 8

// waiting counts the GETs that wait, by address.
type waiting struct {
	mu    sync.Mutex
	count map[string]int
}

func (w *waiting) enter(host string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count[host] >= waitersPerHost {
		return false
	}
	if w.count == nil {
		w.count = map[string]int{}
	}
	w.count[host]++
	return true
}

func (w *waiting) leave(host string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count[host]--; w.count[host] == 0 {
		delete(w.count, host)
	}
}
