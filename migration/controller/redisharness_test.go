package controller

import (
	"context"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// redisSite is a site whose nodes share a real Redis that keeps its data in dir.
type redisSite struct {
	*site
	port   int
	dir    string
	server *exec.Cmd
	raw    *redis.Client
}

func newRedisSite(t *testing.T, mode lockcluster.Mode) *redisSite {
	t.Helper()
	s := &redisSite{port: testutil.FreePort(t), dir: t.TempDir()}
	s.startRedis(t, s.dir)
	t.Cleanup(func() { s.killRedis() })
	s.raw = redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + strconv.Itoa(s.port), MaxRetries: -1})
	t.Cleanup(func() { _ = s.raw.Close() })
	at := atRedis(s.port)
	s.site = newSite(t, map[string]func(*Config){"n1": at, "n2": at, "n3": at})
	s.begin(mode)
	return s
}

// newHeldSite is a redisSite in which pull 7 holds the lock of acme/app.
func newHeldSite(t *testing.T, mode lockcluster.Mode) *redisSite {
	t.Helper()
	s := newRedisSite(t, mode)
	s.hold(mode)
	return s
}

// atRedis configures a node with the Redis of a port.
func atRedis(port int) func(*Config) {
	return func(cfg *Config) {
		cfg.Attached = &Attached{Kind: KindRedis, Namespace: lockcluster.DefaultNamespace, Open: func(ctx context.Context) (backends.Backend, error) {
			return backends.Open(ctx, backends.Options{Backend: KindRedis, URL: "redis://127.0.0.1:" + strconv.Itoa(port), Timeout: 3 * time.Second})
		}}
	}
}

func (s *redisSite) startRedis(t *testing.T, dir string) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("SKIPPED: no redis-server on this machine; make test installs it (apt-get install redis-server)")
	}
	s.server = exec.Command(path, "--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--logfile", "redis.log")
	if err := s.server.Start(); err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + strconv.Itoa(s.port), MaxRetries: -1})
	defer c.Close()
	testutil.WaitFor(t, 30*time.Second, func() error { return c.Ping(t.Context()).Err() })
}

func (s *redisSite) killRedis() {
	_ = s.server.Process.Kill()
	_ = s.server.Wait()
}

func (s *redisSite) flush() {
	s.t.Helper()
	if err := s.raw.FlushAll(s.t.Context()).Err(); err != nil {
		s.t.Fatal(err)
	}
}
