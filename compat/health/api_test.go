package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
)

func ask(tb testing.TB, h http.Handler, method, path string) *httptest.ResponseRecorder {
	tb.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(tb.Context(), method, path, nil))
	return w
}

func value(v any) func(context.Context) (any, error) {
	return func(context.Context) (any, error) { return v, nil }
}

// Every path answers with what its function returns, as JSON that nobody
// stores; the metrics carry a performance report.
func TestAPI(t *testing.T) {
	m := NewMonitor(MonitorConfig{Recorder: mustRecorder(t, nil)})
	h := API{
		Metrics: func(context.Context) (any, error) { return m.Answer(), nil }, Comparison: value("comparison"), Migration: value("migration"),
		Mapping: value("mapping"), DataValidate: value("validate"),
		Report: func(_ context.Context, w io.Writer) error {
			_, err := io.WriteString(w, "<!doctype html>")
			return err
		},
	}.Handler()
	for path, want := range map[string]string{
		"compatibility/comparison": `"comparison"`, "migration": `"migration"`, "config/mapping": `"mapping"`, "data/validate": `"validate"`,
	} {
		w := ask(t, h, http.MethodGet, apiPrefix+path)
		if w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != want || w.Header().Get("Content-Type") != "application/json" ||
			w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %q %v", path, w.Code, w.Body, w.Header())
		}
	}
	w := ask(t, h, http.MethodGet, apiPrefix+"compatibility/metrics")
	var answer struct {
		Performance    *PerformanceReport `json:"performance"`
		LegacyLatency  *LatencyMetrics    `json:"legacy_latency"`
		ErrorRates     *ErrorMetrics      `json:"error_rates"`
		ThroughputRate *float64           `json:"throughput_ratio"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Performance == nil || answer.Performance.Recommendation == "" ||
		answer.LegacyLatency == nil || answer.ErrorRates == nil || answer.ThroughputRate == nil {
		t.Errorf("metrics: %v %s", err, w.Body)
	}
	w = ask(t, h, http.MethodGet, apiPrefix+"migration/report")
	if w.Code != http.StatusOK || w.Body.String() != "<!doctype html>" || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("report: %d %q %v", w.Code, w.Body, w.Header())
	}
}

// What cannot be answered says so as JSON, with a status that fits.
func TestAPIErrors(t *testing.T) {
	var failure error
	h := API{
		Migration:  func(context.Context) (any, error) { return nil, failure },
		Comparison: value(math.NaN()),
		Report: func(_ context.Context, w io.Writer) error {
			_, _ = io.WriteString(w, "half a page")
			return errors.New("no series")
		},
	}.Handler()
	check := func(method, path string, code int, text string) {
		t.Helper()
		w := ask(t, h, method, apiPrefix+path)
		var answer struct {
			Error string `json:"error"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Errorf("%s: %v in %q", path, err, w.Body)
		}
		if w.Code != code || !strings.Contains(answer.Error, text) || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %d %q, want %d %q", method, path, w.Code, answer.Error, code, text)
		}
	}
	for err, code := range map[error]int{
		fmt.Errorf("%w: bad range", lockcluster.ErrInvalid):               http.StatusBadRequest,
		&lockcluster.NotLeaderError{}:                                     http.StatusServiceUnavailable,
		fmt.Errorf("read: %w", lockcluster.ErrOverloaded):                 http.StatusServiceUnavailable,
		fmt.Errorf("read the legacy store: %w", context.DeadlineExceeded): http.StatusGatewayTimeout,
		errors.New("broken"):                                              http.StatusInternalServerError,
	} {
		failure = err
		check(http.MethodGet, "migration", code, err.Error())
	}
	check(http.MethodPost, "migration", http.StatusMethodNotAllowed, "only GET")
	check(http.MethodGet, "compatibility/comparison", http.StatusInternalServerError, "NaN")
	check(http.MethodGet, "migration/report", http.StatusInternalServerError, "no series")
	check(http.MethodGet, "config/mapping", http.StatusNotFound, "nothing at")
	check(http.MethodGet, "migration/", http.StatusNotFound, "nothing at")
}

// More requests than may run at a time are turned away, not queued.
func TestAPILimit(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	h := API{DataValidate: func(context.Context) (any, error) {
		entered <- struct{}{}
		<-leave
		return true, nil
	}}.Handler()
	codes := make(chan int)
	for range apiRequestsMax {
		go func() { codes <- ask(t, h, http.MethodGet, apiPrefix+"data/validate").Code }()
		<-entered
	}
	if w := ask(t, h, http.MethodGet, apiPrefix+"data/validate"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("one more: %d, want 503", w.Code)
	}
	close(leave)
	for range apiRequestsMax {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("a request that was let in: %d", code)
		}
	}
}

// An answer may take longer than a listener allows for a probe: neither of its
// deadlines ends the request.
func TestAPITakesItsTime(t *testing.T) {
	const limit = 50 * time.Millisecond
	h := API{DataValidate: func(ctx context.Context) (any, error) {
		select { // real time: the deadlines of a socket are the kernel's
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(4 * limit):
			return "done", nil
		}
	}}.Handler()
	server := httptest.NewUnstartedServer(h)
	server.Config.ReadTimeout, server.Config.WriteTimeout = limit, limit
	server.Start()
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+apiPrefix+"data/validate", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || strings.TrimSpace(string(body)) != `"done"` {
		t.Errorf("%d %q %v", resp.StatusCode, body, err)
	}
}
