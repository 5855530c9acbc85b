package health

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promtest "github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/lockcluster/lockcluster"
)

// cluster is a migration that can be switched, with clients that use it.
type cluster struct {
	rec     *Recorder
	monitor *Monitor
	ctl     *RollbackController
	metrics *MigrationMetrics

	mu      sync.Mutex // guards what follows
	active  lockcluster.System
	calls   []string // the reasons of all rollbacks that were asked for
	events  []RollbackEvent
	refuses error         // what a rollback fails with
	takes   time.Duration // how long a rollback takes
}

// newCluster returns a cluster whose enhanced system decides, watched under
// the default policy with the changes of change.
func newCluster(t *testing.T, change func(*RollbackPolicy)) *cluster {
	t.Helper()
	c := &cluster{rec: mustRecorder(t, nil), active: enhanced}
	c.monitor = NewMonitor(MonitorConfig{Recorder: c.rec, Active: c.current})
	metrics, err := NewMigrationMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	c.metrics = metrics
	policy := DefaultRollbackPolicy()
	policy.Enabled = true
	if change != nil {
		change(&policy)
	}
	c.ctl, err = NewRollbackController(RollbackConfig{Source: c.monitor, Switcher: c, Policy: policy, Metrics: c.metrics, OnEvent: c.event})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { c.monitor.Run(ctx) })
	wg.Go(func() { c.ctl.MonitorAndRollback(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return c
}

func (c *cluster) current() lockcluster.System {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active
}

func (c *cluster) State() bool { return c.current() == enhanced }

func (c *cluster) Rollback(ctx context.Context, reason string) error {
	c.mu.Lock()
	c.calls = append(c.calls, reason)
	refuses, takes := c.refuses, c.takes
	c.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(takes):
	}
	if refuses != nil {
		return refuses
	}
	c.switchTo(legacy)
	return nil
}

func (c *cluster) event(e RollbackEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e)
}

func (c *cluster) switchTo(s lockcluster.System) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active = s
}

// serve has clients ask the active system 20 times a second; of the enhanced
// system's answers failing of 100 fail.
func (c *cluster) serve(length time.Duration, latency time.Duration, failing int) {
	for i := range int(length / (50 * time.Millisecond)) {
		s := c.current()
		c.rec.Observe(s, "acquire", latency, s == enhanced && i*failing%100 < failing)
		time.Sleep(50 * time.Millisecond)
	}
}

// expect checks how many rollbacks there were, everywhere they are counted.
func (c *cluster) expect(t *testing.T, rollbacks int, state RollbackState) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	calls, events := len(c.calls), len(c.events)
	c.mu.Unlock()
	st := c.ctl.Status()
	if calls != rollbacks || events != rollbacks || st.Rollbacks != uint64(rollbacks) || len(st.Events) != rollbacks ||
		promtest.ToFloat64(c.metrics.rollbacks) != float64(rollbacks) {
		t.Errorf("%d rollbacks, %d events, %d and %d in the status, metric %v; want %d", calls, events, st.Rollbacks, len(st.Events),
			promtest.ToFloat64(c.metrics.rollbacks), rollbacks)
	}
	if st.State != state {
		t.Errorf("state = %s, want %s", st.State, state)
	}
}

// V16: 6 % errors over the minimum sample give exactly one rollback, one count
// and one event, and the legacy system decides.
func TestV16SixPercentErrorsRollBackOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		c.serve(2*time.Minute, 10*time.Millisecond, 0)
		c.expect(t, 0, RollbackWatching)
		c.serve(10*time.Minute, 10*time.Millisecond, 6)
		c.expect(t, 1, RollbackStandby)
		if c.current() != legacy {
			t.Error("the legacy system does not decide")
		}
		if reason := c.ctl.Status().Events[0].Reason; !strings.Contains(reason, "threshold 5.0 %") {
			t.Errorf("reason = %q", reason)
		}
	})
}

// A share of errors below the threshold is no reason to roll back.
func TestFourPercentErrorsAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		c.serve(10*time.Minute, 10*time.Millisecond, 4)
		c.expect(t, 0, RollbackWatching)
	})
}

// V17: one error of one call, or 49 errors of 49, say nothing.
func TestV17TooFewSamplesDoNotRollBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		time.Sleep(20 * time.Second)
		c.rec.Observe(enhanced, "acquire", time.Millisecond, true)
		time.Sleep(5 * time.Minute)
		c.expect(t, 0, RollbackWatching)
		for range DefaultMinSamples - 1 {
			c.rec.Observe(enhanced, "acquire", time.Millisecond, true)
		}
		time.Sleep(5 * time.Minute)
		c.expect(t, 0, RollbackWatching)
		for range DefaultMinSamples {
			c.rec.Observe(enhanced, "acquire", time.Millisecond, true)
		}
		time.Sleep(20 * time.Second)
		c.expect(t, 1, RollbackCooldown)
	})
}

// The p95 latency is a reason only if the policy says so, and against what the
// legacy system had before the switch.
func TestLatencyRollsBack(t *testing.T) {
	for _, tt := range []struct {
		ratio float64
		want  int
	}{{0, 0}, {1.5, 1}, {3, 0}} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, func(p *RollbackPolicy) { p.P95Ratio = tt.ratio })
			c.switchTo(legacy)
			c.serve(2*time.Minute, 10*time.Millisecond, 0)
			c.switchTo(enhanced)
			c.serve(10*time.Minute, 20*time.Millisecond, 0)
			if got := c.ctl.Status().Rollbacks; got != uint64(tt.want) {
				t.Errorf("p95 ratio %v: %d rollbacks, want %d", tt.ratio, got, tt.want)
			}
		})
	}
}

// Without a legacy figure to compare with, latency is no reason.
func TestLatencyWithoutBaseline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, func(p *RollbackPolicy) { p.P95Ratio = 1.5 })
		c.serve(5*time.Minute, 5*time.Second, 0)
		c.expect(t, 0, RollbackWatching)
	})
}

// A legacy figure of fewer operations than the policy asks for is none.
func TestLatencyAgainstFewSamples(t *testing.T) {
	p := enabledPolicy()
	p.P95Ratio = 1.5
	enough := Window{Count: p.MinSamples, P95: 10 * time.Millisecond}
	slow := Window{Count: p.MinSamples, P95: 20 * time.Millisecond}
	if p.judge(slow, enough) == "" {
		t.Error("twice the latency is no reason")
	}
	few := enough
	few.Count--
	if reason := p.judge(slow, few); reason != "" {
		t.Errorf("against too few: %s", reason)
	}
	slow.Count--
	if reason := p.judge(slow, enough); reason != "" {
		t.Errorf("of too few: %s", reason)
	}
}

// The guard stays on: after an operator has switched again, a second incident
// is rolled back, but not before the cooldown has passed, and not for errors
// of the first.
func TestCooldown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		c.serve(time.Minute, 10*time.Millisecond, 20)
		c.expect(t, 1, RollbackCooldown)
		at := time.Now()
		c.switchTo(enhanced)
		c.serve(4*time.Minute, 10*time.Millisecond, 20)
		c.expect(t, 1, RollbackCooldown)
		if until := c.ctl.Status().CooldownUntil; until == nil || until.Sub(at) > 5*time.Minute {
			t.Errorf("cooldown until %v", until)
		}
		c.serve(2*time.Minute, 10*time.Millisecond, 20)
		c.expect(t, 2, RollbackCooldown)

		time.Sleep(10 * time.Minute)
		c.expect(t, 2, RollbackStandby)
	})
}

// Errors from before the enhanced system was made active again are another
// incident's.
func TestOldErrorsDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, func(p *RollbackPolicy) { p.Cooldown = 0 })
		c.serve(30*time.Second, 10*time.Millisecond, 50)
		c.expect(t, 1, RollbackStandby)
		c.switchTo(enhanced)
		c.serve(10*time.Minute, 10*time.Millisecond, 0)
		c.expect(t, 1, RollbackWatching)
	})
}

// A rollback that fails freezes the controller: no second try, the alarm is
// visible, and it guards again only after somebody acted.
func TestFailedRollbackFreezes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, func(p *RollbackPolicy) { p.Cooldown = 0 })
		c.refuses = errors.New("the legacy store is not reachable")
		c.serve(30*time.Minute, 10*time.Millisecond, 50)

		frozen := func(want float64, calls int) {
			t.Helper()
			synctest.Wait()
			st := c.ctl.Status()
			if (st.State == RollbackFrozen) != (want == 1) || promtest.ToFloat64(c.metrics.rollbackFrozen) != want ||
				len(c.calls) != calls || len(c.events) != calls || promtest.ToFloat64(c.metrics.rollbackFailures) != float64(calls) ||
				promtest.ToFloat64(c.metrics.rollbacks) != 0 || st.Rollbacks != 0 {
				t.Errorf("state %s, alarm %v, %d tries, %d events, %v failures; want alarm %v and %d of each", st.State,
					promtest.ToFloat64(c.metrics.rollbackFrozen), len(c.calls), len(c.events), promtest.ToFloat64(c.metrics.rollbackFailures), want, calls)
			}
		}
		frozen(1, 1)
		if e := c.events[0]; e.Failed != "the legacy store is not reachable" {
			t.Errorf("event = %+v", e)
		}
		c.ctl.Resume()
		frozen(0, 1)
		c.serve(10*time.Minute, 10*time.Millisecond, 50)
		frozen(1, 2)

		c.switchTo(legacy) // by hand
		time.Sleep(time.Minute)
		frozen(0, 2)
	})
}

// A rollback that takes long is still one, and one that never ends fails.
func TestSlowRollback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		c.takes = time.Minute
		c.serve(5*time.Minute, 10*time.Millisecond, 10)
		c.expect(t, 1, RollbackCooldown)
	})
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		c.takes = time.Hour
		c.serve(10*time.Minute, 10*time.Millisecond, 10)
		if st := c.ctl.Status(); st.State != RollbackFrozen || len(st.Events) != 1 {
			t.Errorf("status = %+v, want frozen", st)
		}
	})
}

// A node that stops in the middle of a rollback neither counts nor freezes.
func TestStopDuringRollback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, func(p *RollbackPolicy) { p.Enabled = false })
		ctl, err := NewRollbackController(RollbackConfig{Source: c.monitor, Switcher: c, Policy: enabledPolicy(), Metrics: c.metrics, OnEvent: c.event})
		if err != nil {
			t.Fatal(err)
		}
		c.takes = time.Minute
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			ctl.MonitorAndRollback(ctx)
			close(done)
		}()
		c.serve(30*time.Second, 10*time.Millisecond, 50)
		cancel()
		<-done
		if len(c.calls) != 1 || len(c.events) != 0 || ctl.Status().State != RollbackWatching {
			t.Errorf("%d tries, %d events, %s; want a try without an outcome", len(c.calls), len(c.events), ctl.Status().State)
		}
	})
}

func enabledPolicy() RollbackPolicy {
	p := DefaultRollbackPolicy()
	p.Enabled = true
	return p
}

// A policy can be replaced while the controller runs, and takes effect at once;
// one that makes no sense is refused.
func TestReplacePolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, func(p *RollbackPolicy) { p.Enabled, p.CheckInterval = false, HorizonMax })
		c.serve(15*time.Minute, 10*time.Millisecond, 10)
		c.expect(t, 0, RollbackDisabled)
		if err := c.ctl.SetPolicy(RollbackPolicy{Enabled: true}); !errors.Is(err, lockcluster.ErrInvalid) {
			t.Errorf("an empty policy: %v", err)
		}
		p := enabledPolicy()
		p.Threshold = .2
		if err := c.ctl.SetPolicy(p); err != nil {
			t.Fatal(err)
		}
		c.serve(time.Minute, 10*time.Millisecond, 10)
		c.expect(t, 0, RollbackWatching)
		p.Threshold = .05
		if err := c.ctl.SetPolicy(p); err != nil {
			t.Fatal(err)
		}
		c.serve(10*time.Second, 10*time.Millisecond, 10)
		c.expect(t, 1, RollbackCooldown)
	})
}

// Each limit of a policy is checked.
func TestPolicyLimits(t *testing.T) {
	for name, change := range map[string]func(*RollbackPolicy){
		"interval 0":       func(p *RollbackPolicy) { p.CheckInterval = 0 },
		"interval 1 h":     func(p *RollbackPolicy) { p.CheckInterval = time.Hour },
		"window 1 s":       func(p *RollbackPolicy) { p.Window = time.Second },
		"window 1 h":       func(p *RollbackPolicy) { p.Window = time.Hour },
		"threshold 0":      func(p *RollbackPolicy) { p.Threshold = 0 },
		"threshold 5":      func(p *RollbackPolicy) { p.Threshold = 5 },
		"threshold NaN":    func(p *RollbackPolicy) { p.Threshold = math.NaN() },
		"no samples":       func(p *RollbackPolicy) { p.MinSamples = 0 },
		"ratio 1":          func(p *RollbackPolicy) { p.P95Ratio = 1 },
		"ratio NaN":        func(p *RollbackPolicy) { p.P95Ratio = math.NaN() },
		"cooldown below 0": func(p *RollbackPolicy) { p.Cooldown = -1 },
	} {
		p := DefaultRollbackPolicy()
		if err := p.Validate(); err != nil {
			t.Fatalf("the default: %v", err)
		}
		change(&p)
		if err := p.Validate(); !errors.Is(err, lockcluster.ErrInvalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	if _, err := NewRollbackController(RollbackConfig{Policy: DefaultRollbackPolicy()}); err == nil {
		t.Error("a controller without a switcher was made")
	}
}
