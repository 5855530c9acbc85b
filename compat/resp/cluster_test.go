package resp

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// mustOpenCluster opens n doors that announce each other over one system.
func mustOpenCluster(t *testing.T, sys System, n int) []*Server {
	t.Helper()
	var doors []*Server
	list := func(self int) []Node {
		var nodes []Node
		for i, d := range doors {
			nodes = append(nodes, Node{ID: fmt.Sprintf("n%d", i+1), Addr: d.Addr().String(), Leader: i == 0, Self: i == self, Live: true})
		}
		return nodes
	}
	for i := range n {
		doors = append(doors, mustOpen(t, sys, func(c *Config) { c.Nodes = func() []Node { return list(i) } }))
	}
	return doors
}

// Atlantis's cluster client sees every lock of 300 in its List, and its
// UnlockByPull frees exactly its own pull request's locks, though another
// repository's name begins alike.
func TestClusterClient(t *testing.T) {
	doors := mustOpenCluster(t, newSystem(t), 3)
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{doors[1].Addr().String()}})
	defer c.Close()
	ctx := t.Context()
	if err := c.Ping(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		repo := "org/app"
		if i%2 == 1 {
			repo = "org/app-infra"
		}
		key, value := testLock(repo, fmt.Sprintf("d%d", i), i%3+1)
		mustSet(t, c, key, value)
	}
	if n := len(scanAll(t, c, "pr*")); n != 300 {
		t.Errorf("List sees %d of 300 locks", n)
	}
	// UnlockByPull of pull 1 of org/app.
	freed := 0
	for _, key := range scanAll(t, c, "pr/org/app*") {
		value, err := c.Get(ctx, key).Result()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(value, `"Num":1,`) {
			if again := c.Get(ctx, key).Val(); again != value {
				t.Fatalf("%s changed", key)
			}
			freed += int(c.Del(ctx, key).Val())
		}
	}
	left := scanAll(t, c, "pr*")
	if freed != 50 || len(left) != 250 {
		t.Errorf("freed %d, left %d; want 50 and 250", freed, len(left))
	}
	if n := len(slices.DeleteFunc(left, func(k string) bool { return !strings.HasPrefix(k, "pr/org/app-infra/") })); n != 150 {
		t.Errorf("%d locks of the other repository are left, want 150", n)
	}
	for i := range 9 {
		key, value := testLock("org/app", fmt.Sprintf("e%d", i), 7)
		mustSet(t, c, key, value)
		if got, err := c.Eval(ctx, unlockIfOwnedByPull, []string{key}, 7).Result(); err != nil || got != value {
			t.Errorf("unlock by script on slot of %s: %v", key, err)
		}
	}
}

// CLUSTER SLOTS gives each slot once, to live nodes only, with their addresses.
func TestClusterSlots(t *testing.T) {
	nodes := []Node{
		{ID: "n2", Addr: "10.0.0.2:6379", Live: true},
		{ID: "n1", Addr: "10.0.0.1:6379", Live: true, Self: true, Leader: true},
		{ID: "n3", Addr: "10.0.0.3:6379"},
		{ID: "n4", Live: true},
		{ID: "n5", Addr: "h5:7301", Live: true},
	}
	s := mustOpen(t, newSystem(t), func(c *Config) { c.Nodes = func() []Node { return nodes } })
	c := newClient(t, s)
	slots, err := c.ClusterSlots(t.Context()).Result() //nolint:staticcheck // Atlantis's go-redis sends it
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	var addrs []string
	for _, r := range slots {
		if r.Start != next {
			t.Errorf("a range begins at %d, want %d", r.Start, next)
		}
		next = r.End + 1
		addrs = append(addrs, r.Nodes[0].Addr)
	}
	if next != slotCount || !slices.Equal(addrs, []string{"10.0.0.1:6379", "10.0.0.2:6379", "h5:7301"}) {
		t.Errorf("slots end at %d, nodes %q", next, addrs)
	}
	shards, err := c.ClusterShards(t.Context()).Result()
	if err != nil || len(shards) != 3 || shards[2].Nodes[0].Port != 7301 {
		t.Errorf("shards: %+v, %v", shards, err)
	}
	lines := strings.Split(strings.TrimSpace(c.ClusterNodes(t.Context()).Val()), "\n")
	if len(lines) != 5 || !strings.Contains(lines[1], "myself,master") || !strings.Contains(lines[2], "fail?") {
		t.Errorf("nodes: %q", lines)
	}
	if id := c.ClusterMyID(t.Context()).Val(); !strings.HasPrefix(lines[1], id) {
		t.Errorf("my id is %s", id)
	}
	if info := c.ClusterInfo(t.Context()).Val(); !strings.Contains(info, "cluster_state:ok") {
		t.Errorf("info: %q", info)
	}
}

// redis-cli works, in its plain and its cluster mode.
func TestRedisCLI(t *testing.T) {
	path, err := exec.LookPath("redis-cli")
	if err != nil {
		t.Skip("SKIPPED: no redis-cli on this machine; make test installs it (apt-get install redis-tools)")
	}
	doors := mustOpenCluster(t, newSystem(t), 3)
	run := func(args ...string) string {
		t.Helper()
		_, port, _ := strings.Cut(doors[0].Addr().String(), ":")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, path, append([]string{"-p", port}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("redis-cli %q: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	key, value := testLock("org/app", "d1", 1)
	_, other := testLock("org/app", "d1", 2)
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"ping"}, "PONG"},
		{[]string{"set", key, value}, "OK"},
		{[]string{"-c", "get", key}, value},
		{[]string{"-3", "set", key, other}, "LOCKED held by pull request #1 of org/app since 2026-11-23T12:00:00Z"},
		{[]string{"--scan", "--pattern", "pr/*"}, key},
		{[]string{"keys", "pr/org/a*"}, key},
		{[]string{"-n", "2", "exists", key}, "0"},
		{[]string{"eval", "return {KEYS[1],ARGV[1]}", "1", "k", "v"}, "k\nv"},
		{[]string{"-c", "del", key}, "1"},
		{[]string{"flushall"}, "ERR FLUSHALL is refused: it would free every lock of every Atlantis here; release locks one by one, or by pull request"},
	} {
		if got := run(step.args...); got != step.want {
			t.Errorf("redis-cli %q\ngot  %s\nwant %s", step.args, got, step.want)
		}
	}
	if got := run("--bigkeys"); !strings.Contains(got, "Sampled 0 keys") {
		t.Errorf("bigkeys: %s", got)
	}
}

// A door whose node is stopped is left for another by the cluster client.
func TestClusterClientLosesNode(t *testing.T) {
	sys := newSystem(t)
	doors := mustOpenCluster(t, sys, 2)
	gone, err := Open(Config{Addr: "127.0.0.1:0"}, sys)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{gone.Addr().String(), doors[0].Addr().String(), doors[1].Addr().String()}})
	defer c.Close()
	if err := gone.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(t.Context(), "k").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("got %v", err)
	}
}
