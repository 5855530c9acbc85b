package health

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockcluster/lockcluster"
)

// figures returns metrics of two systems with n operations each.
func figures(n uint64, legacyP95, enhancedP95 float64, legacyErrors, enhancedErrors uint64, legacyBytes, enhancedBytes uint64) CompatibilityMetrics {
	return CompatibilityMetrics{
		LegacyLatency:   LatencyMetrics{Samples: n, P95: legacyP95},
		EnhancedLatency: LatencyMetrics{Samples: n, P95: enhancedP95},
		MemoryUsage:     MemoryMetrics{LegacyBytes: legacyBytes, EnhancedBytes: enhancedBytes},
		ErrorRates: ErrorMetrics{
			LegacyOperations: n, LegacyErrors: legacyErrors, LegacyRate: Window{Count: n, Errors: legacyErrors}.ErrorRatio(),
			EnhancedOperations: n, EnhancedErrors: enhancedErrors, EnhancedRate: Window{Count: n, Errors: enhancedErrors}.ErrorRatio(),
		},
		MinSamples: 50,
	}
}

// The ratios are enhanced / legacy in the report; the check calls the enhanced
// system incompatible below 0.9 of the performance or above 1.1 of the error
// rate, and names memory as an issue only.
func TestCompareAndCheck(t *testing.T) {
	tests := []struct {
		name                     string
		m                        CompatibilityMetrics
		latency, memory, errors  float64
		comparable, compatible   bool
		issues                   int
		recommendation, mustHave string // a part of each; mustHave: a key of the check's metrics
	}{
		{"equal", figures(1000, .02, .02, 10, 10, 100, 100), 1, 1, 1, true, true, 0, "can be used", "performance_ratio"},
		{"twice as fast", figures(1000, .02, .01, 10, 5, 100, 50), .5, .5, .5, true, true, 0, "can be used", "error_rate_ratio"},
		{"ratio 0.91", figures(1000, .0182, .02, 0, 0, 100, 100), .02 / .0182, 1, 1, true, true, 0, "can be used", "performance_ratio"},
		{"ratio 0.89", figures(1000, .0178, .02, 0, 0, 100, 100), .02 / .0178, 1, 1, true, false, 1, "Stay on the legacy system", "performance_ratio"},
		{"errors 1.1", figures(1000, .02, .02, 10, 11, 100, 100), 1, 1, 1.1, true, true, 0, "can be used", "error_rate_ratio"},
		{"errors 1.2", figures(1000, .02, .02, 10, 12, 100, 100), 1, 1, 1.2, true, false, 1, "error rate", "error_rate_ratio"},
		{"one error against none", figures(1000, .02, .02, 0, 1, 100, 100), 1, 1, 1, true, true, 0, "can be used", "error_rate_ratio"},
		{"three errors against none", figures(1000, .02, .02, 0, 3, 100, 100), 1, 1, 3, true, false, 1, "3.00 times", "error_rate_ratio"},
		{"errors only in legacy", figures(1000, .02, .02, 9, 0, 100, 100), 1, 1, 0, true, true, 0, "can be used", "error_rate_ratio"},
		{"memory 1.2", figures(1000, .02, .02, 0, 0, 100, 120), 1, 1.2, 1, true, true, 0, "can be used", "memory_increase"},
		{"memory 1.3", figures(1000, .02, .02, 0, 0, 100, 130), 1, 1.3, 1, true, true, 1, "1.30 times the memory", "memory_increase"},
		{"slow and failing", figures(1000, .02, .04, 1, 9, 100, 130), 2, 1.3, 9, true, false, 3, "p95 latency is 2.00 times", "memory_increase"},
		{"49 samples", figures(49, .02, .2, 0, 49, 100, 100), 1, 1, 1, false, true, 0, "the legacy system has 49 of 50", "min_samples"},
		{"nothing", CompatibilityMetrics{MinSamples: 50}, 1, 1, 1, false, true, 0, "the enhanced system has 0 of 50", "legacy_samples"},
		{"zero value", CompatibilityMetrics{}, 1, 1, 1, false, true, 0, "Collect more samples", "enhanced_samples"},
		{"no time at all", figures(1000, 0, 0, 0, 0, 0, 0), 1, 1, 1, true, true, 0, "can be used", "error_rate_ratio"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.m.ComparePerformance()
			for _, c := range []struct {
				what      string
				got, want float64
			}{
				{"latency", r.LatencyImprovement, tt.latency},
				{"memory", r.MemoryIncrease, tt.memory},
				{"errors", r.ErrorRateChange, tt.errors},
			} {
				if math.IsNaN(c.got) || math.Abs(c.got-c.want) > 1e-9 {
					t.Errorf("%s = %v, want %v", c.what, c.got, c.want)
				}
			}
			if r.Comparable != tt.comparable || !strings.Contains(r.Recommendation, tt.recommendation) {
				t.Errorf("comparable %v, recommendation %q; want %v, %q", r.Comparable, r.Recommendation, tt.comparable, tt.recommendation)
			}
			h := NewCompatibilityChecker(func() CompatibilityMetrics { return tt.m }).HealthCheck()
			if h.Compatible != tt.compatible || len(h.Issues) != tt.issues {
				t.Errorf("compatible %v, issues %q; want %v and %d", h.Compatible, h.Issues, tt.compatible, tt.issues)
			}
			if _, ok := h.Metrics[tt.mustHave]; !ok {
				t.Errorf("metrics %v lack %s", h.Metrics, tt.mustHave)
			}
			if _, err := json.Marshal(MetricsAnswer{CompatibilityMetrics: tt.m, Performance: r, Health: h}); err != nil {
				t.Errorf("no JSON: %v", err)
			}
		})
	}
}

// The performance ratio of the check is legacy / enhanced, the opposite of the
// report's.
func TestOrientation(t *testing.T) {
	m := figures(100, .01, .02, 0, 0, 0, 0)
	h := NewCompatibilityChecker(func() CompatibilityMetrics { return m }).HealthCheck()
	if got := h.Metrics["performance_ratio"]; got != .5 {
		t.Errorf("performance ratio = %v, want 0.5", got)
	}
	if got := m.ComparePerformance().LatencyImprovement; got != 2 {
		t.Errorf("latency improvement = %v, want 2", got)
	}
}

// After a switch the figures of the system that no longer serves are still
// there to compare with, and the course shows both.
func TestMonitorKeepsBaseline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := mustRecorder(t, nil)
		active := legacy
		m := NewMonitor(MonitorConfig{Recorder: rec, Active: func() lockcluster.System { return active }, Divergences: func() uint64 { return 4 }})
		serve := func(d time.Duration, seconds int) {
			for range seconds {
				for range 10 {
					rec.Observe(active, "acquire", d, false)
				}
				time.Sleep(time.Second)
				if time.Now().Unix()%10 == 0 {
					m.Sample()
				}
			}
		}
		serve(20*time.Millisecond, 120)
		active = enhanced
		serve(10*time.Millisecond, 600)

		a := m.Answer()
		if p := a.LegacyLatency.P95; math.Abs(p-.02) > .002 {
			t.Errorf("legacy p95 = %v, want about 0.020", p)
		}
		if r := a.Performance; !r.Comparable || math.Abs(r.LatencyImprovement-.5) > .05 {
			t.Errorf("report = %+v, want half the latency", r)
		}
		if !a.Health.Compatible {
			t.Errorf("health = %+v", a.Health)
		}
		if age := a.EnhancedLatency.MeasuredAt.Sub(a.LegacyLatency.MeasuredAt); age < 9*time.Minute {
			t.Errorf("the legacy figures are %v older, want more than 9 minutes", age)
		}
		if a.ThroughputRatio < .5 || a.ThroughputRatio > 2 {
			t.Errorf("throughput ratio = %v, want about 1", a.ThroughputRatio)
		}
		if b := m.Baseline(legacy); b.Count < DefaultMinSamples {
			t.Errorf("baseline = %+v", b)
		}
		series := m.Series()
		if first, last := series[0], series[len(series)-1]; first.LegacyP95 == 0 || first.EnhancedP95 != 0 || last.LegacyP95 != 0 ||
			last.EnhancedP95 == 0 || last.Divergences != 4 || len(series) < 70 {
			t.Errorf("%d points, from %+v to %+v", len(series), first, last)
		}
		for range 2 * pointsMax {
			m.Sample()
		}
		if n := len(m.Series()); n != pointsMax {
			t.Errorf("%d points are kept, want %d", n, pointsMax)
		}
	})
}

// A monitor looks by itself until its context ends.
func TestMonitorRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMonitor(MonitorConfig{Recorder: mustRecorder(t, nil), Interval: 5 * time.Second})
		done := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			m.Run(ctx)
			close(done)
		}()
		time.Sleep(25*time.Second + time.Millisecond)
		cancel()
		<-done
		if n := len(m.Series()); n != 5 {
			t.Errorf("%d points in 25 seconds, want 5", n)
		}
	})
}
