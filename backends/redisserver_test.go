package backends_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/backends/backendtest"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// server is a real redis-server.
type server struct {
	addr string
	cmd  *exec.Cmd
}

// startServer starts a redis-server, or says why the test cannot run.
func startServer(t testing.TB, port int, args ...string) *server {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("SKIPPED: no redis-server on this machine; make test installs it (apt-get install redis-server)")
	}
	args = append(args, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", t.TempDir(), "--logfile", "redis.log")
	s := &server{addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), cmd: exec.Command(path, args...)}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	testutil.WaitFor(t, 10*time.Second, func() error {
		c := s.client()
		defer c.Close()
		err := c.Ping(t.Context()).Err()
		if err != nil && strings.HasPrefix(err.Error(), "NOAUTH") {
			return nil
		}
		return err
	})
	return s
}

// plain is a server that keeps nothing on disk.
func plain(t testing.TB, args ...string) *server {
	t.Helper()
	return startServer(t, testutil.FreePort(t), append(args, "--save", "", "--appendonly", "no")...)
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// pause stops the process until resume.
func (s *server) pause(t testing.TB)  { s.signal(t, syscall.SIGSTOP) }
func (s *server) resume(t testing.TB) { s.signal(t, syscall.SIGCONT) }

func (s *server) signal(t testing.TB, sig os.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func (s *server) client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.addr, MaxRetries: -1})
}

// startRedisCluster starts three masters that share the slots.
func startRedisCluster(t testing.TB) []*server {
	t.Helper()
	const n = 3
	ports := testutil.FreePorts(t, 2*n)
	var nodes []*server
	for i := range n {
		nodes = append(nodes, startServer(t, ports[i], "--save", "", "--appendonly", "no", "--cluster-enabled", "yes",
			"--cluster-port", strconv.Itoa(ports[n+i]), "--cluster-node-timeout", "5000"))
	}
	for i, node := range nodes {
		c := node.client()
		defer c.Close()
		if err := c.ClusterAddSlotsRange(t.Context(), i*16384/n, (i+1)*16384/n-1).Err(); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			if err := c.Do(t.Context(), "cluster", "meet", "127.0.0.1", ports[0], ports[n]).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, node := range nodes {
		c := node.client()
		defer c.Close()
		testutil.WaitFor(t, 30*time.Second, func() error {
			info, err := c.ClusterInfo(t.Context()).Result()
			if err == nil && (!strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3")) {
				err = errors.New("the cluster is not there yet")
			}
			return err
		})
	}
	return nodes
}

// sentinelSet is a master with a replica, watched by one Sentinel.
type sentinelSet struct {
	master, replica, sentinel *server
}

const sentinelMaster = "legacy"

func startSentinelSet(t testing.TB) *sentinelSet {
	t.Helper()
	s := &sentinelSet{master: plain(t, "--repl-diskless-sync-delay", "0")}
	host, port, _ := net.SplitHostPort(s.master.addr)
	s.replica = plain(t, "--replicaof", host+" "+port)
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor %s %s %s 1\nsentinel down-after-milliseconds %s 500\nsentinel failover-timeout %s 3000\n",
		sentinelMaster, host, port, sentinelMaster, sentinelMaster)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.sentinel = startServer(t, testutil.FreePort(t), conf, "--sentinel")
	c := redis.NewSentinelClient(&redis.Options{Addr: s.sentinel.addr})
	defer c.Close()
	testutil.WaitFor(t, 30*time.Second, func() error {
		replicas, err := c.Replicas(t.Context(), sentinelMaster).Result()
		if err == nil && (len(replicas) != 1 || replicas[0]["master-link-status"] != "ok") {
			err = errors.New("the Sentinel does not see the replica yet")
		}
		return err
	})
	return s
}

// redisHarness is the empty Redis at url; raw is a client of the same.
func redisHarness(t *testing.T, url string, raw redis.UniversalClient) backendtest.Harness {
	t.Helper()
	flush(t, raw)
	o := backends.Options{Backend: "redis", URL: url}
	b := mustOpen(t, o)
	return backendtest.Harness{
		Namespace: lockcluster.DefaultNamespace, Fence: backends.Fence{Term: 1, Epoch: 1}, Backend: b,
		Reopen: func(t testing.TB) backends.Backend {
			t.Helper()
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			b = mustOpen(t, o)
			return b
		},
		Second: func(t testing.TB) backends.Backend { t.Helper(); return mustOpen(t, o) },
		Raw: func(t testing.TB, space lockcluster.Space, key string) []byte {
			t.Helper()
			v, err := raw.Get(t.Context(), redisKey(space, key)).Bytes()
			if err != nil && !errors.Is(err, redis.Nil) {
				t.Fatal(err)
			}
			return v
		},
		PutRaw: func(t testing.TB, space lockcluster.Space, key string, value []byte) {
			t.Helper()
			var err error
			if value == nil {
				err = raw.Del(t.Context(), redisKey(space, key)).Err()
			} else {
				err = raw.Set(t.Context(), redisKey(space, key), value, 0).Err()
			}
			if err != nil {
				t.Fatal(err)
			}
		},
	}
}

func flush(t testing.TB, raw redis.UniversalClient) {
	t.Helper()
	err := raw.FlushAll(t.Context()).Err()
	if c, ok := raw.(*redis.ClusterClient); ok {
		err = c.ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error { return node.FlushAll(ctx).Err() })
	}
	if err != nil {
		t.Fatal(err)
	}
}

func redisKey(space lockcluster.Space, key string) string {
	switch space {
	case lockcluster.SpaceLock:
		return "pr/" + key
	case lockcluster.SpaceCommand:
		return compat.CommandLockKey(key)
	default:
		return key
	}
}
