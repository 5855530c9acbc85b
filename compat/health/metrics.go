package health

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lockcluster/lockcluster"
)

var modes = []lockcluster.Mode{
	lockcluster.ModeEnhanced, lockcluster.ModeLegacy, lockcluster.ModeShadow, lockcluster.ModeGradual, lockcluster.ModeBlueGreen,
}

// MigrationMetrics exports what the road between the systems does. The
// migration's owner feeds it.
type MigrationMetrics struct {
	rollbacks        prometheus.Counter
	rollbackFailures prometheus.Counter
	rollbackFrozen   prometheus.Gauge
	shadow           prometheus.Counter
	divergence       [len(operations)]prometheus.Counter
	mirrorPending    prometheus.Gauge
	legacyRefused    prometheus.Gauge
	gateClosed       prometheus.Histogram
	epoch            prometheus.Gauge
	legacyAway       prometheus.Gauge
	mode             []prometheus.Gauge // as modes
}

// NewMigrationMetrics registers the metrics, every series from the start; with
// a nil r they are only kept.
func NewMigrationMetrics(r prometheus.Registerer) (*MigrationMetrics, error) {
	const prefix = "lockcluster_migration_"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &MigrationMetrics{
		rollbacks:        counter("atlantis_migration_rollbacks_total", "Automatic rollbacks to the legacy system that this node performed."),
		rollbackFailures: counter(prefix+"rollback_failures_total", "Automatic rollbacks that could not be performed."),
		rollbackFrozen:   gauge(prefix+"rollback_frozen", "1 after a rollback that failed, until somebody switches or resumes."),
		shadow:           counter("lockcluster_shadow_operations_total", "Operations that the enhanced system repeated in shadow mode."),
		mirrorPending:    gauge("lockcluster_mirror_pending", "Changes that the mirror does not have yet."),
		legacyRefused:    gauge("lockcluster_legacy_store_refused", "1 on the leader while the legacy store is another one than was attached, or was emptied."),
		gateClosed: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: prefix + "gate_closed_seconds", Help: "How long requests waited at the gate of a switch.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		legacyAway: gauge("lockcluster_legacy_unreachable",
			"1 while the legacy system decides about locks and does not answer this node."),
		epoch: gauge(prefix+"epoch", "Epoch of the migration state: every change raises it."),
	}
	divergence := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lockcluster_shadow_divergence_total", Help: "Operations of shadow mode that the two systems answered differently.",
	}, []string{"operation"})
	for i, op := range operations {
		m.divergence[i] = divergence.WithLabelValues(op)
	}
	mode := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: prefix + "mode", Help: "1 for the mode that the cluster is in.",
	}, []string{"mode"})
	for _, v := range modes {
		m.mode = append(m.mode, mode.WithLabelValues(v.String()))
	}
	return m, register(r, m.rollbacks, m.rollbackFailures, m.rollbackFrozen, m.shadow, m.mirrorPending, m.legacyRefused, m.gateClosed, m.epoch, m.legacyAway, divergence, mode)
}

// ShadowOperations counts n operations that were repeated in shadow mode.
func (m *MigrationMetrics) ShadowOperations(n int) { m.shadow.Add(float64(n)) }

// ShadowDivergence counts an operation that was answered differently; op is as
// in [Recorder.Observe].
func (m *MigrationMetrics) ShadowDivergence(op string) { m.divergence[operationIndex(op)].Inc() }

// MirrorPending says how many changes the mirror lacks.
func (m *MigrationMetrics) MirrorPending(n int) { m.mirrorPending.Set(float64(n)) }

// LegacyRefused says whether the legacy store is another one than was attached.
func (m *MigrationMetrics) LegacyRefused(is bool) { m.legacyRefused.Set(fromBool(is)) }

// GateClosed notes how long a switch kept the gate closed.
func (m *MigrationMetrics) GateClosed(d time.Duration) { m.gateClosed.Observe(d.Seconds()) }

// LegacyUnreachable says whether the legacy system, which decides, is away.
func (m *MigrationMetrics) LegacyUnreachable(away bool) { m.legacyAway.Set(fromBool(away)) }

// SetState shows the migration's epoch and mode; an unset mode is enhanced.
func (m *MigrationMetrics) SetState(s lockcluster.Migration) {
	m.epoch.Set(float64(s.Epoch))
	for i, v := range modes {
		is := v == s.Mode || s.Mode == 0 && v == lockcluster.ModeEnhanced
		m.mode[i].Set(fromBool(is))
	}
}

func (m *MigrationMetrics) setFrozen(frozen bool) { m.rollbackFrozen.Set(fromBool(frozen)) }

func fromBool(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
