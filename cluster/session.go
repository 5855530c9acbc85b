package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"sync"

	"github.com/lockcluster/lockcluster"
)

// session gives request ids to requests that come without one, so that the
// node can try them again after an unknown outcome. It is one client of the
// state machine, new at every start of the node.
type session struct {
	clientID string

	mu   sync.Mutex // guards what follows
	base uint64     // lowest sequence number that is still outstanding
	done []bool     // by sequence number, from base
}

func newSession(nodeID string) *session {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	id := hex.EncodeToString(b[:])
	if n := nodeIDSizeMax - len(id) - 1; len(nodeID) > n {
		nodeID = nodeID[:n]
	}
	return &session{clientID: nodeID + "/" + id, base: 1}
}

// begin returns the next id. end must follow when the caller has its answer or
// has given up: nobody will ask for it again.
func (s *session) begin() lockcluster.RequestID {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = append(s.done, false)
	return lockcluster.RequestID{ClientID: s.clientID, Sequence: s.base + uint64(len(s.done)) - 1, AckedBelow: s.base}
}

func (s *session) end(id lockcluster.RequestID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done[id.Sequence-s.base] = true
	n := 0
	for n < len(s.done) && s.done[n] {
		n++
	}
	if n > 0 {
		s.base += uint64(n)
		s.done = s.done[:copy(s.done, s.done[n:])]
	}
}
