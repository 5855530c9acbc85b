package migration

import (
	"errors"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// startRedis starts a real redis-server with more arguments, and returns its
// port.
func startRedis(t *testing.T, more ...string) int {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("SKIPPED: no redis-server on this machine; make test installs it (apt-get install redis-server)")
	}
	port := testutil.FreePort(t)
	cmd := exec.Command(path, append([]string{
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir(),
	}, more...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	testutil.WaitFor(t, 20*time.Second, func() error {
		c, err := net.Dial("tcp", redisAddr(port))
		if err != nil {
			return err
		}
		return c.Close()
	})
	return port
}

func redisAddr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// startRedisCluster starts a Redis Cluster of three masters and returns their
// addresses.
func startRedisCluster(t *testing.T) []string {
	t.Helper()
	ctx := t.Context()
	var addrs []string
	var clients []*redis.Client
	for i := range 3 {
		bus := testutil.FreePort(t)
		port := startRedis(t, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus), "--cluster-node-timeout", "5000")
		c := redis.NewClient(&redis.Options{Addr: redisAddr(port)})
		t.Cleanup(func() { _ = c.Close() })
		if err := c.Do(ctx, "cluster", "addslotsrange", i*redisSlots/3, (i+1)*redisSlots/3-1).Err(); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			if err := clients[0].Do(ctx, "cluster", "meet", "127.0.0.1", port, bus).Err(); err != nil {
				t.Fatal(err)
			}
		}
		addrs, clients = append(addrs, redisAddr(port)), append(clients, c)
	}
	for _, c := range clients {
		testutil.WaitFor(t, 30*time.Second, func() error {
			info, err := c.ClusterInfo(ctx).Result()
			if err == nil && (!strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3")) {
				err = errors.New(info)
			}
			return err
		})
	}
	return addrs
}

// startSentinel starts a Sentinel over the master at port.
func startSentinel(t *testing.T, port int, password string) string {
	t.Helper()
	sentinel := startRedisSentinel(t)
	c := redis.NewClient(&redis.Options{Addr: redisAddr(sentinel)})
	defer c.Close()
	for _, args := range [][]any{
		{"sentinel", "monitor", "locks", "127.0.0.1", port, 1},
		{"sentinel", "set", "locks", "auth-pass", password},
	} {
		if err := c.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	return redisAddr(sentinel)
}

func startRedisSentinel(t *testing.T) int {
	t.Helper()
	file := t.TempDir() + "/sentinel.conf"
	if err := writePrivate(file, []byte("sentinel resolve-hostnames no\n")); err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("SKIPPED: no redis-server on this machine; make test installs it (apt-get install redis-server)")
	}
	port := testutil.FreePort(t)
	cmd := exec.Command(path, file, "--sentinel", "--port", strconv.Itoa(port), "--bind", "127.0.0.1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	testutil.WaitFor(t, 20*time.Second, func() error {
		c, err := net.Dial("tcp", redisAddr(port))
		if err != nil {
			return err
		}
		return c.Close()
	})
	return port
}

// fillRedis stores a fixture in a Redis as Atlantis would.
func fillRedis(t *testing.T, c redis.UniversalClient, file string) {
	t.Helper()
	cp, err := CopyBolt(t.Context(), file, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	src, err := ReadBolt(cp)
	if err := errors.Join(err, cp.Close()); err != nil {
		t.Fatal(err)
	}
	for _, r := range src.Records {
		key := map[string]string{BucketLocks: "pr/", BucketCommandLocks: "global/"}[r.Bucket] + r.Key
		if err := c.Set(t.Context(), key, r.Value, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
}
