package backends_test

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster/backends/backendtest"
)

// TestRedis: a single Redis keeps to the suite.
func TestRedis(t *testing.T) {
	s := plain(t)
	raw := s.client()
	defer raw.Close()
	backendtest.Run(t, func(t *testing.T) backendtest.Harness { return redisHarness(t, "redis://"+s.addr, raw) })
}

// TestRedisCluster: three masters keep to the suite, but for transactions over
// several slots.
func TestRedisCluster(t *testing.T) {
	nodes := startRedisCluster(t)
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.addr)
	}
	raw := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	defer raw.Close()
	backendtest.Run(t, func(t *testing.T) backendtest.Harness {
		h := redisHarness(t, "redis+cluster://"+strings.Join(addrs, ","), raw)
		h.Split = true
		return h
	})
}

// TestRedisSentinel: the master that a Sentinel names keeps to the suite.
func TestRedisSentinel(t *testing.T) {
	s := startSentinelSet(t)
	raw := s.master.client()
	defer raw.Close()
	backendtest.Run(t, func(t *testing.T) backendtest.Harness {
		return redisHarness(t, "redis+sentinel://"+s.sentinel.addr+"/"+sentinelMaster, raw)
	})
}
