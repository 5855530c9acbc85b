package cluster

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// acks records which nodes have confirmed this one as leader, and when they
// were asked. Each call of a follower carries a stamp taken before it was
// sent; an answer confirms the leader as of that stamp.
//
// Raft's own VerifyLeader cannot be used for that: it counts any answer that
// arrives after the question, also to a call that was sent before it (a leader
// that slept may find such an answer waiting), and it counts non-voters.
type acks struct {
	mu    sync.Mutex // guards what follows
	stamp uint64
	last  map[raft.ServerID]ack
	waits []*ackWait
}

type ack struct {
	term  uint64
	stamp uint64
	at    time.Time
}

// ackWait waits for confirmations of one term, asked for after stamp.
type ackWait struct {
	term   uint64
	stamp  uint64
	voters map[raft.ServerID]bool // false until confirmed
	need   int
	done   chan struct{}
}

func newAcks() *acks { return &acks{last: map[raft.ServerID]ack{}} }

// next returns a stamp greater than all before it.
func (a *acks) next() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stamp++
	return a.stamp
}

// confirm notes that id accepted a call of the leader of term with that stamp.
func (a *acks) confirm(id raft.ServerID, term, stamp uint64) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last[id] = ack{term: term, stamp: stamp, at: now}
	for i := 0; i < len(a.waits); i++ {
		w := a.waits[i]
		confirmed, isVoter := w.voters[id]
		if !isVoter || confirmed || w.term != term || stamp <= w.stamp {
			continue
		}
		w.voters[id] = true
		w.need--
		if w.need == 0 {
			close(w.done)
			a.removeLocked(i)
			i--
		}
	}
}

// expect begins to wait for need of the voters. The caller must drop the wait
// when it no longer wants it.
func (a *acks) expect(term uint64, voters []raft.ServerID, need int) *ackWait {
	w := &ackWait{term: term, voters: make(map[raft.ServerID]bool, len(voters)), need: need, done: make(chan struct{})}
	for _, v := range voters {
		w.voters[v] = false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stamp++
	w.stamp = a.stamp
	a.waits = append(a.waits, w)
	return w
}

func (a *acks) drop(w *ackWait) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.waits {
		if a.waits[i] == w {
			a.removeLocked(i)
			return
		}
	}
}

func (a *acks) removeLocked(i int) {
	last := len(a.waits) - 1
	a.waits[i] = a.waits[last]
	a.waits[last] = nil
	a.waits = a.waits[:last]
}

// lastAck returns when id last confirmed this node, zero if never.
func (a *acks) lastAck(id raft.ServerID) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last[id].at
}
