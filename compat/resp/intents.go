package resp

import (
	"context"
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
	// Reserve says that client has found nobody under key (a Redis key of a lock
	// or command lock) and will probably take it. It returns true when the
	// client should look again, because the lock may be held by now: at once
	// when it is, or after waiting for another client that had reserved it. It
	// returns within about two windows, or when ctx ends.
	Reserve(ctx context.Context, namespace, key, client string) bool
	// Settle says that somebody's SET of key has been decided. It is a hint for
	// the table on the same node.
	Settle(namespace, key string)
}

const (
	// intentWindow is how long a reservation keeps others waiting for a SET.
	intentWindow = 100 * time.Millisecond
	// intentPoll is how often a waiting reservation looks whether the lock has
	// been taken through another node.
	intentPoll = time.Millisecond
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
	client  string
	until   time.Time
	settled chan struct{} // made by the first who waits
}

// NewIntentTable returns an empty table. lookup reports whether key (a Redis
// key) is held as far as this node knows, without asking others; nil if all
// SETs come through this node's door. window 0 means 100 ms.
func NewIntentTable(lookup func(namespace, key string) bool, window time.Duration) *IntentTable {
	if window <= 0 {
		window = intentWindow
	}
	return &IntentTable{lookup: lookup, window: window, intents: map[intentKey]*intent{}}
}

// Reserve implements [Intents].
func (t *IntentTable) Reserve(ctx context.Context, namespace, key, client string) bool {
	k := intentKey{namespace, key}
	now := time.Now()
	last := now.Add(2 * t.window)
	for {
		if t.held(k) {
			return true
		}
		other, settled := t.take(k, client, now, last)
		if other == nil {
			return false
		}
		again := t.wait(ctx, other, settled)
		t.mu.Lock()
		t.waiting--
		t.mu.Unlock()
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

// take reserves k for client, or returns whose reservation to wait for.
func (t *IntentTable) take(k intentKey, client string, now, last time.Time) (other *intent, settled <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(now)
	it := t.intents[k]
	switch {
	case it == nil || !it.until.After(now):
		it = &intent{key: k, client: client, until: now.Add(t.window)}
		t.intents[k] = it
		t.order = append(t.order, it)
		return nil, nil
	case it.client == client, t.waiting >= intentWaitersMax, !now.Before(last):
		return nil, nil
	}
	if it.settled == nil {
		it.settled = make(chan struct{})
	}
	t.waiting++
	return it, it.settled
}

// forget drops the reservations that have ended; the caller holds mu.
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

// wait returns true when the lock has been taken, or somebody's SET was
// decided; false when the reservation has ended.
func (t *IntentTable) wait(ctx context.Context, it *intent, settled <-chan struct{}) bool {
	end := time.NewTimer(time.Until(it.until))
	defer end.Stop()
	var poll <-chan time.Time
	if t.lookup != nil {
		ticker := time.NewTicker(intentPoll)
		defer ticker.Stop()
		poll = ticker.C
	}
	for {
		select {
		case <-settled:
			return true
		case <-end.C:
			return false
		case <-ctx.Done():
			return false
		case <-poll:
			if t.held(it.key) {
				return true
			}
		}
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
	delete(t.intents, k)
	if it.settled != nil {
		close(it.settled)
	}
}
