package cluster

import (
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// raftTimeout bounds one call between nodes' rafts; installing a snapshot may
// take longer, by its size.
const raftTimeout = 10 * time.Second

// raftConnsPerNode is how many idle connections stay open to each other node.
const raftConnsPerNode = 3

// tcpLayer carries raft over TCP. It advertises an address that need not be
// the one it listens on, and closes what it accepted when it is closed.
type tcpLayer struct {
	net.Listener
	advertised string

	mu     sync.Mutex // guards what follows
	conns  map[net.Conn]struct{}
	closed bool
}

func listenTCP(bind, advertised string) (*tcpLayer, error) {
	l, err := net.Listen("tcp", bind)
	if err != nil {
		return nil, fmt.Errorf("listen for raft: %w; stop what uses the port, or give another --raft-addr", err)
	}
	return &tcpLayer{Listener: l, advertised: advertised, conns: map[net.Conn]struct{}{}}, nil
}

// Dial implements [raft.StreamLayer].
func (l *tcpLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(address), timeout)
}

// Accept implements [net.Listener].
func (l *tcpLayer) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		c.Close()
		return nil, net.ErrClosed
	}
	l.conns[c] = struct{}{}
	return &trackedConn{Conn: c, layer: l}, nil
}

// Close implements [net.Listener].
func (l *tcpLayer) Close() error {
	err := l.Listener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for c := range l.conns {
		c.Close()
	}
	return err
}

// Addr implements [net.Listener]: it is what other nodes dial.
func (l *tcpLayer) Addr() net.Addr { return advertisedAddr(l.advertised) }

type advertisedAddr string

func (advertisedAddr) Network() string  { return "tcp" }
func (a advertisedAddr) String() string { return string(a) }

type trackedConn struct {
	net.Conn
	layer *tcpLayer
}

// Close implements [net.Conn].
func (c *trackedConn) Close() error {
	c.layer.mu.Lock()
	delete(c.layer.conns, c.Conn)
	c.layer.mu.Unlock()
	return c.Conn.Close()
}

// networkTransport is raft's transport over a stream layer, which is told the id of
// the node that it is to reach (see [helloLayer]); closing it closes its idle
// connections too.
type networkTransport struct{ *raft.NetworkTransport }

var (
	_ raft.WithPreVote = networkTransport{}
	_ raft.WithClose   = networkTransport{}
)

// AppendEntriesPipeline implements [raft.Transport].
func (t networkTransport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	return t.NetworkTransport.AppendEntriesPipeline(id, peerAddress(id, target))
}

// AppendEntries implements [raft.Transport].
func (t networkTransport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	return t.NetworkTransport.AppendEntries(id, peerAddress(id, target), args, resp)
}

// RequestVote implements [raft.Transport].
func (t networkTransport) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return t.NetworkTransport.RequestVote(id, peerAddress(id, target), args, resp)
}

// RequestPreVote implements [raft.WithPreVote].
func (t networkTransport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return t.NetworkTransport.RequestPreVote(id, peerAddress(id, target), args, resp)
}

// InstallSnapshot implements [raft.Transport].
func (t networkTransport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest,
	resp *raft.InstallSnapshotResponse, data io.Reader,
) error {
	return t.NetworkTransport.InstallSnapshot(id, peerAddress(id, target), args, resp, data)
}

// TimeoutNow implements [raft.Transport].
func (t networkTransport) TimeoutNow(id raft.ServerID, target raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return t.NetworkTransport.TimeoutNow(id, peerAddress(id, target), args, resp)
}

// Close implements [raft.WithClose].
func (t networkTransport) Close() error {
	err := t.NetworkTransport.Close()
	t.CloseStreams()
	return err
}

func newNetworkTransport(layer raft.StreamLayer, c Config) raft.Transport {
	return networkTransport{raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: layer, MaxPool: raftConnsPerNode, Timeout: raftTimeout, Logger: newRaftLogger(c.Logger),
	})}
}
