package health

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lockcluster/lockcluster"
)

// What a recorder remembers: slots of slotWidth, as many as make HorizonMax.
const (
	slotWidth = 2 * time.Second
	slots     = int64(HorizonMax / slotWidth)
	// HorizonMax is the longest time that a [Window] can look back.
	HorizonMax = 10 * time.Minute
	// DefaultWindow is the usual length of a [Window].
	DefaultWindow = time.Minute
)

// Recorder counts and times the operations of both systems: in total, and
// over a sliding window. Observing takes no lock.
type Recorder struct {
	start   time.Time // its monotonic part is the clock of all slots
	systems [2]systemRecord
}

type systemRecord struct {
	ring     [slots]atomic.Pointer[slot]
	mu       sync.Mutex // taken to begin a slot
	ops      [len(operations)]operationRecord
	duration prometheus.Observer
	errors   prometheus.Counter
}

type operationRecord struct{ count, errors atomic.Uint64 }

// operations are the names that [Recorder.Observe] tells apart; any other is
// counted as the last.
var operations = [...]string{
	"acquire", "release", "release-by-pull", "lock-command", "unlock-command", "put-document", "delete-document",
	"set-ttl", "transaction", "import", "read", "view", "other",
}

func operationIndex(op string) int {
	for i, name := range operations {
		if name == op {
			return i
		}
	}
	return len(operations) - 1
}

// NewRecorder returns a recorder whose totals are exported through r as
// atlantis_lock_duration_seconds and atlantis_lock_errors_total, for both
// modes from the start; a nil r exports nothing.
func NewRecorder(r prometheus.Registerer) (*Recorder, error) {
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "atlantis_lock_duration_seconds",
		Help:    "Time that a lock system took for an operation, by the system that decided it.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"mode"})
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "atlantis_lock_errors_total",
		Help: "Operations that a lock system did not decide, or whose outcome is not known. A refusal is no error.",
	}, []string{"mode"})
	rec := &Recorder{start: time.Now()}
	for _, s := range []lockcluster.System{lockcluster.SystemEnhanced, lockcluster.SystemLegacy} {
		of := rec.of(s)
		of.duration = durations.WithLabelValues(s.String())
		of.errors = failures.WithLabelValues(s.String())
	}
	return rec, register(r, durations, failures)
}

// register registers all collectors or none.
func register(r prometheus.Registerer, all ...prometheus.Collector) error {
	if r == nil {
		return nil
	}
	var errs []error
	var done []prometheus.Collector
	for _, c := range all {
		if err := r.Register(c); err != nil {
			errs = append(errs, err)
			continue
		}
		done = append(done, c)
	}
	if len(errs) == 0 {
		return nil
	}
	for _, c := range done {
		r.Unregister(c)
	}
	return fmt.Errorf("register metrics: %w", errors.Join(errs...))
}

func (r *Recorder) of(s lockcluster.System) *systemRecord {
	switch s {
	case lockcluster.SystemEnhanced:
		return &r.systems[0]
	case lockcluster.SystemLegacy:
		return &r.systems[1]
	}
	return nil
}

// Observe notes one operation that system s took d for. It failed if it was
// not decided or its outcome is unknown; a refusal is not a failure. op is
// one of "acquire", "release", "release-by-pull", "lock-command",
// "unlock-command", "put-document", "delete-document", "set-ttl", "transaction",
// "import", "read" and "view". An unset system is left out.
func (r *Recorder) Observe(s lockcluster.System, op string, d time.Duration, failed bool) {
	of := r.of(s)
	if of == nil {
		return
	}
	o := &of.ops[operationIndex(op)]
	o.count.Add(1)
	if failed {
		o.errors.Add(1)
		of.errors.Inc()
	}
	of.duration.Observe(d.Seconds())
	of.slot(r.slotNow()).observe(d, failed)
}

func (r *Recorder) slotNow() int64 { return int64(time.Since(r.start) / slotWidth) }

// slot returns the slot of that number, and makes it if it is new.
func (s *systemRecord) slot(number int64) *slot {
	at := &s.ring[number%slots]
	if p := at.Load(); p != nil && p.number >= number {
		return p
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := at.Load()
	if p == nil || p.number < number {
		// Who still holds the old slot adds to what nobody reads any more.
		p = &slot{number: number}
		at.Store(p)
	}
	return p
}

// Window sums up the operations of one system over a recent span of time.
type Window struct {
	Covered             time.Duration // the span, at most what was asked for
	Count               uint64        // operations, failed ones too
	Errors              uint64
	Mean, P50, P95, P99 time.Duration
}

// ErrorRatio returns which share of the operations failed, zero if there were
// none.
func (w Window) ErrorRatio() float64 {
	if w.Count == 0 {
		return 0
	}
	return float64(w.Errors) / float64(w.Count)
}

// Rate returns operations per second.
func (w Window) Rate() float64 {
	if w.Covered <= 0 {
		return 0
	}
	return float64(w.Count) / w.Covered.Seconds()
}

// Window sums up what system s did in the last length of time, at most
// [HorizonMax]. It never reaches further back than length, but may begin up
// to 2 s later.
func (r *Recorder) Window(s lockcluster.System, length time.Duration) Window {
	of := r.of(s)
	if of == nil {
		return Window{}
	}
	age := time.Since(r.start)
	last, first := int64(age/slotWidth), int64(0)
	if from := age - min(length, HorizonMax); from > 0 {
		first = int64((from + slotWidth - 1) / slotWidth)
	}
	var a sum
	for n := first; n <= last; n++ {
		if p := of.ring[n%slots].Load(); p != nil && p.number == n {
			a.add(p)
		}
	}
	return a.window(max(age-time.Duration(first)*slotWidth, 0))
}

// OperationTotals counts one kind of operation.
type OperationTotals struct {
	Count  uint64 `json:"count"`
	Errors uint64 `json:"errors"`
}

// Totals returns what system s did since the start, by operation; what never
// happened is left out.
func (r *Recorder) Totals(s lockcluster.System) map[string]OperationTotals {
	totals := map[string]OperationTotals{}
	of := r.of(s)
	if of == nil {
		return totals
	}
	for i := range of.ops {
		if n := of.ops[i].count.Load(); n > 0 {
			totals[operations[i]] = OperationTotals{Count: n, Errors: of.ops[i].errors.Load()}
		}
	}
	return totals
}
