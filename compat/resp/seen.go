package resp

import (
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

const (
	// seenMax bounds how many locks a connection remembers, readingsMax how many
	// the server does for pools of connections.
	seenMax     = 4096
	readingsMax = 1 << 16
	// seenFor is how long a reading counts. Atlantis sends GET and DEL within
	// moments.
	seenFor = 30 * time.Second
)

// seenMark says which grant of a lock a client has read or made.
type seenMark struct {
	token    lockcluster.Token // of a lock
	revision uint64            // of a command lock
	at       time.Time
}

// seen remembers the locks that a client has read, so that its DEL deletes
// nothing else. When it is full the oldest reading is forgotten, and a DEL of
// it is a plain one.
type seen[K comparable] struct {
	max   int
	marks map[K]seenMark
	ring  []K // in the order in which they came
	next  int
}

func newSeen() seen[name] { return seen[name]{max: seenMax} }

// hostOf returns the address without the port: what the connections of a
// client's pool have in common.
func hostOf(addr net.Addr) string {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	return host
}

func (s *seen[K]) put(k K, m seenMark) {
	if s.marks == nil {
		s.marks = map[K]seenMark{}
	}
	if _, known := s.marks[k]; !known {
		if len(s.ring) < s.max {
			s.ring = append(s.ring, k)
		} else {
			delete(s.marks, s.ring[s.next])
			s.ring[s.next] = k
			s.next = (s.next + 1) % s.max
		}
	}
	s.marks[k] = m
}

// forget makes a later DEL a plain one. The mark stays in the ring's order.
func (s *seen[K]) forget(k K) {
	if _, known := s.marks[k]; known {
		s.marks[k] = seenMark{}
	}
}

// get returns the reading of k that still counts.
func (s *seen[K]) get(k K, now time.Time) (seenMark, bool) {
	m, ok := s.marks[k]
	return m, ok && !m.at.IsZero() && now.Sub(m.at) <= seenFor
}

// readings is [seen] for the connections of one pool together. go-redis sends
// a caller's GET and its DEL over any two connections of its pool, and other
// callers' commands in between: what one connection has read says little about
// what its DEL means. So the newest reading that came from the same address
// counts. Two Atlantis behind one address share it, which is no worse than a
// plain DEL.
type readings struct {
	mu sync.Mutex
	seen[reading]
}

type reading struct {
	host, namespace string
	name            name
}

// remember notes what the client has read of n, or made.
func (c *conn) remember(n name, m seenMark) {
	if !c.goRedis {
		c.seen.put(n, m)
		return
	}
	c.s.readings.mu.Lock()
	defer c.s.readings.mu.Unlock()
	c.s.readings.put(reading{c.host, c.namespace, n}, m)
}

// forget notes that the client has read that n is free.
func (c *conn) forget(n name) {
	if !c.goRedis {
		c.seen.forget(n)
		return
	}
	c.s.readings.mu.Lock()
	defer c.s.readings.mu.Unlock()
	c.s.readings.forget(reading{c.host, c.namespace, n})
}

// remembered returns what the client has read of n.
func (c *conn) remembered(n name) (seenMark, bool) {
	if !c.goRedis {
		return c.seen.get(n, c.now)
	}
	c.s.readings.mu.Lock()
	defer c.s.readings.mu.Unlock()
	return c.s.readings.get(reading{c.host, c.namespace, n}, c.now)
}

const (
	// shownFor is how long after a SCAN, or after the last GET that followed it,
	// a lock that is gone is still answered from memory.
	shownFor = time.Second
	// shownMax ends the memory of one SCAN however long its GETs take.
	shownMax = 10 * time.Second
)

// shown is the picture that a SCAN has shown to a connection of Atlantis.
// Atlantis reads each key that it was shown, in that order, and fails when one
// is gone by then; so for a moment it gets what it was shown. DEL then deletes
// nothing that was not shown, because the reading counts as seen.
//
// A key is answered from the picture at most once, and never behind one that
// was read already: a GET that has nothing to do with the SCAN, from a TryLock,
// must see what is.
type shown struct {
	picture atomic.Pointer[picture] // shared with the server's clock
}

type picture struct {
	view    *state.View
	ns      string
	keys    []string // the lock keys that were shown, in order
	next    int      // the first of them that no GET has passed
	since   time.Time
	touched atomic.Int64 // unix nanoseconds of the SCAN or the last GET that followed it
}

func (s *shown) set(view *state.View, ns string, keys []string, now time.Time) {
	n := 0
	for n < len(keys) && strings.HasPrefix(keys[n], lockPrefix) {
		n++
	}
	p := &picture{view: view, ns: ns, keys: keys[:n], since: now}
	p.touched.Store(now.UnixNano())
	s.picture.Store(p)
}

// expire drops the picture, which costs memory, when it is too old.
func (s *shown) expire(now time.Time) {
	if p := s.picture.Load(); p != nil && p.isOld(now) {
		s.picture.CompareAndSwap(p, nil)
	}
}

func (p *picture) isOld(now time.Time) bool {
	return now.Sub(p.since) > shownMax || now.UnixNano()-p.touched.Load() > int64(shownFor)
}

func (s *shown) current(ns string, now time.Time) *picture {
	if p := s.picture.Load(); p != nil && p.ns == ns && !p.isOld(now) {
		return p
	}
	return nil
}

// lock returns a lock as it was shown; nil if it was not, or too long ago.
func (s *shown) lock(ns, text string, now time.Time) *lockcluster.Lock {
	if p := s.current(ns, now); p != nil {
		return state.GetLock(p.view, ns, text)
	}
	return nil
}

// pass notes a GET. It returns the lock as it was shown if the GET can be one
// that follows the SCAN.
func (s *shown) pass(ns, text string, now time.Time) *lockcluster.Lock {
	p := s.current(ns, now)
	if p == nil {
		return nil
	}
	i, ok := slices.BinarySearch(p.keys[p.next:], lockPrefix+text)
	if !ok {
		return nil
	}
	p.next += i + 1
	p.touched.Store(now.UnixNano())
	return state.GetLock(p.view, ns, text)
}
