package cluster

import (
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are this node's numbers. Labels never hold keys, owners or addresses.
type metrics struct {
	registerer prometheus.Registerer
	collectors []prometheus.Collector

	isLeader, term, commit, applied, snapshotAge prometheus.Gauge
	inFlight                                     prometheus.Gauge
	forwarded, mismatch                          prometheus.Counter
	batch, apply                                 prometheus.Histogram
	store                                        *prometheus.HistogramVec
	storeOps                                     map[storeOp]prometheus.Observer
}

var diskBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}

func newMetrics(r prometheus.Registerer, leaderChanges, droppedLines func() uint64) (*metrics, error) {
	m := &metrics{registerer: r}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "lockcluster_" + name, Help: help})
		m.collectors = append(m.collectors, g)
		return g
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "lockcluster_" + name, Help: help})
		m.collectors = append(m.collectors, c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "lockcluster_" + name, Help: help, Buckets: buckets})
		m.collectors = append(m.collectors, h)
		return h
	}
	m.isLeader = gauge("raft_is_leader", "1 while this node leads.")
	m.term = gauge("raft_term", "Raft term.")
	m.commit = gauge("raft_commit_index", "Log index up to which this node knows the log to be committed.")
	m.applied = gauge("raft_applied_index", "Log index up to which this node has applied the log.")
	m.snapshotAge = gauge("raft_entries_since_snapshot", "Log entries since the newest snapshot.")
	m.inFlight = gauge("raft_proposals_in_flight", "Log entries proposed by this node whose fate is not known yet.")
	m.forwarded = counter("forwarded_requests_total", "Requests that this node has sent on to the leader.")
	m.mismatch = counter("state_hash_mismatch_total", "Comparisons in which another node had a different state.")
	m.batch = histogram("raft_batch_commands", "Commands in one log entry.", prometheus.ExponentialBuckets(1, 2, 13))
	m.apply = histogram("raft_apply_seconds", "Time to apply one log entry.", diskBuckets)
	counterFunc := func(name, help string, f func() uint64) {
		m.collectors = append(m.collectors, prometheus.NewCounterFunc(
			prometheus.CounterOpts{Name: "lockcluster_" + name, Help: help}, func() float64 { return float64(f()) },
		))
	}
	counterFunc("raft_leader_changes_total", "Leaders this node has seen since its start.", leaderChanges)
	counterFunc("log_lines_dropped_total", "Log lines of the node dropped because they could not be written fast enough.", droppedLines)
	m.store = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "lockcluster_raft_fsync_seconds", Help: "Time of one durable write, by store operation.", Buckets: diskBuckets,
	}, []string{"op"})
	m.collectors = append(m.collectors, m.store)
	m.storeOps = map[storeOp]prometheus.Observer{}
	for _, op := range []storeOp{opLogAppend, opLogTruncate, opStable} {
		m.storeOps[op] = m.store.WithLabelValues(string(op)) // looking it up costs as much as observing
	}
	if r == nil {
		return m, nil
	}
	for i, c := range m.collectors {
		if err := r.Register(c); err != nil {
			m.collectors = m.collectors[:i]
			m.close()
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) observeStore(op storeOp, d time.Duration) {
	if o := m.storeOps[op]; o != nil { // a snapshot is many small buffered writes
		o.Observe(d.Seconds())
	}
}

// observeRaft copies what raft says into the gauges.
func (m *metrics) observeRaft(n *Node) {
	leads := 0.0
	if n.raft.State() == raft.Leader {
		leads = 1
	}
	applied, _ := n.machine.position()
	m.isLeader.Set(leads)
	m.term.Set(float64(n.raft.CurrentTerm()))
	m.commit.Set(float64(n.raft.CommitIndex()))
	m.applied.Set(float64(applied))
	m.snapshotAge.Set(float64(applied - min(applied, n.snaps.lastIndex.Load())))
}

func (m *metrics) close() {
	if m.registerer == nil {
		return
	}
	for _, c := range m.collectors {
		m.registerer.Unregister(c)
	}
}
