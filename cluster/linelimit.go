package cluster

import (
	"sync"
	"time"
)

const (
	// foreignQuiet is how long the log is silent about a node of another cluster
	// after it said something about it: raft tries several times a second, for as
	// long as nobody removes the member.
	foreignQuiet = 30 * time.Second
	// limitedMax bounds the peers that are told apart; the rest share one line.
	limitedMax = 256
)

// lineLimit lets one log line about a peer through, and then none for a while.
type lineLimit struct {
	quiet time.Duration

	mu    sync.Mutex // guards peers
	peers map[string]*limitedPeer
}

type limitedPeer struct {
	said    time.Time
	leftOut int // lines since
}

func newLineLimit(quiet time.Duration) *lineLimit {
	return &lineLimit{quiet: quiet, peers: map[string]*limitedPeer{}}
}

// pass reports whether a line about peer may be written, and how many were left
// out since the last one.
func (l *lineLimit) pass(peer string) (leftOut int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	p := l.peers[peer]
	if p == nil && len(l.peers) >= limitedMax {
		l.prune(now)
		if len(l.peers) >= limitedMax {
			peer = "" // no peer's name
			p = l.peers[peer]
		}
	}
	switch {
	case p == nil:
		l.peers[peer] = &limitedPeer{said: now}
		return 0, true
	case now.Sub(p.said) < l.quiet:
		p.leftOut++
		return 0, false
	}
	leftOut, p.leftOut, p.said = p.leftOut, 0, now
	return leftOut, true
}

// prune forgets the peers of which nothing is held back any more.
func (l *lineLimit) prune(now time.Time) {
	for name, p := range l.peers {
		if now.Sub(p.said) >= l.quiet {
			delete(l.peers, name)
		}
	}
}
