package resp

import (
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the door's figures. Their labels are bounded: names of commands,
// first words of errors.
type metrics struct {
	connections    prometheus.Gauge
	rejected       prometheus.Counter
	protocolErrors prometheus.Counter
	panics         prometheus.Counter
	conflicts      prometheus.Counter
	secondLooks    prometheus.Counter
	guardedDels    prometheus.Counter
	byError        map[string]prometheus.Counter
	byCommand      []prometheus.Observer // by command.index

	registerer prometheus.Registerer
	registered []prometheus.Collector
}

// errorCodes are the first words of our errors that are counted by name.
var errorCodes = []string{"ERR", "LOCKED", "CLUSTERDOWN", "TRYAGAIN", "NOAUTH", "WRONGPASS", "NOSCRIPT", "other"}

// newMetrics registers the figures; with a nil registerer they are only kept.
func newMetrics(r prometheus.Registerer, commands commandTable) (*metrics, error) {
	const prefix = "lockcluster_resp_"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})
	}
	m := &metrics{
		registerer:     r,
		connections:    prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "connections", Help: "Redis connections that are open."}),
		rejected:       counter("connections_rejected_total", "Redis connections closed at once because there were too many."),
		protocolErrors: counter("protocol_errors_total", "Redis connections closed because the client broke the protocol or a limit."),
		panics:         counter("panics_total", "Redis commands that failed by a bug."),
		conflicts:      counter("transaction_conflicts_total", "Transactions and scripts done again because a key changed."),
		secondLooks:    counter("second_looks_total", "Reads of a free lock that looked again after another client had announced itself."),
		guardedDels:    counter("guarded_dels_total", "Deletions refused because the lock was not the one that the connection had read."),
		byError:        map[string]prometheus.Counter{},
	}
	errs := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "errors_total", Help: "Error replies by their first word."}, []string{"code"})
	for _, code := range errorCodes {
		m.byError[code] = errs.WithLabelValues(code)
	}
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: prefix + "command_duration_seconds", Help: "Time from reading a command to having its answer.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"command"})
	m.byCommand = make([]prometheus.Observer, len(commands)+1)
	m.byCommand[0] = durations.WithLabelValues("unknown")
	for _, c := range commands {
		m.byCommand[c.index] = durations.WithLabelValues(c.name)
	}
	return m, m.register(m.connections, m.rejected, m.protocolErrors, m.panics, m.conflicts, m.secondLooks, m.guardedDels, errs, durations)
}

func (m *metrics) register(all ...prometheus.Collector) error {
	if m.registerer == nil {
		return nil
	}
	var errs []error
	for _, c := range all {
		if err := m.registerer.Register(c); err != nil {
			errs = append(errs, err)
			continue
		}
		m.registered = append(m.registered, c)
	}
	if len(errs) > 0 {
		m.close()
	}
	return errors.Join(errs...)
}

// close takes the figures out of the registry again.
func (m *metrics) close() {
	for _, c := range m.registered {
		m.registerer.Unregister(c)
	}
	m.registered = nil
}

func (m *metrics) observe(c *command, d time.Duration) {
	i := 0
	if c != nil {
		i = c.index
	}
	m.byCommand[i].Observe(d.Seconds())
}

func (m *metrics) errors(text string) {
	code, _, _ := strings.Cut(text, " ")
	counter := m.byError[code]
	if counter == nil {
		counter = m.byError["other"]
	}
	counter.Inc()
}
