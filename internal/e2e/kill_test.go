package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

const loadClients = 64

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{}) // doors that do not answer are what these tests are about
	code := m.Run()
	RemoveBinary()
	os.Exit(code)
}

// quiet keeps go-redis from writing beside the tests' own output.
type quiet struct{}

// Printf implements go-redis's logging interface.
func (quiet) Printf(context.Context, string, ...any) {}

// times returns how often a fault shall strike: the environment variable, or
// what a commit's run can afford.
func times(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	s := os.Getenv(variable)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a number above 0", variable, s)
	}
	return n
}

// pause waits for a random moment: faults must strike at any point of the load.
func pause(rnd *rand.Rand) {
	<-time.After(300*time.Millisecond + time.Duration(rnd.Int64N(int64(time.Second))))
}

// Every acknowledged lock survives the leader's kill -9 at random moments, and
// none is granted twice. LOCKCLUSTER_KILLS says how many kills.
func TestKillLeader(t *testing.T) {
	kills := times(t, "LOCKCLUSTER_KILLS", 3)
	seed := uint64(testutil.Seed(t))
	rnd := rand.New(rand.NewPCG(seed, 0))
	c := Start(t, 3)
	load := StartLoad(t, c, loadClients, seed)
	var at []time.Duration
	for range kills {
		pause(rnd)
		leader := c.Leader(t)
		at = append(at, time.Since(load.Start))
		leader.Kill()
		pause(rnd)
		leader.Start(t)
		c.WaitServing(t)
	}
	pause(rnd)
	reportGaps(t, "kill -9 of the leader", load, c, at)
}

// Nothing acknowledged is lost when all nodes are killed at once under load.
// LOCKCLUSTER_KILLS_ALL says how often.
func TestKillAll(t *testing.T) {
	kills := times(t, "LOCKCLUSTER_KILLS_ALL", 2)
	seed := uint64(testutil.Seed(t))
	rnd := rand.New(rand.NewPCG(seed, 0))
	c := Start(t, 3)
	load := StartLoad(t, c, loadClients, seed)
	var at []time.Duration
	for range kills {
		pause(rnd)
		at = append(at, time.Since(load.Start))
		for _, n := range c.All {
			n.Signal(os.Kill)
		}
		for _, n := range c.All {
			n.Kill() // waits until it is gone
		}
		for _, n := range c.All {
			n.Start(t)
		}
		c.WaitServing(t)
	}
	pause(rnd)
	reportGaps(t, "kill -9 of all nodes, restart included", load, c, at)
}

// A planned transfer of leadership loses nothing and is hardly felt.
// LOCKCLUSTER_TRANSFERS says how many.
func TestTransferLeader(t *testing.T) {
	transfers := times(t, "LOCKCLUSTER_TRANSFERS", 3)
	seed := uint64(testutil.Seed(t))
	rnd := rand.New(rand.NewPCG(seed, 0))
	c := Start(t, 3)
	load := StartLoad(t, c, loadClients, seed)
	var at []time.Duration
	for range transfers {
		pause(rnd)
		at = append(at, transferLeader(t, load, c))
	}
	pause(rnd)
	reportGaps(t, "planned transfer", load, c, at)
}

// transferLeader has another node lead, and returns when that began. On a busy
// machine an election of another cause may come between: a transfer that it has
// ended, or undone at once, is asked for again.
func transferLeader(t *testing.T, load *Load, c *Nodes) (began time.Duration) {
	t.Helper()
	testutil.WaitFor(t, time.Minute, func() error {
		before := c.Leader(t).ID
		began = time.Since(load.Start)
		out, err := c.Run(t.Context(), "cluster", "transfer-leader", "-o", "json")
		var told struct {
			Leader string `json:"leader"`
		}
		if err == nil {
			err = json.Unmarshal(out, &told)
		}
		if err == nil && told.Leader == before {
			err = fmt.Errorf("%s leads still", before)
		}
		if now := c.Leader(t).ID; err == nil && now != told.Leader {
			err = fmt.Errorf("%s was told to lead, %s does", told.Leader, now)
		}
		if err != nil {
			t.Log("asked for again:", err)
		}
		return err
	})
	return began
}

// reportGaps audits the history and logs how long writes stood still.
func reportGaps(t *testing.T, what string, load *Load, c *Nodes, at []time.Duration) {
	t.Helper()
	testutil.WaitFor(t, time.Minute, func() bool {
		_, ok := NextWrite(load.Recorder.Ops(), at[len(at)-1])
		return ok
	})
	ops := load.Audit(t, c)
	var gaps []time.Duration
	for _, moment := range at {
		gap, ok := NextWrite(ops, moment)
		if !ok {
			t.Errorf("no write was acknowledged after the fault at %s", moment)
		}
		gaps = append(gaps, gap)
	}
	t.Logf("%s, %d times: time to the next acknowledged write p50 %s, p90 %s, p99 %s", what, len(at),
		Percentile(gaps, 50).Round(time.Millisecond), Percentile(gaps, 90).Round(time.Millisecond), Percentile(gaps, 99).Round(time.Millisecond))
}
