package resp

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// startRedis starts a real redis-server; without one the test says so.
func startRedis(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("SKIPPED: no redis-server on this machine; make test installs it (apt-get install redis-server)")
	}
	port := testutil.FreePort(t)
	cmd := exec.Command(path, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	testutil.WaitFor(t, 10*time.Second, func() error {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	})
	return addr
}

// wire is a raw connection that shows replies as text.
type wire struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

func dialWire(t testing.TB, addr string) *wire {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &wire{t: t, conn: c, r: bufio.NewReader(c)}
}

func (w *wire) send(args ...string) {
	w.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	w.raw(b.String())
}

func (w *wire) raw(s string) {
	w.t.Helper()
	if _, err := io.WriteString(w.conn, s); err != nil {
		w.t.Fatalf("write: %v", err)
	}
}

// do sends a command and returns its reply as text.
func (w *wire) do(args ...string) string {
	w.t.Helper()
	w.send(args...)
	return w.reply()
}

func (w *wire) reply() string {
	w.t.Helper()
	s, err := w.read()
	if err != nil {
		w.t.Fatalf("read: %v", err)
	}
	return s
}

// read reads one reply: its type, and a bulk string quoted.
func (w *wire) read() (string, error) {
	line, err := w.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return "", fmt.Errorf("empty line")
	}
	switch line[0] {
	case '$':
		n, err := strconv.Atoi(line[1:])
		if err != nil || n < 0 {
			return line, err
		}
		b := make([]byte, n+2)
		if _, err := io.ReadFull(w.r, b); err != nil {
			return "", err
		}
		return strconv.Quote(string(b[:n])), nil
	case '*', '%', '~':
		n, err := strconv.Atoi(line[1:])
		if err != nil || n < 0 {
			return line, err
		}
		if line[0] == '%' {
			n *= 2
		}
		items := make([]string, n)
		for i := range items {
			if items[i], err = w.read(); err != nil {
				return "", err
			}
		}
		return line[:1] + "[" + strings.Join(items, " ") + "]", nil
	}
	return line, nil
}

// sameReply compares replies; of an error only the text up to where Redis
// names the script's hash and place counts, and of a TTL only its size.
func sameReply(args []string, ours, theirs string) bool {
	if ours == theirs {
		return true
	}
	switch strings.ToLower(args[0]) {
	case "keys":
		return sortedItems(ours) == sortedItems(theirs)
	case "scan":
		return sortedItems(ours) == sortedItems(theirs)
	case "ttl", "pttl", "expiretime", "pexpiretime":
		a, aerr := strconv.ParseInt(strings.TrimPrefix(ours, ":"), 10, 64)
		b, berr := strconv.ParseInt(strings.TrimPrefix(theirs, ":"), 10, 64)
		slack := int64(30_000)
		if !strings.HasPrefix(strings.ToLower(args[0]), "p") {
			slack = 30
		}
		return aerr == nil && berr == nil && a >= 0 && b >= 0 && max(a-b, b-a) < slack
	}
	return false
}

func sortedItems(s string) string {
	words := strings.Fields(strings.NewReplacer("[", " ", "]", " ").Replace(s))
	counts := map[string]int{}
	for _, w := range words {
		counts[w]++
	}
	return fmt.Sprint(counts)
}

// Random commands on documents give the same replies as a real Redis.
func TestDocumentsAnswerAsRedis(t *testing.T) {
	theirs := dialWire(t, startRedis(t))
	ours := dialWire(t, mustOpen(t, newSystem(t)).Addr().String())
	r := testutil.Rand(t)
	for i := range 20_000 {
		args := randomCommand(r)
		got, want := ours.do(args...), theirs.do(args...)
		if !sameReply(args, got, want) {
			t.Fatalf("command %d %q\nours   %s\nredis  %s", i, args, got, want)
		}
	}
}

func randomKey(r *rand.Rand) string {
	keys := []string{"a", "b", "c", "k:1", "gitea.example::dev/infra::7", "with space", "glob*[x]", "\xff\x00\r\n", "", "global/lock", "p"}
	return keys[r.IntN(len(keys))]
}

func randomValue(r *rand.Rand) string {
	values := []string{"", "v", "7", "\x00\xff\r\n", strings.Repeat("x", r.IntN(300)), `{"a":1}`}
	return values[r.IntN(len(values))]
}

func randomCase(r *rand.Rand, s string) string {
	if r.IntN(4) == 0 {
		return strings.ToUpper(s)
	}
	return s
}

// randomCommand draws a command, sometimes a wrong one.
func randomCommand(r *rand.Rand) []string {
	k, v := randomKey(r), randomValue(r)
	n := strconv.Itoa(r.IntN(100_000) + 1000)
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	future := strconv.FormatInt(time.Now().Unix()+int64(r.IntN(100_000))+1000, 10)
	list := [][]string{
		{"get", k},
		{"get", k},
		{"set", k, v},
		{"set", k, v},
		{"del", k},
		{"del", k, randomKey(r), randomKey(r)},
		{"unlink", k, k},
		{"exists", k, k, randomKey(r)},
		{"mget", k, randomKey(r), "missing"},
		{"strlen", k},
		{"type", k},
		{"setnx", k, v},
		{"setex", k, n, v},
		{"psetex", k, n + "000", v},
		{"getset", k, v},
		{"getdel", k},
		{"set", k, v, pick("nx", "xx")},
		{"set", k, v, pick("nx", "xx"), "get"},
		{"set", k, v, "get"},
		{"set", k, v, "keepttl"},
		{"set", k, v, "ex", n},
		{"set", k, v, "px", n + "000", pick("nx", "xx")},
		{"set", k, v, "exat", future},
		{"set", k, v, "pxat", future + "000", "get"},
		{"set", k, v, pick("nx xx", "bogus", "ex", "EX 0", "EX -1", "EX x", "px 9223372036854775807")},
		{"set", k, v, "nx", "xx"},
		{"set", k, v, "ex", "0"},
		{"set", k, v, "ex", "x"},
		{"set", k, v, "ex"},
		{"set", k, v, "ex", n, "keepttl"},
		{"expire", k, n},
		{"pexpire", k, n + "000"},
		{"expire", k, n, pick("nx", "xx", "gt", "lt")},
		{"expireat", k, future},
		{"expire", k, "-1"},
		{"expire", k, "x"},
		{"expire", k, n, "nx", "gt"},
		{"expire", k, n, "gt", "lt"},
		{"pexpireat", k, future + "000"},
		{"persist", k},
		{"ttl", k},
		{"pttl", k},
		{"expiretime", k},
		{"pexpiretime", k},
		{"dbsize"},
		{"keys", pick("*", "a", "[abc]", "k:?", "*in*", "glob\\*\\[x\\]", "[^a]", "[a-b]*", "\\", "b**", "[")},
		{"scan", "0", "count", "1000"},
		{"scan", "0", "match", pick("*", "k*", "[a-c]", "*e*"), "count", "1000"},
		{"scan", "0", "type", pick("string", "list"), "count", "1000"},
		{"scan", "x"},
		{"scan", "0", "match"},
		{"scan", "0", "count", "0"},
		{"echo", v},
		{"ping"},
		{"ping", v},
		{"ping", v, v},
		{"get"},
		{"get", k, k},
		{"mget"},
		{"set", k},
		{"del"},
		{"select", pick("0", "1", "2")},
		{"select", "x"},
	}
	args := list[r.IntN(len(list))]
	out := append([]string(nil), args...)
	out[0] = randomCase(r, out[0])
	return out
}
