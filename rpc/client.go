package rpc

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// ClientConfig says where the cluster is and how patient the client is.
type ClientConfig struct {
	// Endpoints are gRPC addresses (host:port) of nodes, one or more. The client
	// follows the leader to addresses that are not among them.
	Endpoints []string
	// Timeout is the deadline of a call whose context has none (10 s). Streams
	// (listings, backups) may take longer as long as they go on.
	Timeout time.Duration
	// RefusedTimeout, if not 0, ends a call early for which nothing listens at any
	// endpoint.
	RefusedTimeout time.Duration
	// TryTimeout is how long one try may take before another node is asked
	// (2 s); it doubles with each try of a call.
	TryTimeout time.Duration
	// Connections is the largest number of connections to one node (8); there is
	// one for every 64 calls in flight.
	Connections int
	TLS         *tls.Config // nil: no TLS
	// WithValues asks for stored values in results and listings. They come
	// without the user-info of URLs and the pull request's text.
	WithValues bool
}

// Client talks to a cluster. It is safe for concurrent use; one per process
// and cluster is enough.
type Client struct {
	cfg      ClientConfig
	pool     *pool
	sequence *sequence
}

// Dial returns a client. It does not wait for a connection: that no node can be
// reached shows in the calls, which try until their deadline.
func Dial(_ context.Context, cfg ClientConfig) (*Client, error) {
	if len(cfg.Endpoints) == 0 {
		return nil, fmt.Errorf("%w: no endpoints: name at least one node's gRPC address (host:port)", lockcluster.ErrInvalid)
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, 10*time.Second)
	cfg.TryTimeout = cmp.Or(cfg.TryTimeout, 2*time.Second)
	cfg.Connections = cmp.Or(cfg.Connections, 8)
	pool, err := newPool(cfg)
	if err != nil {
		return nil, err
	}
	return &Client{cfg: cfg, pool: pool, sequence: newSequence(newClientID())}, nil
}

// newClientID draws 128 random bits.
func newClientID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// ID returns the client id of the requests that the client numbers itself.
func (c *Client) ID() string { return c.sequence.clientID }

// LeaderAddr returns the address of the node that answered as the leader last,
// empty if that is not known.
func (c *Client) LeaderAddr() string {
	if e := c.pool.leader.Load(); e != nil {
		return e.addr
	}
	return ""
}

// Close closes all connections. Calls in flight fail; the outcome of mutations
// among them is unknown.
func (c *Client) Close() error { return c.pool.close() }

// Do has req decided and returns its result. With the zero id the client gives
// the request a number of its own, which makes it exactly-once however often it
// has to be sent; another id is used as it is.
//
// The errors: [lockcluster.ErrInvalid], [lockcluster.ErrOverloaded],
// [lockcluster.ErrNoLeader] and [lockcluster.ErrClosed] mean that nothing was
// proposed. An [OutcomeUnknownError] means that it may or may not be applied,
// and carries the id to ask again with; the client keeps that id good for a
// minute. Ending ctx takes nothing back that was sent.
func (c *Client) Do(ctx context.Context, id lockcluster.RequestID, req lockcluster.Request) (lockcluster.Result, error) {
	if err := state.Validate(req); err != nil {
		return lockcluster.Result{}, err
	}
	own := id.IsZero()
	if own {
		id = c.sequence.begin()
	}
	m, err := newMutation(id, req, c.cfg.WithValues)
	if err == nil {
		err = c.call(ctx, kindMutation, m.method, m.in, m.out)
	}
	unknown := err != nil && judge(err) == verdictUnknown
	if own || id.ClientID == c.sequence.clientID {
		c.sequence.end(id.Sequence, unknown)
	}
	switch {
	case unknown:
		return lockcluster.Result{}, &OutcomeUnknownError{ID: id, Err: err}
	case err != nil:
		return lockcluster.Result{}, err
	}
	return resultFromPB(m.out.GetResult()), nil
}

// mutation is a request in the form of its call.
type mutation struct {
	method string
	in     proto.Message
	out    interface {
		proto.Message
		GetResult() *pb.Result
	}
}

func newMutation(id lockcluster.RequestID, req lockcluster.Request, values bool) (m mutation, err error) {
	meta := metaToPB(id)
	switch r := req.(type) {
	case lockcluster.Acquire:
		in := acquireToPB(r)
		in.Meta, in.IncludeValue = meta, values
		m = mutation{pb.LockService_Acquire_FullMethodName, in, &pb.AcquireResponse{}}
	case lockcluster.Release:
		in := releaseToPB(r)
		in.Meta, in.IncludeValue = meta, values
		m = mutation{pb.LockService_Release_FullMethodName, in, &pb.ReleaseResponse{}}
	case lockcluster.ReleaseByPull:
		in := releaseByPullToPB(r)
		in.Meta, in.IncludeValue = meta, values
		m = mutation{pb.LockService_ReleaseByPull_FullMethodName, in, &pb.ReleaseByPullResponse{}}
	case lockcluster.LockCommand:
		in := lockCommandToPB(r)
		in.Meta, in.IncludeValue = meta, values
		m = mutation{pb.LockService_LockCommand_FullMethodName, in, &pb.LockCommandResponse{}}
	case lockcluster.UnlockCommand:
		in := unlockCommandToPB(r)
		in.Meta, in.IncludeValue = meta, values
		m = mutation{pb.LockService_UnlockCommand_FullMethodName, in, &pb.UnlockCommandResponse{}}
	case lockcluster.PutDocument:
		in := putToPB(r)
		in.Meta, in.IncludeValue = meta, values
		m = mutation{pb.LockService_PutDocument_FullMethodName, in, &pb.PutDocumentResponse{}}
	case lockcluster.DeleteDocument:
		in := deleteToPB(r)
		in.Meta, in.IncludeValue = meta, values
		m = mutation{pb.LockService_DeleteDocument_FullMethodName, in, &pb.DeleteDocumentResponse{}}
	case lockcluster.SetTTL:
		in := setTTLToPB(r)
		in.Meta = meta
		m = mutation{pb.LockService_SetTTL_FullMethodName, in, &pb.SetTTLResponse{}}
	case lockcluster.Txn:
		in, terr := txnToPB(r)
		if terr != nil {
			return m, terr
		}
		in.Meta, in.IncludeValue = meta, values
		m = mutation{pb.LockService_Txn_FullMethodName, in, &pb.TxnResponse{}}
	case lockcluster.Import:
		in := importToPB(r)
		in.Meta, in.IncludeValue = meta, values
		m = mutation{pb.LockService_Import_FullMethodName, in, &pb.ImportResponse{}}
	default:
		return m, fmt.Errorf("%w: %T is not for clients", lockcluster.ErrInvalid, req)
	}
	return m, nil
}
