package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/internal/testutil"
	"github.com/lockcluster/lockcluster/migration/controller"
	"github.com/lockcluster/lockcluster/rpc"
)

const (
	stepTags     = plainTags + ",lockcluster_steps"
	crashClients = 8
	// worksAgain is how long after its restart a cluster may take to answer.
	worksAgain = 10 * time.Second
)

// crashCase is one crash in the middle of a switch.
type crashCase struct {
	step   string // of [controller.Steps]
	victim string // leader, host, both
	to     string
}

func (c crashCase) String() string {
	return fmt.Sprintf("%s killed at %q, to %s", c.victim, c.step, c.to)
}

// crashCases are all of them, in an order that follows from rnd.
func crashCases(rnd *rand.Rand) []crashCase {
	var all []crashCase
	for _, step := range controller.Steps {
		for _, victim := range []string{"leader", "host", "both"} {
			for _, to := range []string{"enhanced", "legacy"} {
				all = append(all, crashCase{step, victim, to})
			}
		}
	}
	rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// kill -9 of the leader, of the legacy system's host or of both at any step of
// a switch leaves one authority that all nodes agree on, an open gate, and two
// systems that hold the same: every acknowledged lock and no other.
// LOCKCLUSTER_STEP_CRASHES says how often each case happens; without it a few
// cases happen once, others in each run.
func TestCrashAtEveryStep(t *testing.T) {
	const some = 4
	onBoth(t, func(t *testing.T, kind string) {
		rnd := testutil.Rand(t)
		cases := crashCases(rnd)
		if os.Getenv("LOCKCLUSTER_STEP_CRASHES") == "" {
			cases = cases[:some]
		} else {
			cases = slices.Repeat(cases, times(t, "LOCKCLUSTER_STEP_CRASHES", 1))
		}
		steps := t.TempDir()
		r := startRoad(t, kind, stepTags, "TEST_LOCKCLUSTER_STEPS="+steps)
		f := startFleet(t, r, crashClients, rnd.Uint64())
		f.hold(t, 50)
		tally := map[string]int{}
		var again []time.Duration
		for i, c := range cases {
			took := r.crash(t, f, c, steps, rnd, tally)
			again = append(again, took)
			if t.Failed() {
				t.Fatalf("case %d of %d: %s", i+1, len(cases), c)
			}
		}
		f.close()
		f.report(t, true)
		t.Logf("%s: %d crashes in a switch; after it: %v; requests worked again after the restart within p50 %s, max %s",
			kind, len(cases), tally, round(Percentile(again, 50)), round(Percentile(again, 100)))
	})
}

// crash lets one case happen and judges what is left. It returns how long after
// the restart requests worked again.
func (r *road) crash(t *testing.T, f *fleet, c crashCase, steps string, rnd *rand.Rand, tally map[string]int) time.Duration {
	t.Helper()
	from := lockcluster.SystemLegacy.String()
	if c.to == from {
		from = lockcluster.SystemEnhanced.String()
	}
	if s := r.mustMigration(t); s.Active != from || s.Mode != lockcluster.ModeBlueGreen.String() {
		r.switchTo(t, c.to) // of two switches the second one ends in mode blue-green
		r.switchTo(t, from)
	}
	// The leader is another node than the host, or, with both killed, now and
	// then the same.
	leader := r.Leader(t)
	if c.victim != "both" || rnd.IntN(2) == 0 {
		leader = r.leadBy(t, legacyHost)
	}
	mark(t, filepath.Join(steps, c.step))
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_, err := r.client.Switch(ctx, lockcluster.SwitchRequest{To: c.to, Reason: "test", Timeout: 10 * time.Second})
		ended <- err
	}()
	reached := filepath.Join(steps, c.step+".reached")
	testutil.WaitFor(t, 30*time.Second, func() error {
		_, err := os.Stat(reached)
		select {
		case end := <-ended:
			ended <- end
			if err != nil {
				t.Fatalf("%s: the switch ended before: %v", c, end)
			}
		default:
		}
		return err
	})
	r.strike(t, c.victim, leader, reached, rnd)
	start := time.Now()
	r.worksAgain(t, c)
	took := time.Since(start)
	answer := <-ended
	active := r.oneAuthority(t, c)
	tally["active "+map[bool]string{true: "the new one", false: "the old one"}[active == c.to]]++
	committed := slices.Index(controller.Steps, c.step) >= slices.Index(controller.Steps, "committed")
	switch {
	case c.victim != "host" && committed != (active == c.to):
		t.Errorf("%s: afterwards the %s system decides", c, active)
	case answer == nil && active != c.to, errors.Is(answer, rpc.ErrRefused) && active != from && c.victim == "host":
		t.Errorf("%s: the switch answered %v, afterwards the %s system decides", c, answer, active)
	}
	f.paused(func() { r.audit(t, f.ledger) })
	return took
}

func mark(t testing.TB, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// strike kills the victims while the leader stands at a step, lets it go on if
// it still lives, and starts them again.
func (r *road) strike(t *testing.T, victim string, leader *Node, reached string, rnd *rand.Rand) {
	t.Helper()
	var nodes []*Node
	if victim != "host" {
		nodes = append(nodes, leader)
	}
	redisToo := victim != "leader" && r.kind == kindRedis
	if host := r.All[0]; victim != "leader" && r.kind == kindBolt && !slices.Contains(nodes, host) {
		nodes = append(nodes, host)
	}
	for _, n := range nodes {
		n.Signal(os.Kill)
	}
	for _, n := range nodes {
		n.Kill()
	}
	if redisToo {
		r.redis.kill()
	}
	if err := os.Remove(reached); err != nil {
		t.Fatal(err)
	}
	if victim == "host" && rnd.IntN(2) == 0 {
		pause(rnd) // the leader meets the dead host
	}
	for _, n := range nodes {
		n.Start(t)
	}
	if redisToo {
		r.redis.start(t)
	}
}

// worksAgain waits until a write and a read succeed at every door.
func (r *road) worksAgain(t *testing.T, c crashCase) {
	t.Helper()
	deadline := time.Now().Add(worksAgain)
	for _, node := range r.All {
		door := redis.NewClient(&redis.Options{Addr: node.RESP, MaxRetries: -1})
		defer door.Close()
		testutil.WaitFor(t, time.Until(deadline), func() error {
			// A lock that nobody else wants, taken and given back.
			key, value := lockRecord("acme/probe", node.ID, 1)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if err := door.Set(ctx, key, value, 0).Err(); err != nil {
				return fmt.Errorf("%s: at %s: %w", c, node.ID, err)
			}
			return door.Del(ctx, key).Err()
		})
	}
}

// oneAuthority waits until all nodes say the same about who decides, and
// returns it.
func (r *road) oneAuthority(t *testing.T, c crashCase) string {
	t.Helper()
	var active string
	testutil.WaitFor(t, worksAgain, func() error {
		var first Status
		for i, node := range r.All {
			s, err := r.statusAt(t.Context(), node)
			if err != nil {
				return fmt.Errorf("%s: %w", c, err)
			}
			if i == 0 {
				first = s
			}
			if s.Leader != first.Leader || s.Mode != first.Mode || s.Active != first.Active || s.Epoch != first.Epoch {
				return fmt.Errorf("%s: %s says leader %s, %s %s, epoch %d, and %s says leader %s, %s %s, epoch %d", c, r.All[0].ID,
					first.Leader, first.Mode, first.Active, first.Epoch, node.ID, s.Leader, s.Mode, s.Active, s.Epoch)
			}
		}
		m, err := r.migration(t.Context())
		switch {
		case err != nil:
			return err
		case m.GateClosed || !m.Ready || m.Active != first.Active:
			return fmt.Errorf("%s: gate closed %v, ready %v, active %s", c, m.GateClosed, m.Ready, m.Active)
		}
		active = first.Active
		return nil
	})
	return active
}
