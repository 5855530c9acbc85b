package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// probeTimeout bounds the checks of one probe.
const probeTimeout = 2 * time.Second

// apiPrefix is where [Config.API] is mounted.
const apiPrefix = "/api/enhanced-locks/"

// newHTTP serves /metrics, /livez, /readyz and the API, and nothing else.
func (s *Server) newHTTP() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", s.livez)
	mux.HandleFunc("GET /readyz", s.readyz)
	if s.cfg.Gatherer != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(s.cfg.Gatherer, promhttp.HandlerOpts{
			MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
		}))
	}
	if s.cfg.API != nil {
		mux.Handle(apiPrefix, s.cfg.API)
	}
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 15 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
}

// livez says that the process runs. A node without a leader is alive: to
// restart it would help nobody.
func (s *Server) livez(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, plainText, "ok\n")
}

// outcome is one check of a probe. The JSON names are a contract.
type outcome struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Advisory bool   `json:"advisory,omitempty"`
	Problem  string `json:"problem,omitempty"`
}

// readyz says whether the node can serve, and what is wrong; with ?verbose each
// check's outcome, with ?json the same for programs.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
	defer cancel()
	outcomes := []outcome{}
	ready := s.checks(ctx, func(c Check, err error) {
		o := outcome{Name: c.Name, OK: err == nil, Advisory: c.Advisory}
		if err != nil {
			o.Problem = err.Error()
		}
		outcomes = append(outcomes, o)
	})
	code := http.StatusOK
	if !ready {
		code = http.StatusServiceUnavailable
	}
	if r.URL.Query().Has("json") {
		b, _ := json.Marshal(struct { // texts and truth values always have a form
			Ready  bool      `json:"ready"`
			Checks []outcome `json:"checks"`
		}{ready, outcomes})
		answer(w, code, "application/json", string(b)+"\n")
		return
	}
	answer(w, code, plainText, readyText(ready, outcomes, r.URL.Query().Has("verbose")))
}

// readyText is the answer of readyz for a person.
func readyText(ready bool, outcomes []outcome, verbose bool) string {
	verdict := "ok\n"
	if !ready {
		verdict = "not ready\n"
	}
	var all, wrong strings.Builder
	for _, o := range outcomes {
		switch {
		case o.OK:
			fmt.Fprintf(&all, "[+] %s ok\n", o.Name)
		case o.Advisory:
			fmt.Fprintf(&all, "[!] %s: %s\n", o.Name, o.Problem)
			fmt.Fprintf(&wrong, "warning: %s: %s\n", o.Name, o.Problem)
		default:
			fmt.Fprintf(&all, "[-] %s: %s\n", o.Name, o.Problem)
			fmt.Fprintf(&wrong, "%s: %s\n", o.Name, o.Problem)
		}
	}
	if verbose {
		return all.String() + verdict
	}
	return verdict + wrong.String()
}

const plainText = "text/plain; charset=utf-8"

func answer(w http.ResponseWriter, code int, kind, text string) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text)) // the caller has gone if this fails
}
