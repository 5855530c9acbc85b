package cluster_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/cluster/clustertest"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

var errGone = errors.New("the process is gone")

// lockedRand is a random source for several goroutines.
type lockedRand struct {
	mu  sync.Mutex
	rnd *rand.Rand
}

func (l *lockedRand) IntN(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rnd.IntN(n)
}

func (l *lockedRand) millis(n int) time.Duration {
	return time.Duration(l.IntN(n*1000)) * time.Microsecond
}

// loneFollower lets what id, if it leads, is about to write come to one follower
// only, which is then cut off until the others, of whom none has it, have gone on.
func (s *soak) loneFollower(id string) {
	others := slices.DeleteFunc([]string{"n1", "n2", "n3"}, func(n string) bool { return n == id })
	has, hasNot := others[s.rnd.IntN(2)], ""
	for _, n := range others {
		if n != has {
			hasNot = n
		}
	}
	s.c.Network.Cut(id, hasNot)
	release := s.c.Disk(id).HangWrites()
	time.Sleep(time.Duration(50+s.rnd.IntN(300)) * time.Millisecond)
	s.c.Network.Isolate(has, "n1", "n2", "n3")
	s.kill(id, release)
	s.c.Network.Heal()
	s.c.Network.Isolate(has, "n1", "n2", "n3")
	s.c.Up(id)
	time.Sleep(time.Duration(s.rnd.IntN(5000)) * time.Millisecond)
	s.c.Network.Heal()
}

// kill ends a node whose disk hangs: what it was writing is lost.
func (s *soak) kill(id string, release func()) {
	s.c.Disk(id).FailWrites(errGone)
	release()
	if err := s.c.Halted(id, 2*time.Second); err == nil {
		s.c.Crash(id)
	}
	s.c.Disk(id).FailWrites(nil)
}

// disks breaks what lies under raft, most often under the leader.
func (s *soak) disks() {
	for !s.stop.Load() {
		time.Sleep(time.Duration(200+s.rnd.IntN(3000)) * time.Millisecond)
		id := []string{"n1", "n2", "n3"}[s.rnd.IntN(3)]
		for _, n := range s.c.Running() {
			if s.c.Node(n).IsLeader() && s.rnd.IntN(4) > 0 {
				id = n
			}
		}
		switch s.rnd.IntN(6) {
		case 0:
			s.count("nemesis disk hangs")
			release := s.c.Disk(id).HangWrites()
			time.Sleep(time.Duration(10+s.rnd.IntN(4000)) * time.Millisecond)
			release()
		case 1:
			// Its last write never happens, though the others may have the entry.
			s.count("nemesis killed while it writes")
			release := s.c.Disk(id).HangWrites()
			time.Sleep(time.Duration(s.rnd.IntN(1500)) * time.Millisecond)
			s.kill(id, release)
			time.Sleep(time.Duration(s.rnd.IntN(2000)) * time.Millisecond)
			s.c.Up(id)
		case 2:
			s.count("nemesis isolate")
			s.c.Network.Isolate(id, "n1", "n2", "n3")
			time.Sleep(time.Duration(100+s.rnd.IntN(3000)) * time.Millisecond)
			s.c.Network.Heal()
		case 3:
			s.count("nemesis transfer")
			if n, ok := s.c.Get(id); ok {
				_ = n.TransferLeader(context.Background(), "") // whoever leads
			}
		case 4:
			s.count("nemesis one follower has it")
			s.loneFollower(id)
		case 5:
			s.count("nemesis hangs and is cut off")
			release := s.c.Disk(id).HangWrites()
			time.Sleep(time.Duration(s.rnd.IntN(200)) * time.Millisecond)
			s.c.Network.Isolate(id, "n1", "n2", "n3")
			time.Sleep(time.Duration(100+s.rnd.IntN(2500)) * time.Millisecond)
			release()
			time.Sleep(time.Duration(s.rnd.IntN(1000)) * time.Millisecond)
			s.c.Network.Heal()
		}
	}
}

// With disks and a network of different and changing speed, disks that hang, nodes
// that die while they write, connections that break and what was on them arriving
// late: what is acknowledged is on the disks of a majority, no lock is granted
// twice, and in the end all nodes hold the same state.
func TestSoakOfSlowDisks(t *testing.T) {
	rnd := testutil.Rand(t)
	small := func(c *cluster.Config) { c.SnapshotThreshold, c.SnapshotInterval = 64, 2*time.Second }
	inBubble(t, clustertest.Options{Configure: small}, func(t *testing.T, c *clustertest.Cluster) {
		s := &soak{t: t, c: c, rnd: rnd, events: map[string][]event{}, counts: map[string]int{}}
		ids := []string{"n1", "n2", "n3"}
		s.told = func(index uint64) {
			holders := 0
			for _, id := range ids {
				if c.Disk(id).Holds(index) {
					holders++
				}
			}
			if holders < 2 {
				t.Errorf("entry %d is acknowledged, and on the disk of %d", index, holders)
			}
		}
		c.Leader()
		chance := &lockedRand{rnd: rand.New(rand.NewPCG(rnd.Uint64(), 0))}
		for i, id := range ids {
			most := []int{4, 12, 40}[(i+rnd.IntN(3))%3]
			c.Disk(id).SlowWrites(func() time.Duration { return chance.millis(most) })
		}
		c.Network.Wires(func() clustertest.Wire {
			w := clustertest.Wire{Delay: chance.millis(3), Late: chance.millis(3000)}
			if chance.IntN(20) == 0 {
				w.Delay = chance.millis(120)
			}
			w.Breaks = chance.IntN(300) == 0
			return w
		})
		var clients, nemesis sync.WaitGroup
		for i := range 3 {
			source := rand.New(rand.NewPCG(rnd.Uint64(), 0))
			clients.Go(func() { s.client(source, i) })
		}
		nemesis.Go(s.disks)
		time.Sleep(soakLength(t))
		s.stop.Store(true)
		nemesis.Wait()
		c.Network.Wires(nil)
		for _, id := range ids {
			c.Disk(id).SlowWrites(nil)
		}
		clients.Wait()
		time.Sleep(5 * time.Second) // what is late has arrived
		s.checkEnd()
		t.Logf("%v", s.counts)
		if s.counts["granted"] < 100 {
			t.Error("hardly anything was granted: the test shows nothing")
		}
	})
}
