package backends_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
)

// A Redis Cluster is not asked for the marks of its 16384 slots by what comes all
// the time: the look at it once a second, and listings and scripts.
func TestRedisClusterIsLookedAtCheaply(t *testing.T) {
	nodes := startRedisCluster(t)
	b, known, _ := marked(t, "redis+cluster://"+nodes[0].addr, backends.Fence{Term: 1, Epoch: 1})
	if _, err := b.View(known); err != nil {
		t.Fatal(err)
	}
	commands := func() (n int) {
		for _, node := range nodes {
			raw := node.client()
			info := raw.Info(t.Context(), "stats").Val()
			_ = raw.Close()
			for line := range strings.Lines(info) {
				if v, ok := strings.CutPrefix(strings.TrimSpace(line), "total_commands_processed:"); ok {
					one, _ := strconv.Atoi(v)
					n += one
				}
			}
		}
		return n
	}
	before := commands()
	for range 5 {
		if err := b.Check(known); err != nil {
			t.Fatal(err)
		}
		if _, err := b.View(known); err != nil {
			t.Fatal(err)
		}
	}
	if n := commands() - before; n > 5000 {
		t.Errorf("five looks and five listings took %d commands", n)
	}
}

// What was lost of a Redis Cluster is noticed by a listing: a master that was
// emptied by everybody, a single slot by who knew that it held a lock, again and
// again.
func TestRedisClusterLossIsNoticed(t *testing.T) {
	nodes := startRedisCluster(t)
	url := "redis+cluster://" + nodes[0].addr
	f := backends.Fence{Term: 1, Epoch: 1}
	b, known, _ := marked(t, url, f)
	for i := range 5 {
		if res, err := b.Do(known, f, time.Now(), acquirePull(lockKey(fmt.Sprintf("d%d", i)), 1)); err != nil || res.Status != lockcluster.StatusGranted {
			t.Fatalf("%s, %v", res.Status, err)
		}
	}
	raw := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].addr}})
	defer raw.Close()
	slot := raw.ClusterKeySlot(t.Context(), "pr/"+lockKey("a").Text()).Val()
	for _, node := range nodes {
		one := node.client()
		defer one.Close()
		for _, key := range one.ClusterGetKeysInSlot(t.Context(), int(slot), 10).Val() {
			if err := raw.Del(t.Context(), key).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 3 {
		if _, err := b.View(known); !errors.Is(err, backends.ErrOtherStore) {
			t.Errorf("a listing without a slot: %v", err)
		}
	}
	one := nodes[1].client()
	defer one.Close()
	flush(t, one)
	other := mustOpen(t, backends.Options{Backend: "redis", URL: url})
	if _, err := other.View(known); !errors.Is(err, backends.ErrOtherStore) {
		t.Errorf("a listing without a master: %v", err)
	}
	if err := other.Check(known); !errors.Is(err, backends.ErrOtherStore) {
		t.Errorf("a look without a master: %v", err)
	}
}
