package health

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/lockcluster/lockcluster"
)

// Limits of the HTTP answers.
const (
	// apiTimeout bounds one answer; validating the data of a large legacy store
	// takes its time.
	apiTimeout     = time.Minute
	apiRequestsMax = 4 // at a time: comparing two systems is work
	apiPrefix      = "/api/enhanced-locks/"
)

// API answers GET requests below /api/enhanced-locks/. Each function returns
// what is then shown as JSON; one that is nil is not found. None may return
// stored values, in its errors neither.
type API struct {
	Metrics      func(context.Context) (any, error) // compatibility/metrics; usually a [MetricsAnswer]
	Comparison   func(context.Context) (any, error) // compatibility/comparison
	Migration    func(context.Context) (any, error) // migration
	Mapping      func(context.Context) (any, error) // config/mapping
	DataValidate func(context.Context) (any, error) // data/validate

	// Report writes a page of HTML: migration/report.
	Report func(context.Context, io.Writer) error
}

// MetricsAnswer is what compatibility/metrics shows.
type MetricsAnswer struct {
	CompatibilityMetrics
	Performance PerformanceReport `json:"performance"`
	Health      HealthStatus      `json:"health"`
}

// Answer returns the figures together with what follows from them.
func (m *Monitor) Answer() MetricsAnswer {
	c := m.Metrics()
	return MetricsAnswer{
		CompatibilityMetrics: c, Performance: c.ComparePerformance(),
		Health: NewCompatibilityChecker(func() CompatibilityMetrics { return c }).HealthCheck(),
	}
}

// Handler serves a.
func (a API) Handler() http.Handler {
	mux := http.NewServeMux()
	busy := make(chan struct{}, apiRequestsMax)
	for path, f := range map[string]func(context.Context) (any, error){
		"compatibility/metrics": a.Metrics, "compatibility/comparison": a.Comparison, "migration": a.Migration,
		"config/mapping": a.Mapping, "data/validate": a.DataValidate,
	} {
		if f != nil {
			mux.Handle(apiPrefix+path, endpoint(busy, "application/json", func(ctx context.Context, w io.Writer) error {
				v, err := f(ctx)
				if err != nil {
					return err
				}
				return encode(w, v)
			}))
		}
	}
	if a.Report != nil {
		mux.Handle(apiPrefix+"migration/report", endpoint(busy, "text/html; charset=utf-8", a.Report))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "there is nothing at "+r.URL.Path)
	})
	return mux
}

// endpoint answers GET with what f writes, all of it or an error.
func endpoint(busy chan struct{}, contentType string, f func(context.Context, io.Writer) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			fail(w, http.StatusMethodNotAllowed, "only GET is answered here")
			return
		}
		select {
		case busy <- struct{}{}:
			defer func() { <-busy }()
		default:
			fail(w, http.StatusServiceUnavailable, "too many requests at a time, try again later")
			return
		}
		extend(w)
		ctx, cancel := context.WithTimeout(r.Context(), apiTimeout)
		defer cancel()
		var body bytes.Buffer
		if err := f(ctx, &body); err != nil {
			fail(w, statusOf(err), err.Error())
			return
		}
		send(w, http.StatusOK, contentType, body.Bytes())
	})
}

// extend gives the answer more time than the listener gives a probe; a read
// deadline that passes would cancel the request's context. A writer without
// deadlines has none to move.
func extend(w http.ResponseWriter) {
	c := http.NewResponseController(w)
	until := time.Now().Add(apiTimeout + 5*time.Second)
	_ = c.SetReadDeadline(until)
	_ = c.SetWriteDeadline(until)
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, lockcluster.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, lockcluster.ErrNoLeader), errors.Is(err, lockcluster.ErrOverloaded), errors.Is(err, lockcluster.ErrClosed),
		errors.Is(err, lockcluster.ErrOutcomeUnknown), errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

func encode(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func fail(w http.ResponseWriter, code int, text string) {
	var body bytes.Buffer
	_ = encode(&body, map[string]string{"error": text}) // strings always encode
	send(w, code, "application/json", body.Bytes())
}

func send(w http.ResponseWriter, code int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:")
	w.WriteHeader(code)
	_, _ = w.Write(body) // the caller has gone if this fails
}
