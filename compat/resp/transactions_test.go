package resp

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster"
)

// Scripts that read and write one key from two nodes at a time lose no update.
func TestScriptsAreSerializable(t *testing.T) {
	sys := newSystem(t)
	doors := []*Server{mustOpen(t, sys), mustOpen(t, sys)}
	const clients, rounds = 8, 100
	var wg sync.WaitGroup
	for i := range clients {
		c := newClient(t, doors[i%2])
		wg.Go(func() {
			for range rounds {
				err := c.Eval(t.Context(), `local n = tonumber(redis.call("get", KEYS[1]) or "0") redis.call("set", KEYS[1], n + 1) return n`, []string{"n"}).Err()
				if err != nil {
					t.Errorf("eval: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if got := newClient(t, doors[0]).Get(t.Context(), "n").Val(); got != fmt.Sprint(clients*rounds) {
		t.Errorf("counted %s, want %d", got, clients*rounds)
	}
}

// A script that lists keys and writes what it counted sees no key twice and
// misses none: a listing is a condition, too.
func TestListingIsACondition(t *testing.T) {
	sys := newSystem(t)
	doors := []*Server{mustOpen(t, sys), mustOpen(t, sys)}
	const clients, rounds = 4, 50
	var wg sync.WaitGroup
	for i := range clients {
		c := newClient(t, doors[i%2])
		wg.Go(func() {
			for range rounds {
				// Each run adds one key, named by how many there were.
				err := c.Eval(t.Context(), `local n = #redis.call("keys", "k:*") redis.call("set", "k:" .. n, "v") return n`, nil).Err()
				if err != nil {
					t.Errorf("eval: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if n := newClient(t, doors[0]).DBSize(t.Context()).Val(); n != clients*rounds {
		t.Errorf("%d keys, want %d", n, clients*rounds)
	}
}

// A script that fails changes nothing, and one may not write in its read-only
// form.
func TestScriptIsAllOrNothing(t *testing.T) {
	s := mustOpen(t, newSystem(t))
	w := dialWire(t, s.Addr().String())
	key, mine := testLock("acme/app", "d1", 1)
	_, other := testLock("acme/app", "d1", 2)
	w.do("set", key, mine)
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"-ERR user_script:1: boom", []string{"eval", `redis.call("set", "doc", "v") error("boom")`, "0"}},
		{"-LOCKED held by pull request #1", []string{"eval", `redis.call("set", "doc", "v") return redis.call("set", KEYS[1], ARGV[1])`, "1", key, other}},
		{"-" + textReadOnly, []string{"eval_ro", `return redis.call("set", "doc", "v")`, "0"}},
		{"-ERR This Redis command is not allowed from script", []string{"eval", `redis.call("set", "doc", "v") return redis.call("flushall")`, "0"}},
		{"-" + errTxFull, []string{"eval", `for i = 1, 10000 do redis.call("set", "doc" .. i, "v") end`, "0"}},
		{"-" + errTxFull, []string{"eval", `for i = 1, 9 do redis.call("set", "doc" .. i, ("v"):rep(1000000)) end`, "0"}},
		{"$-1", []string{"get", "doc"}},
		{":1", []string{"dbsize"}},
		{`"v"`, []string{"eval", `redis.pcall("set", KEYS[1], ARGV[1]) redis.call("set", "doc", "v") return redis.call("get", "doc")`, "1", key, other}},
		{`"v"`, []string{"eval_ro", `return redis.call("get", "doc")`, "0"}},
		{":0", []string{"eval", `return redis.call("setnx", KEYS[1], ARGV[1])`, "1", key, other}},
		{":1", []string{"eval", `return redis.call("del", KEYS[1], "nothing")`, "1", key}},
		{"+OK", []string{"eval", `return redis.call("set", KEYS[1], ARGV[1])`, "1", key, other}},
		{"-LOCKED held by pull request #2", []string{"set", key, mine}},
	} {
		if got := w.do(tt.args...); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%.80q\ngot  %s\nwant %s", tt.args, got, tt.want)
		}
	}
}

// EVALSHA runs what SCRIPT LOAD or an EVAL has brought, until SCRIPT FLUSH.
func TestScriptCache(t *testing.T) {
	c := newClient(t, mustOpen(t, newSystem(t)))
	ctx := t.Context()
	script := redis.NewScript(`return ARGV[1]`)
	if err := script.EvalSha(ctx, c, nil, "x").Err(); err == nil || !redis.HasErrorPrefix(err, "NOSCRIPT") {
		t.Errorf("an unknown script gave %v", err)
	}
	if got, err := script.Run(ctx, c, nil, "x").Result(); got != "x" || err != nil {
		t.Errorf("run: %v, %v", got, err)
	}
	if got := script.EvalSha(ctx, c, nil, "y").Val(); got != "y" {
		t.Errorf("evalsha after eval: %v", got)
	}
	sha, err := c.ScriptLoad(ctx, `return 42`).Result()
	if err != nil {
		t.Fatal(err)
	}
	if got := c.ScriptExists(ctx, sha, strings.Repeat("0", 40)).Val(); !got[0] || got[1] {
		t.Errorf("exists: %v", got)
	}
	if got := c.EvalShaRO(ctx, strings.ToUpper(sha), nil).Val(); got != int64(42) {
		t.Errorf("evalsha_ro: %v", got)
	}
	if err := c.ScriptFlush(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.EvalSha(ctx, sha, nil).Err(); err == nil {
		t.Error("a flushed script ran")
	}
	if err := c.ScriptLoad(ctx, `return (`).Err(); err == nil || !strings.HasPrefix(err.Error(), "ERR Error compiling script") {
		t.Errorf("got %v", err)
	}
	for _, bad := range [][]any{{"eval", "return 1", "x"}, {"eval", "return 1", "-1"}, {"eval", "return 1", "2", "k"}} {
		if err := c.Do(ctx, bad...).Err(); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

// A script past its time or memory is stopped with a clear error; others go on.
func TestScriptLimits(t *testing.T) {
	s := mustOpen(t, newSystem(t), func(c *Config) { c.ScriptLimit = 2 * time.Second; c.ScriptMemory = 64 << 20 })
	a, b := dialWire(t, s.Addr().String()), dialWire(t, s.Addr().String())
	a.send("eval", `redis.call("set", "x", "1") while true do end`, "0")
	if got := b.do("eval", `return redis.call("set", "y", "1")`, "0"); got != "+OK" {
		t.Errorf("beside it: %s", got)
	}
	if got := a.reply(); got != "-ERR script stopped: it ran too long; nothing was changed" {
		t.Errorf("got %s", got)
	}
	if got := a.do("exists", "x"); got != ":0" {
		t.Errorf("it left something: %s", got)
	}
	if got := a.do("eval", `local t = {} for i = 1, 1e9 do t[i] = ("x"):rep(100000) .. i end`, "0"); !strings.HasPrefix(got, "-ERR script stopped: it ") {
		t.Errorf("got %s", got)
	}
}

// Documents expire, and EXPIRE with a condition keeps to it.
func TestDocumentsExpire(t *testing.T) {
	c := newClient(t, mustOpen(t, newSystem(t)))
	ctx := t.Context()
	if err := c.Set(ctx, "k", "v", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	if d := c.PTTL(ctx, "k").Val(); d <= 0 || d > time.Minute {
		t.Errorf("pttl %v", d)
	}
	if err := c.Set(ctx, "k", "v", 100*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for !errors.Is(c.Get(ctx, "k").Err(), redis.Nil) {
		if time.Now().After(deadline) {
			t.Fatal("it never expired")
		}
	}
	c.Set(ctx, "k", "v", time.Hour)
	c.Set(ctx, "k", "w", redis.KeepTTL)
	if d := c.TTL(ctx, "k").Val(); d < 59*time.Minute {
		t.Errorf("ttl after keepttl: %v", d)
	}
}

// Contenders with SET NX on a document: one wins each.
func TestRaceForDocuments(t *testing.T) {
	sys := newSystem(t)
	clients := []*redis.Client{newClient(t, mustOpen(t, sys)), newClient(t, mustOpen(t, sys))}
	for i := range 300 {
		var wg sync.WaitGroup
		won := make([]bool, len(clients))
		for who, c := range clients {
			wg.Go(func() {
				ok, err := c.SetNX(t.Context(), fmt.Sprint("k", i), who, 0).Result()
				if err != nil {
					t.Errorf("setnx: %v", err)
				}
				won[who] = ok
			})
		}
		wg.Wait()
		if won[0] == won[1] {
			t.Fatalf("key %d: %v", i, won)
		}
	}
}

// DEL of several keys on a connection that has read one of them keeps to what
// was read.
func TestDelOfSeveralKeysIsGuarded(t *testing.T) {
	sys := newSystem(t)
	w := dialWire(t, mustOpen(t, sys).Addr().String())
	k1, v1 := testLock("acme/app", "d1", 1)
	k2, v2 := testLock("acme/app", "d2", 1)
	w.do("set", k1, v1)
	w.do("set", k2, v2)
	w.do("get", k1)
	sys.mustDo(t, lockcluster.Release{Namespace: "default", Text: k1[3:]})
	fresh := dialWire(t, w.conn.RemoteAddr().String())
	_, other := testLock("acme/app", "d1", 2)
	if got := fresh.do("set", k1, other); got != "+OK" {
		t.Fatal(got)
	}
	if got := w.do("del", k1, k2); got != ":1" {
		t.Errorf("del: %s", got)
	}
	if got := w.do("exists", k1, k2); got != ":1" {
		t.Errorf("exists: %s", got)
	}
}
