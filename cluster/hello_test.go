package cluster

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// testHello is a layer of a node of the cluster id; the second result tells
// which clusters it met.
func testHello(t *testing.T, id string, timeout time.Duration) (*helloLayer, func() []string) {
	t.Helper()
	inner, err := listenTCP("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	inner.advertised = inner.Listener.Addr().String()
	var mu sync.Mutex
	var met []string
	h := newHelloLayer(inner, "n-"+id, func() string { return id }, func(other string) error {
		mu.Lock()
		defer mu.Unlock()
		met = append(met, other)
		return nil
	}, timeout, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { h.Close() })
	return h, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), met...)
	}
}

func dialHello(h, to *helloLayer) (net.Conn, error) {
	return h.Dial(raft.ServerAddress(to.Addr().String()), 10*time.Second)
}

// mustMeet returns both ends of a connection from one node to another: what was
// dialled, and what raft gets.
func mustMeet(t *testing.T, from, to *helloLayer) (out, in net.Conn) {
	t.Helper()
	out, err := dialHello(from, to)
	if err != nil {
		t.Fatalf("%q to %q: %v", from.id(), to.id(), err)
	}
	t.Cleanup(func() { out.Close() })
	if in, err = to.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	return out, in
}

// Nodes of one cluster reach each other, and so does a node that has not been
// told its cluster; what is sent after the hello arrives whole.
func TestHelloWithinACluster(t *testing.T) {
	for _, ids := range [][2]string{{"a", "a"}, {"", "a"}, {"a", ""}, {"", ""}} {
		from, _ := testHello(t, ids[0], helloTimeout)
		to, met := testHello(t, ids[1], helloTimeout)
		out, in := mustMeet(t, from, to)
		go func() {
			out.Write([]byte("entries"))
			out.Close()
		}()
		if b, err := io.ReadAll(in); err != nil || string(b) != "entries" {
			t.Errorf("%q to %q: %q, %v", ids[0], ids[1], b, err)
		}
		if got := met(); ids[0] != "" && (len(got) != 1 || got[0] != ids[0]) {
			t.Errorf("%q was told of %q", ids[1], got)
		}
	}
}

// A node of another cluster is refused on either end, and raft sees nothing of it.
func TestHelloOfAnotherCluster(t *testing.T) {
	from, _ := testHello(t, "a", helloTimeout)
	to, met := testHello(t, "b", helloTimeout)
	if _, err := dialHello(from, to); !errors.Is(err, errForeign) {
		t.Fatalf("dial: %v, want %v", err, errForeign)
	}
	friend, _ := testHello(t, "b", helloTimeout)
	out, in := mustMeet(t, friend, to)
	if in.RemoteAddr().String() != out.LocalAddr().String() {
		t.Errorf("raft got the connection of %s, want that of the friend, %s", in.RemoteAddr(), out.LocalAddr())
	}
	if got := met(); len(got) != 1 || got[0] != "b" {
		t.Errorf("met %q", got)
	}
}

// A node reaches the one that it wants, and no other one at that address: either end
// refuses, and takes nothing for true that the other said.
func TestHelloOfAnotherNode(t *testing.T) {
	from, _ := testHello(t, "", helloTimeout)
	to, met := testHello(t, "a", helloTimeout)
	for _, peer := range []raft.ServerID{"n-b", "n-"} {
		_, err := from.Dial(peerAddress(peer, raft.ServerAddress(to.Addr().String())), 10*time.Second)
		if !errors.Is(err, errOther) || !strings.Contains(err.Error(), `it is "n-a"`) {
			t.Errorf("dial %s: %v, want %v", peer, err, errOther)
		}
	}
	if got := met(); len(got) != 0 {
		t.Errorf("it met %q, and was not wanted", got)
	}
	// What one that does not look at the answer says is refused too.
	c, err := net.Dial("tcp", to.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := sendHello(c, hello{cluster: "a", node: "n-c", wanted: "n-b"}); err != nil {
		t.Fatal(err)
	}
	if says, err := readHello(c); err != nil || says.node != "n-a" {
		t.Errorf("it answers %v, %v", says, err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || isTimeout(err) || err == nil {
		t.Errorf("it was not let go: %d bytes, %v", n, err)
	}
	c2, err := from.Dial(peerAddress("n-a", raft.ServerAddress(to.Addr().String())), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c2.Close()
}

// Who says something else, or nothing, holds up nobody, and is let go.
func TestHelloOfStrangers(t *testing.T) {
	to, _ := testHello(t, "a", 3*time.Second)
	addr := to.Addr().String()
	var strangers []net.Conn
	for _, says := range []string{"", "\x00", "GET / HTTP/1.1\r\n\r\n", helloMagic, helloMagic + "\xff"} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, says); err != nil {
			t.Fatal(err)
		}
		strangers = append(strangers, c)
	}
	from, _ := testHello(t, "a", helloTimeout)
	mustMeet(t, from, to)
	for _, c := range strangers {
		c.SetReadDeadline(time.Now().Add(20 * to.timeout))
		if _, err := io.Copy(io.Discard, c); isTimeout(err) {
			t.Errorf("a stranger was not let go: %v", err)
		}
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// Close ends every hello that is under way, and Accept.
func TestHelloCloses(t *testing.T) {
	to, _ := testHello(t, "a", time.Minute)
	c, err := net.Dial("tcp", to.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accepted := make(chan error, 1)
	go func() {
		_, err := to.Accept()
		accepted <- err
	}()
	start := time.Now()
	to.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("Close waited %s for a stranger", took)
	}
	testutil.WaitFor(t, 20*time.Second, func() bool {
		_, err := dialHello(to, to)
		return err != nil
	})
}

// Strangers that connect and say nothing, however many, keep no member out.
func TestManyStrangersKeepNoMemberOut(t *testing.T) {
	to, _ := testHello(t, "a", time.Minute) // so that none of them times out
	for range 2*hellosMax + 10 {
		c, err := net.Dial("tcp", to.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	from, _ := testHello(t, "a", helloTimeout)
	mustMeet(t, from, to)
	to.mu.Lock()
	defer to.mu.Unlock()
	if n := len(to.greeting); n > hellosMax {
		t.Errorf("%d strangers are kept, want at most %d", n, hellosMax)
	}
}
