package resp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promtest "github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// rest reads until the server closes the connection.
func (w *wire) rest() string {
	w.t.Helper()
	b, err := io.ReadAll(w.r)
	if err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		w.t.Fatalf("read: %v", err)
	}
	return string(b)
}

// Garbage and everything past a limit closes its own connection, with an error,
// before memory is taken for it; other connections go on.
func TestGarbageClosesItsConnectionOnly(t *testing.T) {
	s := mustOpen(t, newSystem(t))
	other := dialWire(t, s.Addr().String())
	for _, tt := range []struct{ name, send, want string }{
		{"many arguments", "*4294967295\r\n$4\r\nPING\r\n", "invalid multibulk length"},
		{"arguments past the limit", "*1001\r\n", "invalid multibulk length"},
		{"no arguments", "*0\r\n", "invalid multibulk length"},
		{"negative", "*-1\r\n", "invalid multibulk length"},
		{"huge number", "*99999999999999999999\r\n", "invalid multibulk length"},
		{"no number", "*x\r\n", "invalid multibulk length"},
		{"a large value", "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8388609\r\n", "invalid bulk length"},
		{"negative value", "*2\r\n$3\r\nGET\r\n$-5\r\n", "invalid bulk length"},
		{"large in sum", "*3\r\n$3\r\nSET\r\n$8388608\r\n" + strings.Repeat("x", 8388608) + "\r\n$8388608\r\n", "command too large"},
		{"no dollar", "*1\r\n:4\r\n", "expected '$', got ':'"},
		{"bare newline", "*1\n", "invalid multibulk length"},
		{"wrong line end", "*1\r\n$4\r\nPINGxx", "invalid bulk length"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "another protocol"},
		{"binary", "\x00\x01\x02\xff\xfe", "another protocol"},
		{"endless line", strings.Repeat("a", 70<<10), "too big inline request"},
	} {
		w := dialWire(t, s.Addr().String())
		w.raw("PING\r\n") // what came before is answered
		w.raw(tt.send)
		got := w.rest()
		if !strings.HasPrefix(got, "+PONG\r\n-ERR Protocol error: ") || !strings.Contains(got, tt.want) || strings.Count(got, "\n") != 2 {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	w := dialWire(t, s.Addr().String())
	w.raw("get \"a\r\n")
	if got := w.rest(); got != "-ERR Protocol error: unbalanced quotes in request\r\n" {
		t.Errorf("quotes: %q", got)
	}
	// A browser cannot be used to send commands.
	w = dialWire(t, s.Addr().String())
	w.raw("POST / HTTP/1.1\r\nHost: x\r\n\r\nset a b\r\n")
	if got := w.rest(); !strings.HasPrefix(got, "-ERR unknown command 'POST'") {
		t.Errorf("http: %q", got)
	}
	if got := other.do("get", "a"); got != "$-1" {
		t.Errorf("another connection: %s", got)
	}
}

// A value of 8 MiB is stored and comes back, and its memory is given back.
func TestLargestValue(t *testing.T) {
	s := mustOpen(t, newSystem(t))
	w := dialWire(t, s.Addr().String())
	value := strings.Repeat("v", 8<<20)
	for range 3 {
		if got := w.do("set", "k", value); got != "+OK" {
			t.Fatal(got)
		}
		w.send("mget", "k", "k", "k")
		if got := w.reply(); len(got) < 3*len(value) {
			t.Fatalf("got %d bytes", len(got))
		}
	}
	testutil.WaitFor(t, 20*time.Second, func() error {
		if free := s.budget.free.Load(); free != 512<<20 {
			return fmt.Errorf("%d bytes of the budget are free", free)
		}
		return nil
	})
}

// Past the budget for large commands a client is told to try again.
func TestBudget(t *testing.T) {
	s := mustOpen(t, newSystem(t), func(c *Config) { c.BufferMax = 4 << 20 })
	w := dialWire(t, s.Addr().String())
	w.raw("*3\r\n$3\r\nset\r\n$1\r\nk\r\n$1000000\r\nxxx") // holds 3 MB while it is not complete
	testutil.WaitFor(t, 20*time.Second, func() bool { return s.budget.free.Load() < 2<<20 })
	full := dialWire(t, s.Addr().String())
	full.raw("*3\r\n$3\r\nset\r\n$1\r\nk\r\n$1000000\r\nxxx")
	if got := full.rest(); !strings.HasPrefix(got, "-TRYAGAIN ") {
		t.Errorf("got %q", got)
	}
	_ = w.conn.Close()
	testutil.WaitFor(t, 20*time.Second, func() bool { return s.budget.free.Load() == 4<<20 })
}

// Pipelined commands are answered in order, however they are cut on the way.
func TestPipelineKeepsOrder(t *testing.T) {
	s := mustOpen(t, newSystem(t))
	r := testutil.Rand(t)
	w := dialWire(t, s.Addr().String())
	var b, want strings.Builder
	for i := range 2000 {
		switch i % 4 {
		case 0:
			v := strings.Repeat("v", r.IntN(2000))
			fmt.Fprintf(&b, "*3\r\n$3\r\nset\r\n$1\r\nk\r\n$%d\r\n%s\r\n", len(v), v)
			want.WriteString("+OK\r\n")
			fmt.Fprintf(&b, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n")
			fmt.Fprintf(&want, "$%d\r\n%s\r\n", len(v), v)
		case 1:
			fmt.Fprintf(&b, "echo %d\r\n", i)
			fmt.Fprintf(&want, "$%d\r\n%d\r\n", len(fmt.Sprint(i)), i)
		case 2:
			b.WriteString("\r\nnosuch\r\n") // an empty line is nothing
			want.WriteString("-ERR unknown command 'nosuch'\r\n")
		case 3:
			b.WriteString("*1\r\n$4\r\nPING\r\n")
			want.WriteString("+PONG\r\n")
		}
	}
	go func() {
		for s := b.String(); s != ""; {
			n := min(len(s), 1+r.IntN(5000))
			if _, err := io.WriteString(w.conn, s[:n]); err != nil {
				return
			}
			s = s[n:]
		}
	}()
	got := make([]byte, want.Len())
	if _, err := io.ReadFull(w.r, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != want.String() {
		t.Error("the answers differ")
	}
}

// A client that does not read its answers holds up nobody, and is dropped.
func TestSlowReader(t *testing.T) {
	s := mustOpen(t, newSystem(t), func(c *Config) { c.WriteLimit = 500 * time.Millisecond })
	fast := dialWire(t, s.Addr().String())
	fast.do("set", "k", strings.Repeat("v", 1<<20))
	slow := dialWire(t, s.Addr().String())
	for range 100 {
		slow.send("get", "k")
	}
	for range 50 {
		if got := fast.do("ping"); got != "+PONG" {
			t.Fatal(got)
		}
	}
	testutil.WaitFor(t, 10*time.Second, func() bool { return s.connCount() == 1 })
}

// Connections past the limit are told and closed, and a place is free again
// when one has gone.
func TestConnectionLimit(t *testing.T) {
	s := mustOpen(t, newSystem(t), func(c *Config) { c.ConnsMax = 2 })
	a, b := dialWire(t, s.Addr().String()), dialWire(t, s.Addr().String())
	a.do("ping")
	b.do("ping")
	if got := dialWire(t, s.Addr().String()).rest(); got != "-ERR max number of clients reached\r\n" {
		t.Errorf("got %q", got)
	}
	_ = a.conn.Close()
	testutil.WaitFor(t, 20*time.Second, func() bool { return s.connCount() == 1 })
	if got := dialWire(t, s.Addr().String()).do("ping"); got != "+PONG" {
		t.Error(got)
	}
}

// Nothing but HELLO, AUTH, QUIT and RESET is answered before AUTH, by either
// form of it; go-redis gets through.
func TestAuth(t *testing.T) {
	s := mustOpen(t, newSystem(t), func(c *Config) { c.Password = "s3cret" })
	w := dialWire(t, s.Addr().String())
	for _, step := range []struct {
		want string
		args []string
	}{
		{"-NOAUTH Authentication required.", []string{"get", "k"}},
		{"-NOAUTH Authentication required.", []string{"ping"}},
		{"-NOAUTH HELLO", []string{"hello", "3"}},
		{"-WRONGPASS ", []string{"auth", "wrong"}},
		{"-WRONGPASS ", []string{"auth", "other", "s3cret"}},
		{"-WRONGPASS ", []string{"hello", "3", "auth", "default", "wrong"}},
		{"+OK", []string{"auth", "s3cret"}},
		{"$-1", []string{"get", "k"}},
		{"+RESET", []string{"reset"}},
		{"-NOAUTH", []string{"get", "k"}},
		{"+OK", []string{"auth", "default", "s3cret"}},
		{"+PONG", []string{"ping"}},
	} {
		if got := w.do(step.args...); !strings.HasPrefix(got, step.want) {
			t.Errorf("%q: %s, want %s", step.args, got, step.want)
		}
	}
	c := newClient(t, s, func(o *redis.Options) { o.Password = "s3cret" })
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
	bad := newClient(t, s, func(o *redis.Options) { o.Password = "wrong" })
	if err := bad.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("got %v", err)
	}
	// Before AUTH little is read.
	w = dialWire(t, s.Addr().String())
	w.raw("*2\r\n$4\r\nauth\r\n$20000\r\n")
	if got := w.rest(); !strings.Contains(got, "invalid bulk length") {
		t.Errorf("got %q", got)
	}
}

// HELLO chooses the protocol: maps and nulls have their own form in RESP3.
func TestHello(t *testing.T) {
	w := dialWire(t, mustOpen(t, newSystem(t)).Addr().String())
	if got := w.do("hello"); !strings.HasPrefix(got, `*["server" "redis"`) || !strings.Contains(got, `"proto" :2`) {
		t.Errorf("hello: %s", got)
	}
	if got := w.do("get", "k"); got != "$-1" {
		t.Errorf("null in RESP2: %s", got)
	}
	if got := w.do("hello", "3", "setname", "me"); !strings.HasPrefix(got, `%["server" "redis"`) || !strings.Contains(got, `"proto" :3`) {
		t.Errorf("hello 3: %s", got)
	}
	if got := w.do("get", "k"); got != "_" {
		t.Errorf("null in RESP3: %s", got)
	}
	if got := w.do("client", "getname"); got != `"me"` {
		t.Errorf("name: %s", got)
	}
	for _, args := range [][]string{{"hello", "4"}, {"hello", "x"}, {"hello", "3", "bogus"}, {"hello", "3", "auth", "x"}} {
		if got := w.do(args...); !strings.HasPrefix(got, "-") {
			t.Errorf("%q: %s", args, got)
		}
	}
}

// The commands of client libraries are answered; what must be refused is.
func TestConnectionCommands(t *testing.T) {
	w := dialWire(t, mustOpen(t, newSystem(t)).Addr().String())
	for _, step := range []struct {
		want string
		args []string
	}{
		{"-ERR unknown subcommand", []string{"client", "maint_notifications", "on", "moving-endpoint-type", "internal-ip"}},
		{"+OK", []string{"client", "setinfo", "LIB-NAME", "go-redis(,go1.26.8)"}},
		{"+OK", []string{"client", "setinfo", "LIB-VER", "9.17.3"}},
		{"-ERR Unrecognized option", []string{"client", "setinfo", "x", "y"}},
		{"+OK", []string{"client", "setname", "n1"}},
		{`"n1"`, []string{"client", "getname"}},
		{"-ERR Client names", []string{"client", "setname", "a b"}},
		{":1", []string{"client", "id"}},
		{`"id=1 addr=127.0.0.1:`, []string{"client", "info"}},
		{`"id=1 addr=`, []string{"client", "list"}},
		{"+OK", []string{"client", "no-evict", "on"}},
		{"-ERR unknown subcommand", []string{"client", "kill", "1"}},
		{"-ERR wrong number of arguments for 'client'", []string{"client"}},
		{":", []string{"command", "count"}},
		{`*[*["get" :2 `, []string{"command", "info", "get"}},
		{`*["get" *[`, []string{"command", "docs", "get"}},
		{"*[*[", []string{"command"}},
		{`"# Server`, []string{"info"}},
		{`"# Replication\r\nrole:master`, []string{"info", "replication"}},
		{"+OK", []string{"readonly"}},
		{"+OK", []string{"asking"}},
		{":12182", []string{"cluster", "keyslot", "foo"}},
		{":5061", []string{"cluster", "keyslot", "x{bar}y{foo}"}},
		{"-ERR FLUSHALL is refused", []string{"flushall"}},
		{"-ERR CONFIG is refused", []string{"config", "get", "*"}},
		{"-ERR DEBUG is refused", []string{"debug", "segfault"}},
		{"-ERR unknown command 'multi'", []string{"multi"}},
		{"-ERR unknown command", []string{strings.Repeat("x", 1000)}},
		{"-ERR unknown command", []string{""}},
		{"+OK", []string{"quit"}},
	} {
		if got := w.do(step.args...); !strings.HasPrefix(got, step.want) {
			t.Errorf("%q: %s, want %s", step.args, got, step.want)
		}
	}
	if got := w.rest(); got != "" {
		t.Errorf("after quit: %q", got)
	}
}

// Metrics have good names, are counted, and leave the registry at Close.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	s, err := Open(Config{Addr: "127.0.0.1:0", Registerer: reg}, newSystem(t))
	if err != nil {
		t.Fatal(err)
	}
	w := dialWire(t, s.Addr().String())
	w.do("get", "k")
	w.do("nosuch")
	if problems, err := promtest.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
	if n := promtest.ToFloat64(s.metrics.byError["ERR"]); n != 1 {
		t.Errorf("errors counted: %v", n)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if all, _ := reg.Gather(); len(all) != 0 {
		t.Errorf("%d metrics are left", len(all))
	}
}

// Close lets a running request finish, and ends by force when it must.
func TestClose(t *testing.T) {
	sys := newSystem(t)
	s, err := Open(Config{Addr: "127.0.0.1:0"}, sys)
	if err != nil {
		t.Fatal(err)
	}
	idle, busy := dialWire(t, s.Addr().String()), dialWire(t, s.Addr().String())
	idle.do("ping")
	busy.do("ping")
	sys.setLeader(false)
	busy.send("set", "k", "v")
	testutil.WaitFor(t, 20*time.Second, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			c.deadline.mu.Lock()
			running := !c.deadline.at.IsZero()
			c.deadline.mu.Unlock()
			if running {
				return true
			}
		}
		return false
	})
	done := make(chan error, 1)
	go func() { done <- s.Close(context.Background()) }()
	if got := idle.rest(); got != "" {
		t.Errorf("an idle connection got %q", got)
	}
	sys.setLeader(true)
	if got := busy.reply(); got != "+OK" {
		t.Errorf("the running request got %s", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}

	s, err = Open(Config{Addr: "127.0.0.1:0", HoldLimit: time.Minute}, sys)
	if err != nil {
		t.Fatal(err)
	}
	sys.setLeader(false)
	dialWire(t, s.Addr().String()).send("set", "k", "v")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("close by force took %v", d)
	}
	if err := s.Close(ctx); err == nil {
		t.Error("a second Close went through")
	}
}

// A configuration that cannot work, and a port in use, are refused.
func TestOpenRefuses(t *testing.T) {
	s := mustOpen(t, newSystem(t))
	for _, cfg := range []Config{{}, {Addr: "x", ValueSizeMax: 1}, {Addr: "x", ArgsMax: 1}, {Addr: "x", HoldLimit: -1}, {Addr: "x", BufferMax: 1}, {Addr: s.Addr().String()}} {
		if bad, err := Open(cfg, s.sys); err == nil {
			_ = bad.Close(t.Context())
			t.Errorf("%+v was taken", cfg)
		}
	}
}
