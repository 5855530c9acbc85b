package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// What two nodes say first on a connection between their rafts: this magic, and
// then, each with its length (1 byte) before it, the id of the cluster, the id of
// the node that speaks, and that of the node it wants to speak to. The node that
// dials speaks first; the other one wants nobody. Version history:
// "LCRAFT\x00\x01" first version.
const (
	helloMagic   = "LCRAFT\x00\x01"
	helloTimeout = 5 * time.Second
	// hellosMax is how many connections may be at their hello at a time. A member
	// speaks at once, so of more the one that has been at it the longest goes:
	// strangers that say nothing keep no member out.
	hellosMax = 256
)

var (
	errForeign = errors.New("belongs to another cluster")
	errOther   = errors.New("is another node than was wanted")
)

// foreignError is why a node that was dialled is not the one that was wanted; it
// wraps [errForeign] or [errOther].
type foreignError struct {
	address raft.ServerAddress
	err     error
}

func (e *foreignError) Error() string {
	advice := "remove the member that has this address"
	if errors.Is(e.err, errOther) {
		advice = "stop that one if it was removed, or give one of them another address"
	}
	return fmt.Sprintf("the node at %s %v; %s", e.address, e.err, advice)
}

func (e *foreignError) Unwrap() error { return e.err }

// hello is what one end of a connection says.
type hello struct {
	cluster string // empty while a joining node was not told
	node    string
	wanted  string // empty: nobody in particular
}

// peerAddress is the address that the layer is to dial for a node: with its id, so
// that raft also keeps the connections to two nodes apart that had one address.
func peerAddress(id raft.ServerID, address raft.ServerAddress) raft.ServerAddress {
	return raft.ServerAddress(id) + "@" + address
}

func splitPeer(peer raft.ServerAddress) (id string, address raft.ServerAddress) {
	if id, addr, ok := strings.Cut(string(peer), "@"); ok {
		return id, raft.ServerAddress(addr)
	}
	return "", peer
}

// helloLayer has raft speak to the node that it means, and keeps the raft of other
// clusters out. Raft knows the others by address alone. A leader that still has the
// address of a node that is gone overwrites the log of whoever has the address now,
// if its term is greater; and what a removed node says at the address of its
// successor would count as the successor's word, who has none of it.
type helloLayer struct {
	raft.StreamLayer
	node    string                // this one
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
func newHelloLayer(inner raft.StreamLayer, node string, id func() string, met func(string) error, timeout time.Duration, l *slog.Logger) *helloLayer {
	h := &helloLayer{
		StreamLayer: inner, node: node, id: id, met: met, timeout: timeout, logger: l, refused: newLineLimit(foreignQuiet),
		accepted: make(chan net.Conn), failed: make(chan error),
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.wg.Go(h.acceptAll)
	return h
}

// Dial implements [raft.StreamLayer]. The address may be a [peerAddress].
func (h *helloLayer) Dial(peer raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	wanted, address := splitPeer(peer)
	c, err := h.StreamLayer.Dial(address, timeout)
	if err != nil {
		return nil, err
	}
	err = h.greet(c, func() error {
		if err := sendHello(c, hello{h.id(), h.node, wanted}); err != nil {
			return err
		}
		other, err := readHello(c)
		if err != nil {
			return err
		}
		wrong := ""
		if wanted != "" && other.node != wanted {
			wrong = fmt.Sprintf("it is %.64q, not %s", other.node, wanted)
		}
		return h.check(other, wrong)
	})
	switch {
	case errors.Is(err, errForeign), errors.Is(err, errOther):
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
		other, err := readHello(c)
		if err == nil {
			wrong := ""
			if other.wanted != "" && other.wanted != h.node {
				wrong = fmt.Sprintf("node %.64q of this cluster looks here for %.64q; stop this one if it was removed, or give one of them another address",
					other.node, other.wanted)
			}
			err = h.check(other, wrong)
		}
		// The answer is sent in any case: the other end can say what is wrong.
		return errors.Join(err, sendHello(c, hello{cluster: h.id(), node: h.node}))
	})
	h.end(c)
	if err != nil {
		if errors.Is(err, errForeign) || errors.Is(err, errOther) {
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

func sendHello(w io.Writer, says hello) error {
	b := []byte(helloMagic)
	for _, text := range []string{says.cluster, says.node, says.wanted} {
		b = append(b, byte(len(text))) // at most 64 characters
		b = append(b, text...)
	}
	_, err := w.Write(b)
	return err
}

// readHello reads what the other end says.
func readHello(r io.Reader) (says hello, err error) {
	b := make([]byte, len(helloMagic))
	if _, err := io.ReadFull(r, b); err != nil {
		return says, err
	}
	if string(b) != helloMagic {
		return says, fmt.Errorf("%w, or to none: it does not speak this version's protocol between nodes", errForeign)
	}
	for _, text := range []*string{&says.cluster, &says.node, &says.wanted} {
		size := make([]byte, 1)
		if _, err := io.ReadFull(r, size); err != nil {
			return says, err
		}
		b := make([]byte, size[0])
		if _, err := io.ReadFull(r, b); err != nil {
			return says, err
		}
		*text = string(b)
	}
	return says, nil
}

// check refuses another cluster, and what is wrong otherwise, if that is not empty.
func (h *helloLayer) check(other hello, wrong string) error {
	switch mine := h.id(); {
	case mine != "" && other.cluster != "" && mine != other.cluster:
		return fmt.Errorf("%w: its id is %.32q, here it is %s", errForeign, other.cluster, mine)
	case wrong != "":
		return fmt.Errorf("%w: %s", errOther, wrong)
	case other.cluster == "":
		return nil // it crashed before it was told, see [Node.metCluster]
	}
	return h.met(other.cluster)
}
