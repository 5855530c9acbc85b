package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// V15: a switch to the enhanced system with 50 clients under way and the leader
// killed in the middle of it: no key is held in both systems, and there is one
// epoch. (TestCrashAtEveryStep does it at every step.)
func TestV15SwitchWithLeaderKilled(t *testing.T) {
	const clients = 50
	onBoth(t, func(t *testing.T, kind string) {
		rnd := testutil.Rand(t)
		steps := t.TempDir()
		r := startRoad(t, kind, stepTags, "TEST_LOCKCLUSTER_STEPS="+steps)
		f := startFleet(t, r, clients, rnd.Uint64())
		f.hold(t, 50)
		tally := map[string]int{}
		for _, step := range []string{"copy", "committed"} {
			took := r.crash(t, f, crashCase{step: step, victim: "leader", to: "enhanced"}, steps, rnd, tally)
			t.Logf("%s: killed at %q: requests worked again %s after the restart", kind, step, round(took))
		}
		f.close()
		f.report(t, true)
	})
}

// V20: in mode shadow the enhanced system stands still. The legacy system's
// answers come as before; what it decided is compared, or counted as left out.
func TestV20ShadowWithEnhancedDown(t *testing.T) {
	const requests, attempts = 5, 10
	onBoth(t, func(t *testing.T, kind string) {
		r := startRoad(t, kind, "")
		r.mode(t, "shadow")
		leader := r.Leader(t)
		if kind == kindBolt {
			leader = r.leadAt(t, legacyHost) // the file is beside the leader: nothing else is needed for an answer
		}
		for try := 1; ; try++ {
			worst, ok := r.askWhileDown(t, leader, fmt.Sprintf("acme/down-%d", try), requests)
			r.WaitServing(t)
			if ok {
				t.Logf("%s: %d answers of the legacy system while the enhanced one stood still, within %s (attempt %d)", kind, requests, round(worst), try)
				break
			}
			if leader = r.Leader(t); kind == kindBolt {
				leader = r.leadAt(t, legacyHost)
			}
			if try == attempts {
				t.Fatalf("in %d attempts the leader's lease ended before %d answers came", attempts, requests)
			}
		}
		s := r.settleShadow(t)
		if s.Shadow.Operations < requests || s.Shadow.Compared+s.Shadow.Skipped != s.Shadow.Operations || s.Shadow.Total > 0 {
			t.Errorf("%+v", s.Shadow)
		}
		r.settleMirror(t)
		for _, d := range differences("the legacy store", r.readLegacy(t), "the enhanced store", r.readEnhanced(t)) {
			t.Error(d)
		}
	})
}

// askWhileDown stops the leader's followers, so that nothing can be committed,
// and asks the leader for locks. It reports the longest wait, and whether all
// were granted before the leader's lease ended.
func (r *road) askWhileDown(t *testing.T, leader *Node, repo string, requests int) (worst time.Duration, ok bool) {
	t.Helper()
	c := r.dial(t, leader.GRPC)
	if _, _, err := c.GetLock(t.Context(), lockcluster.DefaultNamespace, "acme/a/b/c/"); err != nil { // connected
		return 0, false
	}
	before, err := r.Status(t.Context())
	if err != nil {
		return 0, false
	}
	for _, n := range r.All {
		if n != leader {
			n.Signal(syscall.SIGSTOP)
			defer n.Signal(syscall.SIGCONT)
		}
	}
	start := time.Now()
	for i := range requests {
		key := lockcluster.Key{Namespace: lockcluster.DefaultNamespace, Repo: repo, Path: fmt.Sprintf("d%d", i), Workspace: "default"}
		asked := time.Now()
		res, err := c.Do(t.Context(), lockcluster.RequestID{}, acquireRequest(key, 1))
		if err != nil || res.Status != lockcluster.StatusGranted {
			return 0, false
		}
		worst = max(worst, time.Since(asked))
	}
	// The lease ends a quarter of a second after the last word of a follower.
	return worst, before.Leader == leader.ID && time.Since(start) < 250*time.Millisecond
}

// leadAt has that node lead.
func (r *road) leadAt(t testing.TB, id string) (leader *Node) {
	t.Helper()
	testutil.WaitFor(t, time.Minute, func() error {
		if leader = r.Leader(t); leader.ID == id {
			return nil
		}
		_, err := r.Run(t.Context(), "cluster", "transfer-leader", id)
		return fmt.Errorf("%s leads: %w", leader.ID, err)
	})
	return leader
}
