package resp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	promtest "github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/tidwall/redcon"

	"github.com/lockcluster/lockcluster/fsm/state"
)

// seeds are streams of bytes, good and bad.
var seeds = []string{
	frame("get", "k"), frame("set", "k", "v", "ex", "10", "nx", "get"), frame("mget", "a", "b") + frame("del", "a"), "ping\r\nset a \"b c\"\r\n",
	"*1\r\n$4\r\nPING\r\n*", "*4294967295\r\n", "*2\r\n$3\r\nget\r\n$8388609\r\n", "\x16\x03\x01", "*-1\r\n", "*1\r\n$-1\r\n", "\r\n\r\n", "*0\r\n",
	frame("scan", "0", "match", "pr/a/b*", "count", "10"), frame("eval", "return redis.call('get', KEYS[1])", "1", "k"),
	frame("hello", "3", "auth", "a", "b", "setname", "x") + frame("get", "k"), frame("client", "setinfo", "lib-name", "go-redis(,go1.26.8)") + frame("scan", "0"),
	frame("expire", "k", "10", "nx"), frame("script", "load", "return 1"), frame("cluster", "slots"), frame("command", "docs"), frame("info"),
	frame("keys", "[a-") + frame("keys", "\\") + frame("select", "3") + frame("dbsize") + frame("getdel", "k") + frame("persist", "k") + frame("reset") + frame("quit"),
}

// commandsOf reads all commands of a stream through guard and redcon.
func commandsOf(r io.Reader) (commands [][]string, err error) {
	b := &budget{}
	b.free.Store(1 << 30)
	g := &guard{r: r, sizeMax: 8 << 20, argsMax: 1000, budget: b, authenticated: true}
	reader := redcon.NewReader(g)
	for {
		batch, err := reader.ReadCommands()
		if err != nil {
			return commands, err
		}
		for _, c := range batch {
			var words []string
			for _, a := range c.Args {
				words = append(words, string(a))
			}
			commands = append(commands, words)
		}
	}
}

// FuzzReader: a stream gives the same commands however it is cut, its arrays
// keep to the limits, and what redcon accepts the guard has followed.
func FuzzReader(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, werr := commandsOf(bytes.NewReader(stream))
		cut, cerr := commandsOf(iotest.OneByteReader(bytes.NewReader(stream)))
		// redcon forgets what stands in front of an unbalanced quote in the same
		// read: then only the connection's end must agree.
		if quotes := werr != nil && strings.Contains(werr.Error(), "quotes"); !quotes && len(whole) != len(cut) || len(whole) > len(cut) {
			t.Fatalf("%d commands in one piece (%v), %d byte by byte (%v)", len(whole), werr, len(cut), cerr)
		}
		for i := range whole {
			if strings.Join(whole[i], "\x00") != strings.Join(cut[i], "\x00") {
				t.Fatalf("command %d: %q or %q", i, whole[i], cut[i])
			}
		}
		if errors.Is(werr, io.EOF) != errors.Is(cerr, io.EOF) {
			t.Fatalf("in one piece %v, byte by byte %v", werr, cerr)
		}
	})
}

// FuzzServer: no stream of bytes makes a connection panic, hang or break the
// state's invariants.
func FuzzServer(f *testing.F) {
	key, value := testLock("a/b", "d", 1)
	for _, s := range append([]string{frame("set", key, value) + frame("get", key) + frame("del", key)}, seeds...) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		sys := newSystem(t)
		s := mustOpen(t, sys, func(c *Config) {
			c.ScriptLimit = 100 * time.Millisecond
			c.Intents = NewIntentTable(nil, time.Millisecond)
		})
		client, server := net.Pipe()
		c := newConn(s, server)
		c.namespace = "default"
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.serve()
		}()
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(io.Discard, client)
		}()
		_ = client.SetWriteDeadline(time.Now().Add(5 * time.Second))
		_, _ = client.Write(stream)
		_ = client.SetReadDeadline(time.Now().Add(5 * time.Second))
		c.interrupt()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Fatal("the connection hangs")
		}
		_ = client.Close()
		<-read
		if n := promtest.ToFloat64(s.metrics.panics); n > 0 {
			t.Fatalf("%v commands panicked", n)
		}
		if err := state.CheckInvariants(sys.mem.View()); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzGlob: matching neither panics nor disagrees with the plain algorithm.
func FuzzGlob(f *testing.F) {
	f.Add("pr/a*[x-z]\\*?", "pr/abcx*q")
	f.Add("[^]a-]", "b")
	f.Add("[", "[")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 12 || len(s) > 12 {
			return
		}
		if got, want := matchGlob(pattern, s), slowGlob(pattern, s); got != want {
			t.Errorf("%q on %q: %v", pattern, s, got)
		}
		prefix, rest := literalPrefix(pattern)
		if matchGlob(pattern, s) && (!strings.HasPrefix(s, prefix) || rest == "" && s != prefix) {
			t.Errorf("%q on %q: the prefix %q is wrong", pattern, s, prefix)
		}
	})
}

// slowGlob tries everything.
func slowGlob(pattern, s string) bool {
	if pattern == "" {
		return s == ""
	}
	if pattern[0] == '*' {
		for i := 0; i <= len(s); i++ {
			if slowGlob(pattern[1:], s[i:]) {
				return true
			}
		}
		return false
	}
	if s == "" {
		return false
	}
	next, ok := matchOne(pattern, 0, s[0])
	return ok && slowGlob(pattern[next:], s[1:])
}
