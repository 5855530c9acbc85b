package health

import (
	"fmt"
	"strings"
	"time"
)

// What the health check calls incompatible, and what a problem only.
const (
	performanceRatioMin = 0.9 // legacy p95 / enhanced p95
	errorRateRatioMax   = 1.1 // enhanced / legacy
	memoryIncreaseMax   = 0.2 // enhanced / legacy - 1
)

// LatencyMetrics are the latencies of one system over the window, in seconds.
type LatencyMetrics struct {
	Samples    uint64    `json:"samples"`
	Rate       float64   `json:"operations_per_second"`
	Mean       float64   `json:"mean_seconds"`
	P50        float64   `json:"p50_seconds"`
	P95        float64   `json:"p95_seconds"`
	P99        float64   `json:"p99_seconds"`
	MeasuredAt time.Time `json:"measured_at"` // earlier than now when the system no longer serves
}

// MemoryMetrics are the bytes of this process in use while each system
// decided, at the last look; zero if it did not yet.
type MemoryMetrics struct {
	LegacyBytes   uint64 `json:"legacy_bytes"`
	EnhancedBytes uint64 `json:"enhanced_bytes"`
}

// ErrorMetrics counts failures over the window.
type ErrorMetrics struct {
	LegacyOperations   uint64  `json:"legacy_operations"`
	LegacyErrors       uint64  `json:"legacy_errors"`
	LegacyRate         float64 `json:"legacy_rate"` // share of the operations
	EnhancedOperations uint64  `json:"enhanced_operations"`
	EnhancedErrors     uint64  `json:"enhanced_errors"`
	EnhancedRate       float64 `json:"enhanced_rate"`
}

// CompatibilityMetrics are the figures of both systems at one time.
type CompatibilityMetrics struct {
	LegacyLatency   LatencyMetrics `json:"legacy_latency"`
	EnhancedLatency LatencyMetrics `json:"enhanced_latency"`
	MemoryUsage     MemoryMetrics  `json:"memory_usage"`
	ErrorRates      ErrorMetrics   `json:"error_rates"`
	// ThroughputRatio is enhanced / legacy operations per second; zero when the
	// legacy system had none.
	ThroughputRatio float64 `json:"throughput_ratio"`

	LegacyTotals   map[string]OperationTotals `json:"legacy_totals"` // since the start, by operation
	EnhancedTotals map[string]OperationTotals `json:"enhanced_totals"`
	// MinSamples is how many operations of each side a comparison needs.
	MinSamples uint64 `json:"min_samples"`
}

// PerformanceReport compares the systems. The ratios are enhanced / legacy:
// below 1 the enhanced system is better. A ratio that cannot be told is 1.
type PerformanceReport struct {
	LatencyImprovement float64 `json:"latency_improvement"` // of the p95 latencies
	MemoryIncrease     float64 `json:"memory_increase"`     // of the bytes in use
	ErrorRateChange    float64 `json:"error_rate_change"`   // of the shares of failed operations
	Recommendation     string  `json:"recommendation"`
	// Comparable says that both systems had enough operations.
	Comparable bool `json:"comparable"`
}

// ComparePerformance compares the two systems and says what follows.
func (m *CompatibilityMetrics) ComparePerformance() PerformanceReport {
	r := PerformanceReport{LatencyImprovement: 1, MemoryIncrease: 1, ErrorRateChange: 1}
	if v, ok := m.memoryRatio(); ok {
		r.MemoryIncrease = v
	}
	if missing := m.missing(); missing != "" {
		r.Recommendation = "Collect more samples before deciding: " + missing + "."
		return r
	}
	r.Comparable = true
	r.LatencyImprovement, _ = m.latencyRatio()
	r.ErrorRateChange, _ = m.errorRatio()
	r.Recommendation = recommend(r)
	return r
}

func recommend(r PerformanceReport) string {
	var against []string
	if r.LatencyImprovement > 1/performanceRatioMin {
		against = append(against, fmt.Sprintf("the enhanced p95 latency is %.2f times the legacy one", r.LatencyImprovement))
	}
	if r.ErrorRateChange > errorRateRatioMax {
		against = append(against, fmt.Sprintf("the enhanced error rate is %.2f times the legacy one", r.ErrorRateChange))
	}
	if len(against) > 0 {
		return "Stay on the legacy system, or go back to it: " + strings.Join(against, ", and ") + "."
	}
	if r.MemoryIncrease > 1+memoryIncreaseMax {
		return fmt.Sprintf("The enhanced system can be used; it takes %.2f times the memory.", r.MemoryIncrease)
	}
	return "The enhanced system can be used."
}

// missing says which side has too few samples, empty if none has.
func (m *CompatibilityMetrics) missing() string {
	need := max(m.MinSamples, 1)
	var parts []string
	for _, side := range []struct {
		name string
		n    uint64
	}{{"legacy", m.LegacyLatency.Samples}, {"enhanced", m.EnhancedLatency.Samples}} {
		if side.n < need {
			parts = append(parts, fmt.Sprintf("the %s system has %d of %d", side.name, side.n, need))
		}
	}
	return strings.Join(parts, ", ")
}

// latencyRatio returns enhanced p95 / legacy p95, and whether it can be told.
func (m *CompatibilityMetrics) latencyRatio() (float64, bool) {
	if m.missing() != "" || m.LegacyLatency.P95 <= 0 || m.EnhancedLatency.P95 <= 0 {
		return 1, false
	}
	return m.EnhancedLatency.P95 / m.LegacyLatency.P95, true
}

// errorRatio returns enhanced error rate / legacy error rate, and whether it
// can be told. Without an error, the legacy system counts as if it had one:
// the sample cannot show less.
func (m *CompatibilityMetrics) errorRatio() (float64, bool) {
	e := m.ErrorRates
	need := max(m.MinSamples, 1)
	switch {
	case e.LegacyOperations < need || e.EnhancedOperations < need:
		return 1, false
	case e.LegacyErrors == 0 && e.EnhancedErrors == 0:
		return 1, true
	}
	return e.EnhancedRate * float64(e.LegacyOperations) / float64(max(e.LegacyErrors, 1)), true
}

// memoryRatio returns enhanced bytes / legacy bytes, and whether it can be
// told.
func (m *CompatibilityMetrics) memoryRatio() (float64, bool) {
	if m.MemoryUsage.LegacyBytes == 0 || m.MemoryUsage.EnhancedBytes == 0 {
		return 1, false
	}
	return float64(m.MemoryUsage.EnhancedBytes) / float64(m.MemoryUsage.LegacyBytes), true
}

// HealthStatus is the outcome of a health check.
type HealthStatus struct {
	Compatible bool     `json:"compatible"`
	Issues     []string `json:"issues"`
	// Metrics holds performance_ratio (legacy p95 / enhanced p95),
	// error_rate_ratio (enhanced / legacy) and memory_increase (share), each
	// only if it can be told, and the samples of both sides.
	Metrics map[string]float64 `json:"metrics"`
}

// CompatibilityChecker judges the enhanced system by what clients experienced.
// It takes no lock of its own.
type CompatibilityChecker struct {
	metrics func() CompatibilityMetrics
}

// NewCompatibilityChecker returns a checker of these figures, usually
// [Monitor.Metrics].
func NewCompatibilityChecker(metrics func() CompatibilityMetrics) *CompatibilityChecker {
	return &CompatibilityChecker{metrics: metrics}
}

// HealthCheck says whether the enhanced system behaves as the legacy one did.
// With too few samples it is compatible: nothing speaks against it.
func (c *CompatibilityChecker) HealthCheck() HealthStatus {
	m := c.metrics()
	h := HealthStatus{Compatible: true, Issues: []string{}, Metrics: map[string]float64{
		"legacy_samples":   float64(m.LegacyLatency.Samples),
		"enhanced_samples": float64(m.EnhancedLatency.Samples),
		"min_samples":      float64(m.MinSamples),
	}}
	if ratio, ok := m.latencyRatio(); ok {
		h.Metrics["performance_ratio"] = 1 / ratio
		if 1/ratio < performanceRatioMin {
			h.incompatible(fmt.Sprintf("performance degradation: legacy p95 / enhanced p95 is %.2f, below %.1f (%.4f s and %.4f s)",
				1/ratio, performanceRatioMin, m.LegacyLatency.P95, m.EnhancedLatency.P95))
		}
	}
	if ratio, ok := m.errorRatio(); ok {
		h.Metrics["error_rate_ratio"] = ratio
		if ratio > errorRateRatioMax {
			h.incompatible(fmt.Sprintf("error rate increase: enhanced / legacy is %.2f, above %.1f (%d of %d and %d of %d failed)", ratio, errorRateRatioMax,
				m.ErrorRates.EnhancedErrors, m.ErrorRates.EnhancedOperations, m.ErrorRates.LegacyErrors, m.ErrorRates.LegacyOperations))
		}
	}
	if ratio, ok := m.memoryRatio(); ok {
		h.Metrics["memory_increase"] = ratio - 1
		if ratio-1 > memoryIncreaseMax {
			h.Issues = append(h.Issues, fmt.Sprintf("memory increase: %.0f %%, above %.0f %%", 100*(ratio-1), 100*memoryIncreaseMax))
		}
	}
	return h
}

func (h *HealthStatus) incompatible(issue string) {
	h.Compatible = false
	h.Issues = append(h.Issues, issue)
}
