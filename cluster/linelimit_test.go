package cluster

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// bubbleLayer is a stream layer without sockets, so that it works in a bubble.
type bubbleLayer struct {
	incoming chan net.Conn
	closed   chan struct{}
}

func (l *bubbleLayer) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *bubbleLayer) Close() error { close(l.closed); return nil }

func (*bubbleLayer) Addr() net.Addr { return advertisedAddr("here") }

func (*bubbleLayer) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) {
	return nil, net.ErrClosed
}

type connFrom struct {
	net.Conn
	from advertisedAddr
}

func (c connFrom) RemoteAddr() net.Addr { return c.from }

// A node of another cluster that dials again and again is logged at once, and
// then with the number of its tries, however many ports it dials from; that does
// not hide another one.
func TestRefusedConnectionsAreLoggedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		layer := &bubbleLayer{make(chan net.Conn), make(chan struct{})}
		var log bytes.Buffer
		h := newHelloLayer(layer, "n1", func() string { return "a" }, nil, helloTimeout, slog.New(slog.NewTextHandler(&log, nil)))
		defer h.Close()
		dial := func(from string) {
			t.Helper()
			c, theirs := net.Pipe()
			layer.incoming <- connFrom{theirs, advertisedAddr(from)}
			if err := sendHello(c, hello{cluster: "b", node: "m1", wanted: "m2"}); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		wantLines := func(n int, last string) {
			t.Helper()
			if got := strings.Count(log.String(), "\n"); got != n || !strings.HasSuffix(log.String(), last+"\n") {
				t.Errorf("%d lines, want %d that end with %s:\n%s", got, n, last, &log)
			}
		}
		dial("10.0.0.1:1000")
		wantLines(1, "left_out=0")
		for port := range 8 {
			time.Sleep(time.Second)
			dial(fmt.Sprintf("10.0.0.1:%d", port))
		}
		wantLines(1, "left_out=0")
		dial("10.0.0.2:1000")
		wantLines(2, "left_out=0")
		time.Sleep(foreignQuiet)
		dial("10.0.0.1:1001")
		wantLines(3, "left_out=8")
	})
}

// What raft says of a member whose address a node of another cluster has is
// limited for all it tries together; what it says of others is not.
func TestRaftLinesAboutForeignNodesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		l := newRaftLogger(slog.New(slog.NewTextHandler(&log, nil)))
		foreign := func(address raft.ServerAddress) error {
			return fmt.Errorf("dial: %w", &foreignError{address, fmt.Errorf("%w: its id is x", errForeign)})
		}
		for range 5 {
			l.Error("failed to heartbeat to", "peer", "n1:1", "error", foreign("n1:1"))
			l.Error("failed to appendEntries to", "peer", "n1:1", "error", foreign("n1:1"))
			l.Error("failed to heartbeat to", "peer", "n2:1", "error", foreign("n2:1"))
			l.Error("failed to heartbeat to", "peer", "n3:1", "error", io.EOF)
		}
		time.Sleep(foreignQuiet)
		l.Error("failed to appendEntries to", "peer", "n1:1", "error", foreign("n1:1"))
		for peer, want := range map[string]int{"n1:1": 2, "n2:1": 1, "n3:1": 5} {
			if got := strings.Count(log.String(), "peer="+peer); got != want {
				t.Errorf("%d lines about %s, want %d:\n%s", got, peer, want, &log)
			}
		}
		if !strings.HasSuffix(log.String(), "left_out=9\n") {
			t.Errorf("the last line does not count 9 that were left out:\n%s", &log)
		}
	})
}

// However many peers there are, what is kept of them has a limit, and those above
// it share one line until others are silent.
func TestLineLimitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLineLimit(time.Minute)
		passed := 0
		for i := range 3 * limitedMax {
			if _, ok := l.pass(fmt.Sprint(i)); ok {
				passed++
			}
		}
		if passed != limitedMax+1 || len(l.peers) != limitedMax+1 {
			t.Errorf("%d lines of %d peers, want %d", passed, len(l.peers), limitedMax+1)
		}
		time.Sleep(time.Minute)
		if _, ok := l.pass("new"); !ok || len(l.peers) != 1 {
			t.Errorf("a new peer: %v; %d are kept", ok, len(l.peers))
		}
	})
}
