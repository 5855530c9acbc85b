package rpc_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promtest "github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/rpc"
)

func get(tb testing.TB, url string, want int) string {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		tb.Fatalf("%s: %d, %v; want %d\n%s", url, resp.StatusCode, err, want, b)
	}
	return string(b)
}

// The HTTP listener serves probes and metrics and nothing else; /readyz follows
// the checks at once and names what fails.
func TestHTTP(t *testing.T) {
	var problem atomic.Pointer[string]
	var advice atomic.Bool
	registry := prometheus.NewRegistry()
	s := newSystem(t, 1, func(c *rpc.Config, sys *rpc.System) {
		c.HTTPAddr, c.Registerer, c.Gatherer = "127.0.0.1:0", registry, registry
		sys.Checks = []rpc.Check{{Name: "leader", Run: func(context.Context) error {
			if p := problem.Load(); p != nil {
				return errors.New(*p)
			}
			return nil
		}}, {Name: "legacy", Advisory: true, Run: func(context.Context) error {
			if advice.Load() {
				return errors.New("away")
			}
			return nil
		}}}
	})
	base := "http://" + s.nodes[0].server.HTTPAddr()
	if got := get(t, base+"/readyz", 200); got != "ok\n" {
		t.Errorf("ready: %q", got)
	}
	if got := get(t, base+"/readyz?verbose", 200); got != "[+] accepting ok\n[+] leader ok\n[+] legacy ok\nok\n" {
		t.Errorf("ready, verbose: %q", got)
	}
	text := "no leader"
	problem.Store(&text)
	if got := get(t, base+"/readyz", 503); got != "not ready\nleader: no leader\n" {
		t.Errorf("not ready: %q", got)
	}
	if got := get(t, base+"/readyz?verbose", 503); got != "[+] accepting ok\n[-] leader: no leader\n[+] legacy ok\nnot ready\n" {
		t.Errorf("not ready, verbose: %q", got)
	}
	get(t, base+"/livez", 200)
	problem.Store(nil)
	advice.Store(true)
	if got := get(t, base+"/readyz", 200); got != "ok\nwarning: legacy: away\n" {
		t.Errorf("an advisory check: %q", got)
	}
	if got := get(t, base+"/readyz?verbose", 200); got != "[+] accepting ok\n[+] leader ok\n[!] legacy: away\nok\n" {
		t.Errorf("an advisory check, verbose: %q", got)
	}
	if got := get(t, base+"/readyz?json", 200); got != `{"ready":true,"checks":[{"name":"accepting","ok":true},`+
		`{"name":"leader","ok":true},{"name":"legacy","ok":false,"advisory":true,"problem":"away"}]}`+"\n" {
		t.Errorf("an advisory check, JSON: %q", got)
	}
	advice.Store(false)
	s.nodes[0].server.Drain()
	get(t, base+"/readyz", 503)
	get(t, base+"/livez", 200)
	for _, path := range []string{"/", "/debug/pprof/", "/api/locks", "/livez/x"} {
		get(t, base+path, 404)
	}
	if got := get(t, base+"/metrics", 200); !strings.Contains(got, `lockcluster_rpc_requests_total{code="OK",method="/lockcluster.v1.LockService/Acquire"} 0`) {
		t.Errorf("metrics:\n%.2000s", got)
	}
	if problems, err := promtest.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("metrics lint: %v, %v", problems, err)
	}
}

// What is below /api/enhanced-locks/ is the API's to answer, and nothing else is.
func TestHTTPAPI(t *testing.T) {
	s := newSystem(t, 1, func(c *rpc.Config, _ *rpc.System) {
		c.HTTPAddr = "127.0.0.1:0"
		c.API = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "API "+r.URL.Path) })
	})
	base := "http://" + s.nodes[0].server.HTTPAddr()
	if got := get(t, base+"/api/enhanced-locks/migration", 200); got != "API /api/enhanced-locks/migration" {
		t.Errorf("answer = %q", got)
	}
	get(t, base+"/api/locks", 404)
	if got := get(t, base+"/livez", 200); got != "ok\n" {
		t.Errorf("livez = %q", got)
	}
	without := newSystem(t, 1, func(c *rpc.Config, _ *rpc.System) { c.HTTPAddr = "127.0.0.1:0" })
	get(t, "http://"+without.nodes[0].server.HTTPAddr()+"/api/enhanced-locks/migration", 404)
}

// The health service says what /readyz says, to those who ask and to those who
// watch, and lets the server stop; reflection lists the services.
func TestHealthAndReflection(t *testing.T) {
	var broken atomic.Bool
	s := newSystem(t, 1, func(_ *rpc.Config, sys *rpc.System) {
		sys.Checks = []rpc.Check{{Name: "leader", Run: func(context.Context) error {
			if broken.Load() {
				return lockcluster.ErrNoLeader
			}
			return nil
		}}}
	})
	cc := connect(t, s.nodes[0])
	ctx := t.Context()
	h := healthpb.NewHealthClient(cc)
	for _, service := range []string{"", "lockcluster.v1.LockService"} {
		r, err := h.Check(ctx, &healthpb.HealthCheckRequest{Service: service})
		if err != nil || r.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Fatalf("%q: %v, %v", service, r, err)
		}
	}
	if _, err := h.Check(ctx, &healthpb.HealthCheckRequest{Service: "x"}); status.Code(err) != codes.NotFound {
		t.Fatalf("got %v", err)
	}
	watch, err := h.Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []healthpb.HealthCheckResponse_ServingStatus{healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING} {
		r, err := watch.Recv()
		if err != nil || r.GetStatus() != want {
			t.Fatalf("%v, %v; want %v", r, err, want)
		}
		broken.Store(true)
	}
	ref, err := reflectionpb.NewServerReflectionClient(cc).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := ref.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	r, err := ref.Recv()
	if err != nil || len(r.GetListServicesResponse().GetService()) < 5 {
		t.Fatalf("%v, %v", r, err)
	}
	if err := ref.CloseSend(); err != nil {
		t.Fatal(err)
	}
	closeCtx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.nodes[0].server.Close(closeCtx); err != nil {
		t.Fatalf("a watcher kept the server from stopping: %v", err)
	}
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Fatalf("the watcher was told %v", err)
	}
}
