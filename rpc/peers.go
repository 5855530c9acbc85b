package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/lockcluster/lockcluster"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

const (
	peerTimeout    = 5 * time.Second // of a call whose context has no deadline
	peersMax       = 64              // connections kept; a cluster has fewer nodes
	peerAnswerSize = 128 << 20       // a batch of refusals may carry a large value each
	// clusterHeader carries the id of the caller's cluster.
	clusterHeader = "lockcluster-cluster-id"
)

// Peers is how a node calls the other nodes' NodeService. Each call is one try:
// it follows no leader and repeats nothing, since the node does. Errors are
// those that the other node's method returned, as far as errors.Is and
// errors.As go; any other error means that no answer came.
//
// It is safe for concurrent use, and keeps one connection to each address.
type Peers struct {
	creds     credentials.TransportCredentials
	clusterID atomic.Pointer[func() string]

	mu     sync.Mutex // guards what follows
	conns  map[string]*grpc.ClientConn
	closed bool
}

// NewPeers returns a Peers without connections. tlsConfig is nil for none.
func NewPeers(tlsConfig *tls.Config) *Peers {
	p := &Peers{creds: insecure.NewCredentials(), conns: map[string]*grpc.ClientConn{}}
	if tlsConfig != nil {
		p.creds = credentials.NewTLS(tlsConfig)
	}
	return p
}

// Identify sets what tells the cluster that this node belongs to. Each later call
// carries it, so that a node of another cluster refuses to answer.
func (p *Peers) Identify(clusterID func() string) { p.clusterID.Store(&clusterID) }

// Close closes the connections; calls in flight fail.
func (p *Peers) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, cc := range p.conns {
		errs = append(errs, cc.Close())
	}
	clear(p.conns)
	return errors.Join(errs...)
}

// Propose has the node at addr propose a batch of encoded commands.
func (p *Peers) Propose(ctx context.Context, addr string, batch [][]byte) ([][]byte, error) {
	out := &pb.ProposeResponse{}
	if err := p.call(ctx, addr, pb.NodeService_Propose_FullMethodName, &pb.ProposeRequest{Commands: batch}, out); err != nil {
		return nil, err
	}
	if len(out.GetResults()) != len(batch) {
		return nil, fmt.Errorf("node at %s gave %d answers to %d commands", addr, len(out.GetResults()), len(batch))
	}
	return out.GetResults(), nil
}

// ReadIndex asks the leader at addr how far node from must have applied.
func (p *Peers) ReadIndex(ctx context.Context, addr, from string) (uint64, error) {
	out := &pb.ReadIndexResponse{}
	err := p.call(ctx, addr, pb.NodeService_ReadIndex_FullMethodName, &pb.ReadIndexRequest{From: from}, out)
	return out.GetIndex(), err
}

// Checkpoint asks for the state hash that the node noted at index.
func (p *Peers) Checkpoint(ctx context.Context, addr string, index uint64) (string, error) {
	out := &pb.CheckpointResponse{}
	err := p.call(ctx, addr, pb.NodeService_Checkpoint_FullMethodName, &pb.CheckpointRequest{Index: index}, out)
	return out.GetHash(), err
}

// NodeStatus asks the node at addr how it is.
func (p *Peers) NodeStatus(ctx context.Context, addr string) ([]byte, error) {
	out := &pb.NodeStatusResponse{}
	err := p.call(ctx, addr, pb.NodeService_NodeStatus_FullMethodName, &pb.NodeStatusRequest{}, out)
	return out.GetStatus(), err
}

// Join asks the node at addr to add the sender.
func (p *Peers) Join(ctx context.Context, addr string, request []byte) ([]byte, error) {
	out := &pb.JoinResponse{}
	err := p.call(ctx, addr, pb.NodeService_Join_FullMethodName, &pb.JoinRequest{Request: request}, out)
	return out.GetReply(), err
}

// Call asks the [Caller] of the node at addr.
func (p *Peers) Call(ctx context.Context, addr, method string, body []byte) ([]byte, error) {
	out := &pb.CallResponse{}
	err := p.call(ctx, addr, pb.NodeService_Call_FullMethodName, &pb.CallRequest{Method: method, Body: body}, out)
	return out.GetBody(), err
}

// Reserve asks the table of intents of the node at addr, see [Intents].
func (p *Peers) Reserve(ctx context.Context, addr, namespace, key string) (again bool, err error) {
	out := &pb.IntentResponse{}
	in := &pb.IntentRequest{Namespace: namespace, Key: []byte(key)}
	err = p.call(ctx, addr, pb.NodeService_Intent_FullMethodName, in, out)
	return out.GetAgain(), err
}

func (p *Peers) call(ctx context.Context, addr, method string, in, out proto.Message) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, peerTimeout)
		defer cancel()
	}
	cc, err := p.conn(addr)
	if err != nil {
		return err
	}
	if f := p.clusterID.Load(); f != nil {
		if id := (*f)(); id != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, clusterHeader, id)
		}
	}
	return errorFromStatus(cc.Invoke(ctx, method, in, out))
}

func (p *Peers) conn(addr string) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cc := p.conns[addr]; cc != nil {
		return cc, nil
	}
	if p.closed {
		return nil, lockcluster.ErrClosed
	}
	if len(p.conns) >= peersMax {
		for other, cc := range p.conns { // addresses that nodes have left
			_ = cc.Close()
			delete(p.conns, other)
			break
		}
	}
	opts := append(dialOptions(p.creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(peerAnswerSize), grpc.MaxCallSendMsgSize(requestSizeMax)),
		// A node that is back must be found within an election.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 250 * time.Millisecond},
			MinConnectTimeout: 2 * time.Second,
		}))
	cc, err := grpc.NewClient("passthrough:///"+addr, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to node at %q: %w", addr, err)
	}
	p.conns[addr] = cc
	return cc, nil
}
