package rpc

import (
	"sync"
	"time"

	"github.com/lockcluster/lockcluster"
)

const (
	// unknownKept is how long an id whose outcome is unknown stays good for
	// another try; the cluster keeps all later answers as long.
	unknownKept = time.Minute
	// unknownNewerMax ends that earlier when this many requests have followed.
	unknownNewerMax = 10_000
)

// sequence numbers a client's requests and knows which answers have come.
type sequence struct {
	clientID string

	mu    sync.Mutex // guards what follows
	base  uint64     // lowest number that may still be retried
	calls []numbered // from base
}

type numbered struct {
	state   numberedState
	givenUp time.Time // stateUnknown: when
}

type numberedState uint8

const (
	stateOpen    numberedState = iota // in flight
	stateUnknown                      // its caller gave up, and may ask again
	stateDone
)

func newSequence(clientID string) *sequence { return &sequence{clientID: clientID, base: 1} }

// begin returns the id of a new request; end must follow.
func (s *sequence) begin() lockcluster.RequestID {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, numbered{})
	id := lockcluster.RequestID{ClientID: s.clientID, Sequence: s.base + uint64(len(s.calls)) - 1}
	if s.calls[0].state == stateUnknown {
		s.advance()
	}
	id.AckedBelow = s.base
	return id
}

// end notes that a request has its answer, or that its caller gave up and does
// not know its outcome.
func (s *sequence) end(number uint64, unknown bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if number < s.base || number-s.base >= uint64(len(s.calls)) {
		return // kept for a while, and no longer
	}
	c := &s.calls[number-s.base]
	switch {
	case !unknown:
		c.state = stateDone
	case c.state == stateOpen:
		*c = numbered{state: stateUnknown, givenUp: time.Now()}
	}
	s.advance()
}

// advance moves base past what nobody will ask for again.
func (s *sequence) advance() {
	n := 0
	for n < len(s.calls) && s.over(&s.calls[n], len(s.calls)-n) {
		n++
	}
	if n > 0 {
		s.base += uint64(n)
		s.calls = s.calls[:copy(s.calls, s.calls[n:])]
	}
}

func (s *sequence) over(c *numbered, newer int) bool {
	return c.state == stateDone ||
		c.state == stateUnknown && (newer > unknownNewerMax || time.Since(c.givenUp) > unknownKept)
}
