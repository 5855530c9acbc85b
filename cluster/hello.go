package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// What two nodes say first on a connection between their rafts is the cluster
// they belong to: this magic, the length of the id (1 byte), the id. The node
// that dials speaks first. Version history: "LCRAFT\x00\x01" first version.
const (
	helloMagic   = "LCRAFT\x00\x01"
	helloTimeout = 5 * time.Second
	// hellosMax is how many connections may be at their hello at a time. A member
	// speaks at once, so of more the one that has been at it the longest goes:
	// strangers that say nothing keep no member out.
	hellosMax = 256
)

var errForeign = errors.New("belongs to another cluster")

// foreignError is why a node that was dialled is none of this cluster; it wraps
// [errForeign].
type foreignError struct {
	address raft.ServerAddress
	err     error
}

func (e *foreignError) Error() string {
	return fmt.Sprintf("the node at %s %v; remove the member that has this address", e.address, e.err)
}

func (e *foreignError) Unwrap() error { return e.err }

// helloLayer keeps the raft of other clusters out. Raft knows the others by
// address alone, and a leader that still has the address of a node that is gone
// overwrites the log of whoever has the address now, if its term is greater.
type helloLayer struct {
	raft.StreamLayer
	id      func() string         // of the cluster, empty while a joining node was not told
	met     func(id string) error // refuses a cluster that this node may not belong to
	timeout time.Duration
	logger  *slog.Logger
	refused *lineLimit // of the log, by host

	ctx      context.Context //nolint:containedctx // ends with Close
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	accepted chan net.Conn
	failed   chan error

	mu       sync.Mutex // guards greeting
	greeting []net.Conn // accepted, at their hello, the oldest first
}

// newHelloLayer wraps inner, which it closes. met is asked before a node of the
// cluster id is let in; timeout is of one hello.
func newHelloLayer(inner raft.StreamLayer, id func() string, met func(string) error, timeout time.Duration, l *slog.Logger) *helloLayer {
	h := &helloLayer{
		StreamLayer: inner, id: id, met: met, timeout: timeout, logger: l, refused: newLineLimit(foreignQuiet),
		accepted: make(chan net.Conn), failed: make(chan error),
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.wg.Go(h.acceptAll)
	return h
}

// Dial implements [raft.StreamLayer].
func (h *helloLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	c, err := h.StreamLayer.Dial(address, timeout)
	if err != nil {
		return nil, err
	}
	err = h.greet(c, func() error {
		if err := sendHello(c, h.id()); err != nil {
			return err
		}
		return h.readHello(c)
	})
	switch {
	case errors.Is(err, errForeign):
		return nil, &foreignError{address, err}
	case err != nil:
		return nil, fmt.Errorf("greet the node at %s: %w", address, err)
	}
	return c, nil
}

// Accept implements [net.Listener].
func (h *helloLayer) Accept() (net.Conn, error) {
	select {
	case c := <-h.accepted:
		return c, nil
	case err := <-h.failed:
		return nil, err
	case <-h.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (h *helloLayer) Close() error {
	h.cancel()
	err := h.StreamLayer.Close()
	h.wg.Wait()
	return err
}

// acceptAll runs until Close. A connection that is slow to speak holds up no other.
func (h *helloLayer) acceptAll() {
	for {
		c, err := h.StreamLayer.Accept()
		if err != nil {
			select {
			case h.failed <- err: // raft waits a little before it asks again
				continue
			case <-h.ctx.Done():
				return
			}
		}
		h.begin(c)
		h.wg.Go(func() { h.admit(c) })
	}
}

// begin notes that c is at its hello, and closes the oldest if it is one too many.
func (h *helloLayer) begin(c net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.greeting = append(h.greeting, c)
	if len(h.greeting) > hellosMax {
		h.greeting[0].Close()
		h.greeting = h.greeting[1:]
	}
}

// end notes that the hello of c is over.
func (h *helloLayer) end(c net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.greeting = slices.DeleteFunc(h.greeting, func(other net.Conn) bool { return other == c })
}

// admit hears who has dialled, answers, and hands the connection to raft.
func (h *helloLayer) admit(c net.Conn) {
	err := h.greet(c, func() error {
		// The answer is sent in any case: the other end can say what is wrong.
		return errors.Join(h.readHello(c), sendHello(c, h.id()))
	})
	h.end(c)
	if err != nil {
		if errors.Is(err, errForeign) {
			h.logRefused(c.RemoteAddr().String(), err)
		}
		return
	}
	select {
	case h.accepted <- c:
	case <-h.ctx.Done():
		c.Close()
	}
}

// logRefused says that from was refused, unless it was said of its host just now.
func (h *helloLayer) logRefused(from string, err error) {
	host, _, split := net.SplitHostPort(from)
	if split != nil {
		host = from
	}
	if leftOut, ok := h.refused.pass(host); ok {
		h.logger.Warn("refused a connection to the raft port", "from", from, "err", err, "left_out", leftOut)
	}
}

// greet has f do so in time, and closes c if it fails.
func (h *helloLayer) greet(c net.Conn, f func() error) error {
	stop := context.AfterFunc(h.ctx, func() { c.Close() })
	err := c.SetDeadline(time.Now().Add(h.timeout))
	if err == nil {
		err = f()
	}
	if !stop() && err == nil {
		err = net.ErrClosed
	}
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	if err != nil {
		c.Close()
	}
	return err
}

func sendHello(w io.Writer, id string) error {
	b := make([]byte, 0, len(helloMagic)+1+len(id))
	b = append(b, helloMagic...)
	b = append(b, byte(len(id))) // 32 characters
	_, err := w.Write(append(b, id...))
	return err
}

// readHello reads what the other end says, and refuses another cluster.
func (h *helloLayer) readHello(r io.Reader) error {
	b := make([]byte, len(helloMagic)+1)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if string(b[:len(helloMagic)]) != helloMagic {
		return fmt.Errorf("%w, or to none: it does not speak this version's protocol between nodes", errForeign)
	}
	id := make([]byte, b[len(helloMagic)])
	if _, err := io.ReadFull(r, id); err != nil {
		return err
	}
	if mine := h.id(); mine != "" && len(id) > 0 && mine != string(id) {
		return fmt.Errorf("%w: its id is %.32q, here it is %s", errForeign, id, mine)
	}
	if len(id) == 0 {
		return nil // it crashed before it was told, see [Node.metCluster]
	}
	return h.met(string(id))
}
