package resp

import (
	"net"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster"
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
	token lockcluster.Token
	at    time.Time
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
