package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/internal/testutil"
	"github.com/lockcluster/lockcluster/rpc"
)

// fencedText is what a node logs when its legacy system refuses a write.
const fencedText = "the legacy system refused a write"

// A leader is stopped (SIGSTOP) while a write of it is on its way to the legacy
// store, and another one takes over. When the write arrives, the store refuses
// it: what the new leader has granted stays granted, and the old leader, when it
// goes on, answers that. LOCKCLUSTER_DEPOSED says how often. (Package
// backendtest proves at the level of a store that no write below a raised fence
// is done.)
func TestDeposedLeaderIsRefused(t *testing.T) {
	rounds := times(t, "LOCKCLUSTER_DEPOSED", 2)
	onBoth(t, func(t *testing.T, kind string) {
		rnd := testutil.Rand(t)
		steps := t.TempDir()
		r := &road{kind: kind, proxies: map[string]*holdingProxy{}}
		r.start(t, stepTags, "TEST_LOCKCLUSTER_STEPS="+steps)
		r.switchTo(t, "enhanced") // blue-green: the enhanced store is compared too
		r.switchTo(t, "legacy")
		f := startFleet(t, r, crashClients, rnd.Uint64())
		f.hold(t, 20)
		for i := range rounds {
			r.depose(t, f, steps, i)
			f.paused(func() {
				if !r.audit(t, f.ledger) {
					t.Fatalf("round %d", i+1)
				}
			})
		}
		f.close()
		f.report(t, true)
		t.Logf("%s: %d writes of deposed leaders reached the legacy store; all were refused", kind, rounds)
	})
}

// wayToStore is where a write can be kept back on its way to the legacy store:
// in the host that has the file, or in the network before the Redis.
type wayToStore struct {
	hold, release func()
	held          func() bool
	refused       func() int // writes that the store has refused
}

func (r *road) wayOf(t *testing.T, leader *Node, steps string) wayToStore {
	t.Helper()
	if r.kind == kindRedis {
		p := r.proxies[leader.ID]
		return wayToStore{
			hold: p.hold, release: p.release,
			held:    func() bool { held, _ := p.counts(); return held > 0 },
			refused: func() int { _, refused := p.counts(); return refused },
		}
	}
	host, reached := r.Node(t, legacyHost), filepath.Join(steps, "write.reached")
	return wayToStore{
		hold:    func() { mark(t, filepath.Join(steps, "write")) },
		release: func() { _ = os.Remove(reached) },
		held:    func() bool { _, err := os.Stat(reached); return err == nil },
		refused: func() int { return host.logged(t, fencedText) },
	}
}

// depose stops a leader while a write is under way, lets another one take over
// and decide about the same key, and then lets the write arrive.
func (r *road) depose(t *testing.T, f *fleet, steps string, round int) {
	t.Helper()
	leader := r.Leader(t)
	if r.kind == kindBolt {
		leader = r.leadBy(t, legacyHost) // the file stays within reach
	}
	way := r.wayOf(t, leader, steps)
	before := way.refused()
	ended := make(chan lockcluster.Result, 1)
	key := lockcluster.Key{Namespace: lockcluster.DefaultNamespace, Repo: "acme/deposed", Path: fmt.Sprintf("d%d", round), Workspace: "default"}
	f.paused(func() { // the write that is kept back is this one
		r.settleMirror(t)
		way.hold()
		go func() { ended <- r.acquireAt(leader, key, 1) }()
		testutil.WaitFor(t, 10*time.Second, way.held)
	})
	leader.Signal(syscall.SIGSTOP)
	defer leader.Signal(syscall.SIGCONT)
	next := r.nextLeader(t, leader)
	// The new leader gives the key to another pull request.
	if res := r.acquireAt(next, key, 2); res.Status != lockcluster.StatusGranted {
		t.Fatalf("the new leader answered %s %s", res.Status, res.Text)
	}
	f.granted(compat.LockKeyPrefix+key.Text(), "#2")
	way.release()
	testutil.WaitFor(t, 10*time.Second, func() bool { return way.refused() > before })
	leader.Signal(syscall.SIGCONT)
	if res := <-ended; res.Status == lockcluster.StatusGranted || res.Status == lockcluster.StatusAlreadyHeld {
		t.Errorf("the deposed leader answered %s", res.Status)
	}
	testutil.WaitFor(t, 30*time.Second, func() error {
		s, err := r.statusAt(t.Context(), leader)
		if err == nil && (s.Leader == "" || s.Leader == leader.ID) {
			err = fmt.Errorf("the deposed leader thinks that %q leads", s.Leader)
		}
		return err
	})
}

// nextLeader waits until another node has taken over, fence and all.
func (r *road) nextLeader(t *testing.T, stopped *Node) *Node {
	t.Helper()
	var endpoints []string
	for _, n := range r.All {
		if n != stopped {
			endpoints = append(endpoints, n.GRPC)
		}
	}
	client := r.dial(t, endpoints...)
	var leader string
	testutil.WaitFor(t, 30*time.Second, func() error {
		s, err := migrationAt(t.Context(), client)
		if err == nil && (s.Leader == stopped.ID || !s.Ready) {
			err = fmt.Errorf("leader %s, ready %v", s.Leader, s.Ready)
		}
		leader = s.Leader
		return err
	})
	return r.Node(t, leader)
}

// acquireAt asks one node, once, for a lock as Atlantis stores it; the zero
// result means that there was no answer.
func (r *road) acquireAt(n *Node, key lockcluster.Key, pull int) lockcluster.Result {
	ctx, cancel := context.WithTimeout(context.Background(), answerIn)
	defer cancel()
	c, err := rpc.Dial(ctx, rpc.ClientConfig{Endpoints: []string{n.GRPC}})
	if err != nil {
		return lockcluster.Result{}
	}
	defer c.Close()
	res, err := c.Do(ctx, lockcluster.RequestID{}, acquireRequest(key, pull))
	if err != nil {
		return lockcluster.Result{}
	}
	return res
}

// acquireRequest is what the Redis door makes of an Atlantis's SET.
func acquireRequest(key lockcluster.Key, pull int) lockcluster.Acquire {
	_, value := lockRecord(key.Repo, key.Path, pull)
	return lockcluster.Acquire{
		Key: key, Owner: lockcluster.Owner{Host: "github.com", Repo: key.Repo, Pull: pull}, User: "jane", Value: []byte(value),
	}
}

// logged counts the lines with text in a node's log.
func (n *Node) logged(t testing.TB, text string) int {
	t.Helper()
	b, err := os.ReadFile(n.log)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), text)
}
