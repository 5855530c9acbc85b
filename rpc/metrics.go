package rpc

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// metrics counts and times calls by method. Methods and codes are all there
// can be as labels: both are bounded.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	methods  map[string]*methodMetrics // read only once the server serves
}

type methodMetrics struct {
	ok       prometheus.Counter // the label lookup is spared for the usual case
	name     string
	duration prometheus.Observer
}

func newMetrics() *metrics {
	return &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lockcluster_rpc_requests_total",
			Help: "gRPC calls that were answered, by method and status code.",
		}, []string{"method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "lockcluster_rpc_duration_seconds",
			Help:    "Time from the arrival of a gRPC call to its answer, by method.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"method"}),
		methods: map[string]*methodMetrics{},
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	if err := r.Register(m.requests); err != nil {
		return err
	}
	return r.Register(m.duration)
}

// prepare makes the series of every method, so that none begins late.
func (m *metrics) prepare(services map[string]grpc.ServiceInfo) {
	for service, info := range services {
		for _, method := range info.Methods {
			full := "/" + service + "/" + method.Name
			m.methods[full] = &methodMetrics{
				name: full, ok: m.requests.WithLabelValues(full, codes.OK.String()), duration: m.duration.WithLabelValues(full),
			}
		}
	}
}

func (m *metrics) observe(method string, start time.Time, code codes.Code) {
	mm := m.methods[method]
	if mm == nil {
		return
	}
	mm.duration.Observe(time.Since(start).Seconds())
	if code == codes.OK {
		mm.ok.Inc()
		return
	}
	m.requests.WithLabelValues(mm.name, code.String()).Inc()
}
