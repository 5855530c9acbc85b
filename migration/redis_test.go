package migration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// readOnly are all commands that an import may send.
var readOnly = []string{"scan", "get", "pttl", "type", "cluster|slots", "hello", "auth", "select", "command", "ping", "info", "config|resetstat"}

// onlyRead checks which commands a server has got since its statistics were
// reset.
func onlyRead(t *testing.T, addr, password string) {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, Password: password, DisableIdentity: true})
	defer c.Close()
	stats, err := c.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	seen := regexp.MustCompile(`cmdstat_([^:]+):`).FindAllStringSubmatch(stats, -1)
	if !strings.Contains(stats, "cmdstat_scan:") || !strings.Contains(stats, "cmdstat_get:") {
		t.Errorf("%s was not read: %s", addr, stats)
	}
	for _, m := range seen {
		if !slices.Contains(readOnly, m[1]) {
			t.Errorf("%s got %s", addr, m[1])
		}
	}
}

func resetStats(t *testing.T, addr, password string) {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, Password: password})
	defer c.Close()
	if err := c.ConfigResetStat(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

// A Redis, single with a password, behind Sentinel or a Cluster, is imported
// like the file with the same records, by commands that only read, and the
// password and stored values are in no report.
func TestImportRedisEqualsBolt(t *testing.T) {
	const password = "CANARY-redis/pass@word"
	single := startRedis(t, "--requirepass", password)
	nodes := startRedisCluster(t)
	watched := startRedis(t, "--requirepass", password)
	sentinel := startSentinel(t, watched, password)
	secret := ":" + strings.NewReplacer("/", "%2F", "@", "%40").Replace(password) + "@"
	one := redis.NewClient(&redis.Options{Addr: redisAddr(single), Password: password, DB: 3})
	defer one.Close()
	two := redis.NewClient(&redis.Options{Addr: redisAddr(watched), Password: password, DB: 3})
	defer two.Close()
	many := redis.NewClusterClient(&redis.ClusterOptions{Addrs: nodes})
	defer many.Close()
	for _, name := range fixtureNames {
		f := mustFixture(t, name)
		bolt := newCluster()
		want := mustImport(t, bolt, f.file)
		if err := errors.Join(one.FlushDB(t.Context()).Err(), two.FlushDB(t.Context()).Err(), many.ForEachMaster(t.Context(), func(ctx context.Context, c *redis.Client) error {
			return c.FlushAll(ctx).Err()
		})); err != nil {
			t.Fatal(err)
		}
		fillRedis(t, one, f.file)
		fillRedis(t, two, f.file)
		fillRedis(t, many, f.file)
		for from, addrs := range map[string][]string{
			"redis://" + secret + redisAddr(single) + "/3":       {redisAddr(single)},
			"redis+sentinel://" + secret + sentinel + "/locks/3": {redisAddr(watched)},
			"redis+cluster://" + nodes[0] + "," + nodes[1]:       nodes,
		} {
			pass := password
			if len(addrs) > 1 {
				pass = ""
			}
			u, err := ParseRedisURL(from)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(name+" "+u.kind, func(t *testing.T) {
				for _, a := range addrs {
					resetStats(t, a, pass)
				}
				c := newCluster()
				r, err := ImportRedis(t.Context(), c, RedisImport{URL: u})
				if err != nil {
					t.Fatal(err)
				}
				if r.Digest != want.Digest || r.Imported != want.Imported || r.Pulls != want.Pulls || r.CommandLocks != want.CommandLocks ||
					len(r.Conflicts) != len(want.Conflicts) || r.SourceSHA256 != r.SourceSHA256After {
					t.Errorf("imported %+v, from the file %+v", r, want)
				}
				// A pull status with a key that is none is another key in Redis.
				if len(r.Quarantined)+r.OtherKeys != len(want.Quarantined) {
					t.Errorf("left out %+v and %d others, from the file %+v", r.Quarantined, r.OtherKeys, want.Quarantined)
				}
				got, _ := c.mem.Hashes()
				if all, _ := bolt.mem.Hashes(); got.Data != all.Data {
					t.Error("the cluster holds something else than after the import of the file")
				}
				dry, err := ImportRedis(t.Context(), nil, RedisImport{URL: u, DryRun: true})
				if err != nil || dry.Digest != r.Digest {
					t.Errorf("the dry run: %+v, %v", dry, err)
				}
				b, err := json.Marshal([]*Report{r, dry})
				if err != nil || strings.Contains(string(b), "CANARY") || strings.Contains(fmt.Sprintf("%v %+v %#v", u, u, u), "CANARY") {
					t.Errorf("the password or a value is shown, %v", err)
				}
				if u.kind != redisSentinel { // a Sentinel writes to its master by itself
					for _, a := range addrs {
						onlyRead(t, a, pass)
					}
				}
			})
		}
	}
}

// What is odd in a Redis is told: other types, times to live, foreign keys,
// and both forms of a key.
func TestImportRedisOddities(t *testing.T) {
	port := startRedis(t)
	c := redis.NewClient(&redis.Options{Addr: redisAddr(port)})
	defer c.Close()
	ctx := t.Context()
	old := lockValue("acme/app", "old", 1, noon, "")
	short := lockValue("acme/app", "short", 2, noon, "")
	if err := errors.Join(
		c.Set(ctx, "pr/acme/app/old/default", old, 0).Err(),
		c.Set(ctx, "pr/acme/app/old/default/", old, 0).Err(),
		c.Set(ctx, "pr/acme/app/short/default/", short, time.Hour).Err(),
		c.HSet(ctx, "pr/acme/app/hash/default/", "a", "CANARY").Err(),
		c.Set(ctx, "global/apply/lock", string(compat.NewCommandLockValue(compat.CommandApply, noon)), 0).Err(),
		c.Set(ctx, "session:1", "CANARY", 0).Err(),
	); err != nil {
		t.Fatal(err)
	}
	u, err := ParseRedisURL("redis://" + redisAddr(port))
	if err != nil {
		t.Fatal(err)
	}
	r, err := ImportRedis(ctx, newCluster(), RedisImport{URL: u})
	if err != nil {
		t.Fatal(err)
	}
	if r.Imported != 2 || r.CommandLocks != 1 || r.OtherKeys != 1 || len(r.Duplicates) != 1 || len(r.Quarantined) != 1 || r.Complete() {
		t.Errorf("%+v", r)
	}
	if len(r.Quarantined) == 1 && r.Quarantined[0].Reason != "it is a hash, not a string" {
		t.Errorf("quarantined: %+v", r.Quarantined)
	}
	if len(r.Notes) != 1 || r.Notes[0].Key != "acme/app/short/default/" || r.Notes[0].About[0] != expiringText {
		t.Errorf("notes: %+v", r.Notes)
	}
}

// While an Atlantis writes, what an import takes over is what two readings
// agreed on, or the keys that they did not agree on are named; and every lock
// that was there all the time is imported.
func TestImportRedisWhileWritten(t *testing.T) {
	port := startRedis(t)
	c := redis.NewClient(&redis.Options{Addr: redisAddr(port)})
	defer c.Close()
	ctx := t.Context()
	for i := range 300 {
		path := fmt.Sprintf("stay%d", i)
		if err := c.Set(ctx, "pr/acme/app/"+path+"/default/", lockValue("acme/app", path, i+1, noon, ""), 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	begun, stop := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			if i == 100 {
				close(begun)
			}
			select {
			case <-stop:
				return
			default:
			}
			path := fmt.Sprintf("move%d", i%50)
			key := "pr/acme/app/" + path + "/default/"
			if n, err := c.Del(ctx, key).Result(); err != nil || n > 0 {
				continue
			}
			_ = c.Set(ctx, key, lockValue("acme/app", path, i+1, noon, ""), 0)
		}
	})
	u, err := ParseRedisURL("redis://" + redisAddr(port))
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	target := newCluster()
	r, err := ImportRedis(ctx, target, RedisImport{URL: u})
	close(stop)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	stay := 0
	for _, l := range target.locks() {
		if strings.HasPrefix(l.Key.Path, "stay") {
			stay++
		}
	}
	if stay != 300 || r.SourceSHA256 == r.SourceSHA256After {
		t.Errorf("%d of 300 locks; digest %s, then %s", stay, r.SourceSHA256, r.SourceSHA256After)
	}
	if len(r.Notes) == 0 || r.Notes[0].About[0] != changedText {
		t.Errorf("at full speed no two readings agree, but no key is named: %+v", r.Notes)
	}
}

// A Redis that is not there, wants another password or has lost slots is an
// error that says so and shows no password.
func TestImportRedisRefuses(t *testing.T) {
	port := startRedis(t, "--requirepass", "right")
	part := startRedis(t, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(testutil.FreePort(t)), "--cluster-require-full-coverage", "no")
	c := redis.NewClient(&redis.Options{Addr: redisAddr(part)})
	defer c.Close()
	if err := c.Do(t.Context(), "cluster", "addslotsrange", 0, 99).Err(); err != nil {
		t.Fatal(err)
	}
	gone := testutil.FreeAddr(t)
	for from, want := range map[string]string{
		"redis://:CANARY@" + redisAddr(port): "WRONGPASS",
		"redis://" + redisAddr(port):         "NOAUTH",
		"redis://:CANARY@" + gone:            "refused",
		"redis+cluster://" + redisAddr(part): "100 of 16384 slots",
	} {
		u, err := ParseRedisURL(from)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		r, err := ImportRedis(ctx, nil, RedisImport{URL: u, DryRun: true})
		cancel()
		if r != nil || !errors.Is(err, ErrRedis) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: got %v, want %s", u, err, want)
		}
	}
}

// A URL is read with its parts, shown without credentials, and refused without
// a piece of the secret.
func TestParseRedisURL(t *testing.T) {
	for text, want := range map[string]string{
		"redis://h":                                     "redis://h:6379/0",
		"redis://user:CANARY@h:1/2":                     "redis://h:1/2",
		"rediss://:CAN@%40%2F#/ARY@h:1":                 "rediss://h:1/0",
		"redis+cluster://a:1,b,[::1]:3":                 "redis+cluster://a:1,b:6379,[::1]:3",
		"rediss+sentinel://:CANARY@a,b:2/m/5":           "rediss+sentinel://a:26379,b:2/m/5",
		"redis+sentinel://a/m?sentinel-password=CANARY": "redis+sentinel://a:26379/m/0",
	} {
		u, err := ParseRedisURL(text)
		if err != nil || u.String() != want || !IsRedisURL(text) {
			t.Errorf("%s: got %v, %v; want %s", text, u, err, want)
		}
	}
	for _, text := range []string{
		"http://h", "redis:h", "redis://", "redis://a,b", "redis://h/x", "redis://h/-1", "redis://h:0", "redis://h:CANARY",
		"redis+cluster://h/1", "redis+sentinel://h", "redis://:CAN%ARY@h", "redis://h?password=CANARY",
	} {
		u, err := ParseRedisURL(text)
		if !errors.Is(err, lockcluster.ErrInvalid) || strings.Contains(fmt.Sprint(err), "CANARY") || strings.Contains(fmt.Sprint(err), "ARY") {
			t.Errorf("%s: got %v, %v", text, u, err)
		}
	}
}
