package cluster_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/cluster/clustertest"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// soakEnv sets the virtual time of one run, e.g. "30m".
const soakEnv = "LOCKCLUSTER_SOAK"

// soak is one run of clients under faults, and what they saw.
type soak struct {
	t      *testing.T
	c      *clustertest.Cluster
	rnd    *rand.Rand
	stop   atomic.Bool
	acked  atomic.Uint64      // greatest log index that any client was told
	told   func(index uint64) // is called for each that a client was told, if set
	mu     sync.Mutex         // guards what follows
	events map[string][]event
	counts map[string]int
}

// event is a change of one lock that a client was told.
type event struct {
	index uint64
	grant bool
	token lockcluster.Token
	owner string
}

func (s *soak) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

// node returns any node that runs, nil if it does not.
func (s *soak) node(i int) *cluster.Node {
	n, _ := s.c.Get(fmt.Sprintf("n%d", i%3+1))
	return n
}

func (s *soak) raise(index uint64) {
	for old := s.acked.Load(); index > old && !s.acked.CompareAndSwap(old, index); old = s.acked.Load() {
	}
}

// client takes and frees locks and reads, on nodes at random.
func (s *soak) client(rnd *rand.Rand, id int) {
	owner := fmt.Sprintf("client%d", id)
	for !s.stop.Load() {
		time.Sleep(time.Duration(rnd.IntN(80)) * time.Millisecond)
		node := s.node(rnd.IntN(3))
		if node == nil {
			continue
		}
		req := acquire(fmt.Sprintf("acme/app%d", rnd.IntN(5)), 0)
		req.Owner = lockcluster.Owner{ID: owner}
		before := s.acked.Load()
		ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		switch rnd.IntN(3) {
		case 0:
			view, err := node.View(ctx)
			if err == nil && view.Index() < before {
				s.t.Errorf("stale read: index %d, a client was told %d before", view.Index(), before)
			}
			s.count(fmt.Sprintf("read ok %v", err == nil))
		case 1:
			res, err := node.Do(ctx, noID, req)
			s.note(req.Key.Text(), owner, before, res, err)
		case 2:
			owned := req.Owner
			res, err := node.Do(ctx, noID, lockcluster.Release{Namespace: "default", Text: req.Key.Text(), Guard: lockcluster.Guard{Owner: &owned}})
			s.note(req.Key.Text(), owner, before, res, err)
		}
		cancel()
	}
}

func (s *soak) note(text, owner string, before uint64, res lockcluster.Result, err error) {
	if err != nil {
		s.count(fmt.Sprintf("outcome unknown %v", errors.Is(err, lockcluster.ErrOutcomeUnknown)))
		return
	}
	if res.Index <= before {
		s.t.Errorf("%v at index %d, a client was told %d before the request", res.Status, res.Index, before)
	}
	s.raise(res.Index)
	if s.told != nil {
		s.told(res.Index)
	}
	s.count(res.Status.String())
	s.mu.Lock()
	defer s.mu.Unlock()
	switch res.Status {
	case lockcluster.StatusGranted:
		s.events[text] = append(s.events[text], event{res.Index, true, res.Lock.Token, owner})
	case lockcluster.StatusReleased:
		s.events[text] = append(s.events[text], event{res.Index, false, res.Lock.Token, owner})
	}
}

// nemesis breaks one thing after another, and mends it.
func (s *soak) nemesis() {
	for !s.stop.Load() {
		time.Sleep(time.Duration(1+s.rnd.IntN(8)) * time.Second)
		id := fmt.Sprintf("n%d", s.rnd.IntN(3)+1)
		pause := time.Duration(500+s.rnd.IntN(7000)) * time.Millisecond
		switch s.rnd.IntN(5) {
		case 0:
			s.count("nemesis isolate")
			s.c.Network.Isolate(id, "n1", "n2", "n3")
			time.Sleep(pause)
			s.c.Network.Heal()
		case 1:
			s.count("nemesis one-way cut")
			s.c.Network.Cut(id, fmt.Sprintf("n%d", s.rnd.IntN(3)+1))
			time.Sleep(pause)
			s.c.Network.Heal()
		case 2:
			s.count("nemesis crash")
			s.c.Crash(id)
			time.Sleep(pause)
			s.c.Up(id)
		case 3:
			s.count("nemesis transfer")
			if n, ok := s.c.Get(id); ok {
				_ = n.TransferLeader(context.Background(), "") // whoever leads
			}
		case 4:
			s.count("nemesis lost answers")
			s.c.Network.LoseReplies(func(clustertest.Call) bool { return rand.IntN(3) == 0 })
			time.Sleep(pause)
			s.c.Network.LoseReplies(nil)
		}
	}
}

// inOrder compares two events of one lock by the log; one entry may hold
// several, and then their tokens tell.
func inOrder(a, b event) int {
	switch {
	case a.index != b.index:
		return cmp.Compare(a.index, b.index)
	case a.token != b.token:
		return cmp.Compare(a.token.Counter, b.token.Counter)
	case a.grant:
		return -1
	}
	return 1
}

// checkEnd checks what clients were told, and that all nodes have it in the end.
func (s *soak) checkEnd() {
	s.t.Helper()
	s.check()
	view, err := s.c.Node(s.c.Leader()).View(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	mustAgree(s.t, s.c)
	if view.Index() < s.acked.Load() || state.GetStats(view).LastToken.IsZero() {
		s.t.Errorf("the state stands at %d, clients were told %d", view.Index(), s.acked.Load())
	}
}

// check judges what clients were told: in the order of the log, each lock is
// granted and freed in turn as far as they know, with rising tokens.
func (s *soak) check() {
	for text, events := range s.events {
		slices.SortFunc(events, inOrder)
		var last event
		for _, e := range events {
			if e.grant && !last.token.Less(e.token) {
				s.t.Errorf("%s: token %v at %d after %v at %d", text, e.token, e.index, last.token, last.index)
			}
			if !e.grant && last.grant && (last.token != e.token) && !last.token.Less(e.token) {
				s.t.Errorf("%s: freed %v at %d, granted was %v at %d", text, e.token, e.index, last.token, last.index)
			}
			if !e.grant && !last.grant && last.index != 0 && last.token == e.token {
				s.t.Errorf("%s: token %v was freed twice, at %d and %d", text, e.token, last.index, e.index)
			}
			last = e
		}
	}
}

func soakLength(t *testing.T) time.Duration {
	t.Helper()
	length := 3 * time.Minute
	if env := os.Getenv(soakEnv); env != "" {
		var err error
		if length, err = time.ParseDuration(env); err != nil {
			t.Fatalf("%s: %v", soakEnv, err)
		}
	}
	return length
}

// Under partitions, one-way cuts, crashes, transfers and lost answers, no read
// is stale, no answer is older than its request, no lock is granted twice, and
// in the end all nodes hold the same state.
func TestSoak(t *testing.T) {
	length := soakLength(t)
	rnd := testutil.Rand(t)
	small := func(c *cluster.Config) { c.SnapshotThreshold, c.SnapshotInterval = 64, 2*time.Second }
	inBubble(t, clustertest.Options{Configure: small}, func(t *testing.T, c *clustertest.Cluster) {
		s := &soak{t: t, c: c, rnd: rnd, events: map[string][]event{}, counts: map[string]int{}}
		c.Leader()
		var clients, nemesis sync.WaitGroup
		for i := range 6 {
			source := rand.New(rand.NewPCG(rnd.Uint64(), 0))
			clients.Go(func() { s.client(source, i) })
		}
		nemesis.Go(s.nemesis)
		time.Sleep(length)
		s.stop.Store(true)
		nemesis.Wait()
		clients.Wait()
		s.checkEnd()
		for _, id := range c.Running() {
			if err := c.Halted(id, time.Millisecond); err != nil {
				t.Errorf("%s halted: %v", id, err)
			}
		}
		t.Logf("%s of virtual time: %v", length, s.counts)
		if s.counts["granted"] < 100 {
			t.Error("hardly anything was granted: the test shows nothing")
		}
	})
}
