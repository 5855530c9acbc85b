package health

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promtest "github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

const (
	enhanced = lockcluster.SystemEnhanced
	legacy   = lockcluster.SystemLegacy
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustRecorder(tb testing.TB, r prometheus.Registerer) *Recorder {
	tb.Helper()
	rec, err := NewRecorder(r)
	if err != nil {
		tb.Fatal(err)
	}
	return rec
}

// Buckets follow each other without a gap, and none is wider than 1/16 of
// where it begins.
func TestBuckets(t *testing.T) {
	for i := range buckets {
		low, next := lowerBound(i), lowerBound(i+1)
		if got := bucketOf(time.Duration(low) * time.Microsecond); got != i {
			t.Fatalf("bucket of %d us = %d, want %d", low, got, i)
		}
		if got := bucketOf(time.Duration(next-1) * time.Microsecond); got != i {
			t.Fatalf("bucket of %d us = %d, want %d", next-1, got, i)
		}
		if width := next - low; width > max(1, low/subBuckets) {
			t.Fatalf("bucket %d begins at %d and is %d wide", i, low, width)
		}
	}
	for _, d := range []time.Duration{-time.Second, 0} {
		if bucketOf(d) != 0 {
			t.Errorf("bucket of %v is not the first", d)
		}
	}
	if bucketOf(math.MaxInt64) != buckets-1 {
		t.Error("the longest duration is not in the last bucket")
	}
}

// Percentiles are within 1/16 of what sorting all durations gives.
func TestPercentiles(t *testing.T) {
	rng := testutil.Rand(t)
	synctest.Test(t, func(t *testing.T) {
		rec := mustRecorder(t, nil)
		all := make([]float64, 20_000)
		for i := range all {
			d := time.Duration(math.Exp(rng.NormFloat64()) * float64(5*time.Millisecond))
			all[i] = d.Seconds()
			rec.Observe(enhanced, "acquire", d, false)
		}
		slices.Sort(all)
		w := rec.Window(enhanced, DefaultWindow)
		if w.Count != uint64(len(all)) {
			t.Fatalf("count = %d, want %d", w.Count, len(all))
		}
		for _, c := range []struct {
			q   float64
			got time.Duration
		}{{.5, w.P50}, {.95, w.P95}, {.99, w.P99}} {
			want := all[int(c.q*float64(len(all)))]
			if math.Abs(c.got.Seconds()-want) > want/16+1e-6 {
				t.Errorf("quantile %v = %v, want %.6f s", c.q, c.got, want)
			}
		}
	})
}

// A window holds what happened in it, and nothing from before.
func TestWindowSlides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := mustRecorder(t, nil)
		for range 30 * 60 { // half an hour: the ring turns three times
			rec.Observe(legacy, "release", 4*time.Millisecond, true)
			time.Sleep(time.Second)
		}
		for _, length := range []time.Duration{4 * time.Second, time.Minute, HorizonMax, time.Hour} {
			w, most := rec.Window(legacy, length), uint64(min(length, HorizonMax)/time.Second)
			if w.Count > most || w.Count < most-2 || w.Errors != w.Count {
				t.Errorf("the last %v have %d operations and %d errors, want %d", length, w.Count, w.Errors, most)
			}
			if w.Covered > min(length, HorizonMax) || w.Covered < min(length, HorizonMax)-slotWidth {
				t.Errorf("the last %v cover %v", length, w.Covered)
			}
			if math.Abs(w.Rate()-1) > 0.3 {
				t.Errorf("the last %v have %.2f operations per second, want 1", length, w.Rate())
			}
		}
		time.Sleep(DefaultWindow)
		if w := rec.Window(legacy, DefaultWindow); w.Count != 0 || w.P95 != 0 || w.ErrorRatio() != 0 {
			t.Errorf("a quiet minute has %+v", w)
		}
		if w := rec.Window(legacy, 0); w.Count != 0 {
			t.Errorf("no time has %+v", w)
		}
		if got := rec.Totals(legacy)["release"]; got.Count != 1800 || got.Errors != 1800 {
			t.Errorf("totals = %+v, want 1800 failed releases", got)
		}
		if w, totals := rec.Window(enhanced, time.Hour), rec.Totals(enhanced); w.Count != 0 || len(totals) != 0 {
			t.Errorf("the other system has %+v, %v", w, totals)
		}
	})
}

// No operation is lost or counted twice when many observe while slots change.
func TestObserveConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := mustRecorder(t, nil)
		const each, workers = 200, 16
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := range each {
					rec.Observe(lockcluster.System(1+w%2), "acquire", time.Millisecond, i%10 == 0)
					time.Sleep(100 * time.Millisecond) // all at once, in and at the edges of slots
				}
			})
		}
		wg.Wait()
		for _, s := range []lockcluster.System{enhanced, legacy} {
			if w := rec.Window(s, DefaultWindow); w.Count != each*workers/2 || w.Errors != w.Count/10 {
				t.Errorf("%v: %d operations, %d errors; want %d and a tenth", s, w.Count, w.Errors, each*workers/2)
			}
		}
	})
}

// Both modes are exported before anything happened, under names that the
// linter of Prometheus accepts, and count what is observed.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	rec := mustRecorder(t, reg)
	m, err := NewMigrationMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{
		"atlantis_lock_duration_seconds": 2, "atlantis_lock_errors_total": 2, "atlantis_migration_rollbacks_total": 1,
		"lockcluster_shadow_operations_total": 1, "lockcluster_shadow_divergence_total": len(operations), "lockcluster_mirror_pending": 1, "lockcluster_legacy_store_refused": 1,
		"lockcluster_migration_gate_closed_seconds": 1, "lockcluster_migration_epoch": 1, "lockcluster_migration_mode": 5,
		"lockcluster_migration_rollback_failures_total": 1, "lockcluster_migration_rollback_frozen": 1,
	} {
		if got, err := promtest.GatherAndCount(reg, name); err != nil || got != want {
			t.Errorf("%s has %d series, want %d (%v)", name, got, want, err)
		}
	}
	if problems, err := promtest.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}

	rec.Observe(enhanced, "acquire", 3*time.Millisecond, false)
	rec.Observe(enhanced, "no such operation", time.Millisecond, true)
	rec.Observe(0, "acquire", time.Millisecond, true) // no system decided
	m.ShadowOperations(3)
	m.ShadowDivergence("release")
	m.ShadowDivergence("something new")
	m.MirrorPending(7)
	m.LegacyRefused(true)
	m.SetState(lockcluster.Migration{Epoch: 12, Mode: lockcluster.ModeShadow})
	want := `
# HELP atlantis_lock_errors_total Operations that a lock system did not decide, or whose outcome is not known. A refusal is no error.
# TYPE atlantis_lock_errors_total counter
atlantis_lock_errors_total{mode="enhanced"} 1
atlantis_lock_errors_total{mode="legacy"} 0
# HELP lockcluster_legacy_store_refused 1 on the leader while the legacy store is another one than was attached, or was emptied.
# TYPE lockcluster_legacy_store_refused gauge
lockcluster_legacy_store_refused 1
# HELP lockcluster_migration_epoch Epoch of the migration state: every change raises it.
# TYPE lockcluster_migration_epoch gauge
lockcluster_migration_epoch 12
# HELP lockcluster_migration_mode 1 for the mode that the cluster is in.
# TYPE lockcluster_migration_mode gauge
lockcluster_migration_mode{mode="blue-green"} 0
lockcluster_migration_mode{mode="enhanced"} 0
lockcluster_migration_mode{mode="gradual"} 0
lockcluster_migration_mode{mode="legacy"} 0
lockcluster_migration_mode{mode="shadow"} 1
# HELP lockcluster_mirror_pending Changes that the mirror does not have yet.
# TYPE lockcluster_mirror_pending gauge
lockcluster_mirror_pending 7
# HELP lockcluster_shadow_operations_total Operations that the enhanced system repeated in shadow mode.
# TYPE lockcluster_shadow_operations_total counter
lockcluster_shadow_operations_total 3
`
	if err := promtest.GatherAndCompare(reg, strings.NewReader(want), "atlantis_lock_errors_total", "lockcluster_migration_epoch",
		"lockcluster_migration_mode", "lockcluster_mirror_pending", "lockcluster_legacy_store_refused", "lockcluster_shadow_operations_total"); err != nil {
		t.Error(err)
	}
	if got := promtest.ToFloat64(m.divergence[operationIndex("release")]); got != 1 {
		t.Errorf("divergences of release = %v, want 1", got)
	}
	if got := promtest.ToFloat64(m.divergence[operationIndex("other")]); got != 1 {
		t.Errorf("divergences of what has no name = %v, want 1", got)
	}
}

// A second recorder in one registry is an error, and leaves the first alone.
func TestMetricsTwice(t *testing.T) {
	reg := prometheus.NewRegistry()
	mustRecorder(t, reg)
	if _, err := NewRecorder(reg); err == nil {
		t.Error("registered twice")
	}
	if n, err := promtest.GatherAndCount(reg, "atlantis_lock_errors_total"); n != 2 || err != nil {
		t.Errorf("%d series left, want 2 (%v)", n, err)
	}
}

func BenchmarkObserve(b *testing.B) {
	rec := mustRecorder(b, prometheus.NewRegistry())
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		rng := rand.New(rand.NewPCG(1, 2))
		for p.Next() {
			rec.Observe(enhanced, "acquire", time.Duration(rng.IntN(20_000))*time.Microsecond, false)
		}
	})
}
