package health

import (
	"cmp"
	"context"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster"
)

// Limits of a monitor.
const (
	// DefaultMinSamples is how many operations a comparison needs of each side.
	DefaultMinSamples = 50
	pointsMax         = 720 // two hours at the default interval
)

// MonitorConfig is what a [Monitor] needs to know.
type MonitorConfig struct {
	Recorder   *Recorder
	Interval   time.Duration // between two points of the course (10 s)
	Window     time.Duration // what a figure is taken over (1 min)
	MinSamples uint64        // below, a window says nothing (50)
	// Active returns the system that decides now; unset when that differs from
	// key to key. It must not block.
	Active func() lockcluster.System
	// Divergences returns how many differences between the systems were found
	// so far. Nil if nobody compares.
	Divergences func() uint64
}

// Monitor keeps the course of both systems.
type Monitor struct {
	cfg MonitorConfig

	mu        sync.Mutex // guards what follows
	points    []Point    // oldest first, at most pointsMax
	baselines map[lockcluster.System]baseline
	memory    MemoryMetrics
}

// baseline is the last window of a system that had enough samples.
type baseline struct {
	at     time.Time
	window Window
}

// Point is one moment of the course; latencies are in seconds, and zero when
// the system had nothing to do.
type Point struct {
	At                 time.Time `json:"at"`
	LegacyP50          float64   `json:"legacy_p50_seconds"`
	LegacyP95          float64   `json:"legacy_p95_seconds"`
	LegacyP99          float64   `json:"legacy_p99_seconds"`
	EnhancedP50        float64   `json:"enhanced_p50_seconds"`
	EnhancedP95        float64   `json:"enhanced_p95_seconds"`
	EnhancedP99        float64   `json:"enhanced_p99_seconds"`
	LegacyOperations   uint64    `json:"legacy_operations"`
	LegacyErrors       uint64    `json:"legacy_errors"`
	EnhancedOperations uint64    `json:"enhanced_operations"`
	EnhancedErrors     uint64    `json:"enhanced_errors"`
	Divergences        uint64    `json:"divergences"` // since the start
}

// NewMonitor returns a monitor; [Monitor.Run] makes it look.
func NewMonitor(cfg MonitorConfig) *Monitor {
	cfg.Interval = cmp.Or(cfg.Interval, 10*time.Second)
	cfg.Window = cmp.Or(cfg.Window, DefaultWindow)
	cfg.MinSamples = cmp.Or(cfg.MinSamples, DefaultMinSamples)
	if cfg.Active == nil {
		cfg.Active = func() lockcluster.System { return 0 }
	}
	if cfg.Divergences == nil {
		cfg.Divergences = func() uint64 { return 0 }
	}
	return &Monitor{cfg: cfg, baselines: map[lockcluster.System]baseline{}}
}

// Run takes a point at every interval, until ctx ends.
func (m *Monitor) Run(ctx context.Context) {
	tick := time.NewTicker(m.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.Sample()
		}
	}
}

// Sample takes one point of the course now.
func (m *Monitor) Sample() {
	legacy, enhanced := m.Window(lockcluster.SystemLegacy, m.cfg.Window), m.Window(lockcluster.SystemEnhanced, m.cfg.Window)
	now := time.Now()
	p := Point{
		At:        now.Round(0).UTC(),
		LegacyP50: legacy.P50.Seconds(), LegacyP95: legacy.P95.Seconds(), LegacyP99: legacy.P99.Seconds(),
		EnhancedP50: enhanced.P50.Seconds(), EnhancedP95: enhanced.P95.Seconds(), EnhancedP99: enhanced.P99.Seconds(),
		LegacyOperations: legacy.Count, LegacyErrors: legacy.Errors,
		EnhancedOperations: enhanced.Count, EnhancedErrors: enhanced.Errors,
		Divergences: m.cfg.Divergences(),
	}
	active, live := m.cfg.Active(), liveHeap()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.points) == pointsMax {
		m.points = append(m.points[:0], m.points[1:]...)
	}
	m.points = append(m.points, p)
	m.keep(now, lockcluster.SystemLegacy, legacy)
	m.keep(now, lockcluster.SystemEnhanced, enhanced)
	switch active {
	case lockcluster.SystemLegacy:
		m.memory.LegacyBytes = live
	case lockcluster.SystemEnhanced:
		m.memory.EnhancedBytes = live
	}
}

// speaks reports whether w says how s does now: it has enough operations, and
// s has not stopped serving, which would only let the window drain.
func (m *Monitor) speaks(s lockcluster.System, w Window) bool {
	return w.Count >= m.cfg.MinSamples && m.Window(s, max(m.cfg.Interval, 2*slotWidth)).Count > 0
}

func (m *Monitor) keep(now time.Time, s lockcluster.System, w Window) {
	if m.speaks(s, w) {
		m.baselines[s] = baseline{at: now, window: w}
	}
}

// liveHeap returns how many bytes the last garbage collection found in use, or
// zero before the first.
func liveHeap() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64()
}

// Window is [Recorder.Window].
func (m *Monitor) Window(s lockcluster.System, length time.Duration) Window {
	return m.cfg.Recorder.Window(s, length)
}

// Baseline returns the last window of system s with enough samples, as it was
// when it was last looked at; the zero Window if there was none.
func (m *Monitor) Baseline(s lockcluster.System) Window {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.baselines[s].window
}

// Series returns a copy of the course, oldest point first.
func (m *Monitor) Series() []Point {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Point{}, m.points...)
}

// Metrics returns the figures of both systems now. Those of a system with too
// few operations in the window are from the last time that it had enough.
func (m *Monitor) Metrics() CompatibilityMetrics {
	legacy, enhanced := m.latest(lockcluster.SystemLegacy), m.latest(lockcluster.SystemEnhanced)
	m.mu.Lock()
	memory := m.memory
	m.mu.Unlock()
	c := CompatibilityMetrics{
		LegacyLatency: latencyOf(legacy), EnhancedLatency: latencyOf(enhanced),
		MemoryUsage: memory,
		ErrorRates: ErrorMetrics{
			LegacyOperations: legacy.window.Count, LegacyErrors: legacy.window.Errors, LegacyRate: legacy.window.ErrorRatio(),
			EnhancedOperations: enhanced.window.Count, EnhancedErrors: enhanced.window.Errors, EnhancedRate: enhanced.window.ErrorRatio(),
		},
		LegacyTotals:   m.cfg.Recorder.Totals(lockcluster.SystemLegacy),
		EnhancedTotals: m.cfg.Recorder.Totals(lockcluster.SystemEnhanced),
		MinSamples:     m.cfg.MinSamples,
	}
	if rate := legacy.window.Rate(); rate > 0 {
		c.ThroughputRatio = enhanced.window.Rate() / rate
	}
	return c
}

func (m *Monitor) latest(s lockcluster.System) baseline {
	now := baseline{at: time.Now(), window: m.Window(s, m.cfg.Window)}
	if m.speaks(s, now.window) {
		return now
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if b, ok := m.baselines[s]; ok {
		return b
	}
	return now
}

func latencyOf(b baseline) LatencyMetrics {
	return LatencyMetrics{
		Samples: b.window.Count, Rate: b.window.Rate(), MeasuredAt: b.at.Round(0).UTC(),
		Mean: b.window.Mean.Seconds(), P50: b.window.P50.Seconds(), P95: b.window.P95.Seconds(), P99: b.window.P99.Seconds(),
	}
}
