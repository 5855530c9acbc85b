package rpc

import (
	"context"
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
	answer(w, http.StatusOK, "ok\n")
}

// readyz says whether the node can serve; with ?verbose each check's outcome.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
	defer cancel()
	var verbose, failed strings.Builder
	ready := s.checks(ctx, func(name string, err error) {
		if err == nil {
			fmt.Fprintf(&verbose, "[+] %s ok\n", name)
			return
		}
		fmt.Fprintf(&verbose, "[-] %s: %v\n", name, err)
		fmt.Fprintf(&failed, "%s: %v\n", name, err)
	})
	code, text := http.StatusOK, "ok\n"
	if !ready {
		code, text = http.StatusServiceUnavailable, "not ready\n"+failed.String()
	}
	if r.URL.Query().Has("verbose") {
		text = verbose.String() + strings.SplitAfter(text, "\n")[0]
	}
	answer(w, code, text)
}

func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text)) // the caller has gone if this fails
}
