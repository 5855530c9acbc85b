package resp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
)

// scanAll lists as Atlantis does.
func scanAll(t *testing.T, c redis.Cmdable, pattern string) []string {
	t.Helper()
	var keys []string
	it := c.Scan(t.Context(), 0, pattern, 0).Iterator()
	for it.Next(t.Context()) {
		keys = append(keys, it.Val())
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return keys
}

func mustSet(t *testing.T, c redis.Cmdable, key, value string) {
	t.Helper()
	if err := c.Set(t.Context(), key, value, 0).Err(); err != nil {
		t.Fatalf("set %s: %v", key, err)
	}
}

// A value that is no lock, or names another lock than its key, is refused, and
// the text repeats nothing of it but names.
func TestSetRefusesWhatIsNoLock(t *testing.T) {
	c := newClient(t, mustOpen(t, newSystem(t)))
	_, value := testLock("acme/app", "d1", 4)
	for _, tt := range []struct{ key, value, want string }{
		{"pr/acme/app/d1/default/", "hello", "must be an Atlantis lock"},
		{"pr/acme/app/d1/default/", "", "must be an Atlantis lock"},
		{"pr/acme/app/d1/default/", `{"Project":{}}`, "must be an Atlantis lock"},
		{"pr/acme/app/d2/default/", value, `names another lock than the value, which is for "pr/acme/app/d1/default/"`},
		{"pr/acme/app/d1/default/p", value, "names another lock"},
		{"pr/", value, "names another lock"},
		{"global/apply/lock", value, "must be an Atlantis command lock"},
		{"global/apply/lock", "x", "must be an Atlantis command lock"},
		{"global/plan/lock", `{"LockMetadata":{"UnixTime":1},"CommandName":0}`, `for command "plan", the value for "apply"`},
	} {
		err := c.Set(t.Context(), tt.key, tt.value, 0).Err()
		if err == nil || !strings.HasPrefix(err.Error(), "ERR ") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.key, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "token") {
			t.Errorf("%s: the error holds a part of the value: %v", tt.key, err)
		}
	}
	if n := c.DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("%d keys were stored", n)
	}
	if err := c.Set(t.Context(), "pr/acme/app/d1/default/", value, time.Minute).Err(); err == nil || !strings.Contains(err.Error(), "does not expire") {
		t.Errorf("a lock with a TTL gave %v", err)
	}
}

// The same repository name on another VCS host is refused with a clear text.
func TestSetRefusesOtherHost(t *testing.T) {
	c := newClient(t, mustOpen(t, newSystem(t)))
	mustSet(t, c, "pr/acme/app/d1/default/", lockJSON("acme/app", "d1", "default", "", 4, "github.com"))
	err := c.Set(t.Context(), "pr/acme/app/d2/default/", lockJSON("acme/app", "d2", "default", "", 4, "gitlab.com"), 0).Err()
	if err == nil || !strings.HasPrefix(err.Error(), "LOCKED ") || !strings.Contains(err.Error(), "github.com") {
		t.Errorf("got %v", err)
	}
}

// A key of Atlantis before v0.40.0 is stored under the identity of its value,
// is listed by its present key, and can be read and deleted by both.
func TestOldFormatKey(t *testing.T) {
	c := newClient(t, mustOpen(t, newSystem(t)))
	for _, project := range []string{"", "p1"} {
		value := lockJSON("acme/app", "d1", "default", project, 4, "github.com")
		present := "pr/acme/app/d1/default/" + project
		mustSet(t, c, "pr/acme/app/d1/default", value)
		if keys := scanAll(t, c, "pr/*"); !slices.Equal(keys, []string{present}) {
			t.Fatalf("listed %q", keys)
		}
		for _, k := range []string{present, "pr/acme/app/d1/default"} {
			if got := c.Get(t.Context(), k).Val(); got != value {
				t.Errorf("get %s: %q", k, got)
			}
		}
		if n := c.Exists(t.Context(), "pr/acme/app/d1/default").Val(); n != 1 {
			t.Errorf("exists gave %d", n)
		}
		if n, err := c.Del(t.Context(), "pr/acme/app/d1/default").Result(); n != 1 || err != nil {
			t.Errorf("del gave %d, %v", n, err)
		}
		if keys := scanAll(t, c, "*"); len(keys) != 0 {
			t.Errorf("left: %q", keys)
		}
	}
}

// SET with NX, XX and GET on a lock says what is there and replaces nothing.
func TestSetOptionsOnLocks(t *testing.T) {
	s := mustOpen(t, newSystem(t))
	w := dialWire(t, s.Addr().String())
	key, mine := testLock("acme/app", "d1", 4)
	_, other := testLock("acme/app", "d1", 5)
	locked := "-LOCKED held by pull request #4 of acme/app since 2026-11-23T12:00:00Z"
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"set", key, mine, "xx"}, "$-1"},
		{[]string{"set", key, mine, "nx", "get"}, "$-1"},
		{[]string{"set", key, mine, "nx"}, "$-1"},
		{[]string{"set", key, other, "nx"}, "$-1"},
		{[]string{"set", key, other, "nx", "get"}, fmt.Sprintf("%q", mine)},
		{[]string{"set", key, other, "get"}, locked},
		{[]string{"set", key, other, "xx"}, locked},
		{[]string{"set", key, mine, "xx"}, "+OK"},
		{[]string{"set", key, mine, "get"}, fmt.Sprintf("%q", mine)},
		{[]string{"setnx", key, other}, ":0"},
		{[]string{"getset", key, other}, locked},
		{[]string{"expire", key, "10"}, "-" + textLockTTL},
		{[]string{"ttl", key}, ":-1"},
		{[]string{"persist", key}, ":0"},
		{[]string{"type", key}, "+string"},
		{[]string{"strlen", key}, fmt.Sprintf(":%d", len(mine))},
		{[]string{"mget", key, "nothing"}, fmt.Sprintf("*[%q $-1]", mine)},
		{[]string{"getdel", key}, fmt.Sprintf("%q", mine)},
		{[]string{"getdel", key}, "$-1"},
		{[]string{"setnx", key, other}, ":1"},
		{[]string{"del", key, key, "nothing"}, ":1"},
	} {
		if got := w.do(step.args...); got != step.want {
			t.Errorf("%q\ngot  %s\nwant %s", step.args, got, step.want)
		}
	}
}

// A command lock is taken once, by its own bytes again, and released.
func TestCommandLock(t *testing.T) {
	c := newClient(t, mustOpen(t, newSystem(t)))
	ctx := t.Context()
	const key, value = "global/apply/lock", `{"LockMetadata":{"UnixTime":1795403363},"CommandName":0}`
	mustSet(t, c, key, value)
	mustSet(t, c, key, value)
	err := c.Set(ctx, key, strings.Replace(value, "3363", "3364", 1), 0).Err()
	if err == nil || !strings.HasPrefix(err.Error(), "LOCKED the apply command has been locked since 2026-") {
		t.Errorf("got %v", err)
	}
	if got := c.Get(ctx, key).Val(); got != value {
		t.Errorf("got %q", got)
	}
	if n := c.Del(ctx, key).Val(); n != 1 {
		t.Errorf("del gave %d", n)
	}
	if err := c.Get(ctx, key).Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("after del: %v", err)
	}
}

// Atlantis's listing of one repository gives that repository's locks only;
// other clients, patterns and settings get what the glob says.
func TestExactRepositoryMatch(t *testing.T) {
	sys := newSystem(t)
	s := mustOpen(t, sys)
	c := newClient(t, s)
	var app, infra []string
	for i := range 150 {
		k, v := testLock("org/app", fmt.Sprintf("d%d", i), i%3+1)
		mustSet(t, c, k, v)
		app = append(app, k)
		k, v = testLock("org/app-infra", fmt.Sprintf("d%d", i), i%3+1)
		mustSet(t, c, k, v)
		infra = append(infra, k)
	}
	slices.Sort(app)
	slices.Sort(infra)
	both := append(slices.Clone(infra), app...) // '-' sorts before '/'
	off := newClient(t, mustOpen(t, sys, func(c *Config) { no := false; c.ExactRepoMatch = &no }))
	stranger := newClient(t, s, func(o *redis.Options) { o.DisableIdentity = true })
	for _, tt := range []struct {
		name    string
		c       *redis.Client
		pattern string
		want    []string
	}{
		{"exact", c, "pr/org/app*", app},
		{"exact infra", c, "pr/org/app-infra*", infra},
		{"a repository without locks", c, "pr/org/ap*", nil},
		{"all", c, "pr/*", both},
		{"as List", c, "pr*", both},
		{"owner", c, "pr/org*", both},
		{"trailing slash is a plain glob", c, "pr/org/app/*", app},
		{"two globs", c, "pr/org/app*/*", both},
		{"another client", stranger, "pr/org/app*", both},
		{"switched off", off, "pr/org/app*", both},
	} {
		if got := scanAll(t, tt.c, tt.pattern); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %d keys, want %d", tt.name, len(got), len(tt.want))
		}
	}
}

// A lock that is gone reads as free at once, also on a connection of Atlantis
// that a SCAN has just shown it to: Atlantis takes a lock that it reads as its
// own pull request's for granted, so a GET never answers what was.
func TestNothingIsAnsweredFromMemory(t *testing.T) {
	sys := newSystem(t)
	c := newClient(t, mustOpen(t, sys), func(o *redis.Options) { o.PoolSize = 1 })
	k, v := testLock("org/app", "d", 7)
	mustSet(t, c, k, v)
	if got := scanAll(t, c, "pr*"); !slices.Equal(got, []string{k}) {
		t.Fatalf("listed %q", got)
	}
	sys.mustDo(t, lockcluster.Release{Namespace: "default", Text: k[3:]})
	if err := c.Get(t.Context(), k).Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("a lock that is gone was read after a SCAN had shown it: %v", err)
	}
}

// A lock that was taken through another door reads as Atlantis would have
// stored it.
func TestLockWithoutValue(t *testing.T) {
	sys := newSystem(t)
	c := newClient(t, mustOpen(t, sys))
	key := lockcluster.Key{Namespace: "default", Repo: "acme/app", Path: ".", Workspace: "default"}
	res := sys.mustDo(t, lockcluster.Acquire{Key: key, Owner: lockcluster.Owner{Repo: "acme/app", Pull: 9}, User: "ann", AcquiredAt: time.Unix(1e9, 0).UTC()})
	want := string(compat.NewLockValue(*res.Lock))
	if got := c.Get(t.Context(), "pr/acme/app/./default/").Val(); got != want || !strings.Contains(got, `"Num":9`) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, err := c.Eval(t.Context(), unlockIfOwnedByPull, []string{"pr/acme/app/./default/"}, "9").Result(); err != nil || got != want {
		t.Errorf("unlock by script: %v, %v", got, err)
	}
}

// Databases are namespaces.
func TestSelect(t *testing.T) {
	s := mustOpen(t, newSystem(t))
	zero := newClient(t, s)
	three := newClient(t, s, func(o *redis.Options) { o.DB = 3 })
	key, first := testLock("acme/app", "d1", 1)
	_, second := testLock("acme/app", "d1", 2)
	mustSet(t, zero, key, first)
	mustSet(t, three, key, second)
	if a, b := zero.Get(t.Context(), key).Val(), three.Get(t.Context(), key).Val(); a != first || b != second {
		t.Error("two databases share a lock")
	}
}

// With redaction on, what reaches the system holds no credentials, through any
// command; without it the bytes are unchanged.
func TestRedactStoredCredentials(t *testing.T) {
	sys := newSystem(t)
	c := newClient(t, mustOpen(t, sys, func(c *Config) { c.RedactStoredCredentials = true }))
	ctx := t.Context()
	key, value := testLock("acme/app", "d1", 1)
	mustSet(t, c, key, value)
	mustSet(t, c, "doc", value)
	if err := c.Eval(ctx, `return redis.call("set", "doc2", ARGV[1])`, nil, value).Err(); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{key, "doc", "doc2"} {
		got := c.Get(ctx, k).Val()
		if strings.Contains(got, "user:token") || !strings.Contains(got, "https://github.com/acme/app.git") {
			t.Errorf("%s: %s", k, got)
		}
	}
}

// Without a leader a request is held, answered when one is there again, and
// refused with an error that go-redis repeats when there is none in time.
func TestHoldWithoutLeader(t *testing.T) {
	sys := newSystem(t)
	s := mustOpen(t, sys, func(c *Config) { c.HoldLimit = 300 * time.Millisecond })
	w := dialWire(t, s.Addr().String())
	key, value := testLock("acme/app", "d1", 1)
	sys.setLeader(false)
	for _, args := range [][]string{{"get", key}, {"set", key, value}, {"del", key}, {"scan", "0"}, {"eval", "return 1", "0"}, {"mget", "a", "b"}} {
		begin := time.Now()
		if got := w.do(args...); got != "-"+textNoLeader {
			t.Errorf("%s: %s", args[0], got)
		}
		if d := time.Since(begin); d < 290*time.Millisecond || d > 5*time.Second {
			t.Errorf("%s was held for %v", args[0], d)
		}
	}
	w.send("set", key, value)
	sys.setLeader(true)
	if got := w.reply(); got != "+OK" {
		t.Errorf("a request that was held: %s", got)
	}
	// go-redis repeats by itself.
	c := newClient(t, s)
	sys.setLeader(false)
	back := time.AfterFunc(500*time.Millisecond, func() { sys.setLeader(true) })
	defer back.Stop()
	if got, err := c.Get(context.WithoutCancel(t.Context()), key).Result(); got != value || err != nil {
		t.Errorf("go-redis got %q, %v", got, err)
	}
}

// An unknown outcome is told as one, and repeating is safe.
func TestUnknownOutcome(t *testing.T) {
	sys := newSystem(t)
	w := dialWire(t, mustOpen(t, sys).Addr().String())
	key, value := testLock("acme/app", "d1", 1)
	sys.mu.Lock()
	sys.unknown = true
	sys.mu.Unlock()
	if got := w.do("set", key, value); got != "-"+textUnknown {
		t.Errorf("got %s", got)
	}
	sys.mu.Lock()
	sys.unknown = false
	sys.mu.Unlock()
	if got := w.do("set", key, value); got != "+OK" {
		t.Errorf("repeated: %s", got)
	}
}
