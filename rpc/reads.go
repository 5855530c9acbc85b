package rpc

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockcluster/lockcluster"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// ReadInfo says what a read has seen.
type ReadInfo struct {
	Index uint64 // the answer contains every change up to this log index
	// Age is how long ago the node last knew that it was up to date, for stale
	// reads; negative when it cannot tell. Zero for linearizable reads.
	Age time.Duration
}

func infoFromPB(r *pb.ReadInfo, stale bool) ReadInfo {
	info := ReadInfo{Index: r.GetIndex()}
	if stale {
		info.Age = ageFromPB(r.GetAge())
	}
	return info
}

func ageFromPB(d *durationpb.Duration) time.Duration {
	if d == nil {
		return -1
	}
	return d.AsDuration()
}

// ReadOption changes how a read is done.
type ReadOption func(*readOptions)

type readOptions struct{ stale bool }

// Stale lets any node answer at once from its own state, which may be behind.
// Without it reads are linearizable.
func Stale() ReadOption { return func(o *readOptions) { o.stale = true } }

func readOptionsOf(opts []ReadOption) (o readOptions) {
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

func (o readOptions) kind() callKind {
	if o.stale {
		return kindAnyNode
	}
	return kindRead
}

// GetLock returns the lock with that key text, nil if it is free. The text may
// have the form of Atlantis before v0.40.0, without the project.
func (c *Client) GetLock(ctx context.Context, ns, text string, opts ...ReadOption) (*lockcluster.Lock, ReadInfo, error) {
	o := readOptionsOf(opts)
	out := &pb.GetResponse{}
	in := &pb.GetRequest{Namespace: ns, Text: text, Stale: o.stale, IncludeValue: c.cfg.WithValues}
	err := c.call(ctx, o.kind(), pb.LockService_Get_FullMethodName, in, out)
	return lockFromPB(out.GetLock()), infoFromPB(out.GetRead(), o.stale), err
}

// GetCommandLock returns the global lock of a command, nil if it is not locked.
func (c *Client) GetCommandLock(ctx context.Context, ns, name string, opts ...ReadOption) (*lockcluster.CommandLock, ReadInfo, error) {
	o := readOptionsOf(opts)
	out := &pb.CheckCommandResponse{}
	in := &pb.CheckCommandRequest{Namespace: ns, Name: name, Stale: o.stale, IncludeValue: c.cfg.WithValues}
	err := c.call(ctx, o.kind(), pb.LockService_CheckCommand_FullMethodName, in, out)
	return commandLockFromPB(out.GetCommandLock()), infoFromPB(out.GetRead(), o.stale), err
}

// GetDocument returns the document under key, nil if there is none. Its value
// comes without the user-info of URLs and the pull request's text, and is nil
// when the stored bytes are not JSON.
func (c *Client) GetDocument(ctx context.Context, ns, key string, opts ...ReadOption) (*lockcluster.Document, ReadInfo, error) {
	o := readOptionsOf(opts)
	out := &pb.GetDocumentResponse{}
	err := c.call(ctx, o.kind(), pb.LockService_GetDocument_FullMethodName, &pb.GetDocumentRequest{Namespace: ns, Key: key, Stale: o.stale}, out)
	return documentFromPB(out.GetDocument()), infoFromPB(out.GetRead(), o.stale), err
}

// LockFilter selects locks; the zero value selects all of the default namespace.
type LockFilter struct {
	Namespace string
	Repo      string // exactly this repository
	Pull      int    // only locks of pull requests of this number
	Prefix    string // key texts that begin with this
	After     string // key texts greater than this, to go on with a listing
	Limit     int    // at most this many; 0: all
}

// ListLocks yields the selected locks in the order of their key texts. All are
// of one state: a listing that breaks is begun anew before the first lock, and
// ends with an error after it. The error, if any, is the last thing it yields.
func (c *Client) ListLocks(ctx context.Context, filter LockFilter, opts ...ReadOption) iter.Seq2[*lockcluster.Lock, error] {
	return func(yield func(*lockcluster.Lock, error) bool) {
		stopped, begun := false, false
		_, err := c.list(ctx, filter, readOptionsOf(opts), func(l *lockcluster.Lock) error {
			begun = true
			if !yield(l, nil) {
				stopped = true
				return errStopped
			}
			return nil
		}, func() bool { return !begun })
		if err != nil && !stopped {
			yield(nil, err)
		}
	}
}

var errStopped = errors.New("the caller has seen enough")

// CollectLocks is [Client.ListLocks] into memory, begun anew whenever it breaks.
func (c *Client) CollectLocks(ctx context.Context, filter LockFilter, opts ...ReadOption) ([]lockcluster.Lock, ReadInfo, error) {
	o := readOptionsOf(opts)
	var locks []lockcluster.Lock
	info, err := c.list(ctx, filter, o, func(l *lockcluster.Lock) error {
		locks = append(locks, *l)
		return nil
	}, func() bool {
		locks = locks[:0]
		return true
	})
	if err != nil {
		return nil, info, err
	}
	return locks, info, nil
}

// list calls each with the locks of a listing. again says whether it may be
// begun anew after it broke.
func (c *Client) list(ctx context.Context, f LockFilter, o readOptions, each func(*lockcluster.Lock) error, again func() bool) (ReadInfo, error) {
	in := &pb.ListRequest{
		Namespace: f.Namespace, Repo: f.Repo, Pull: int64(f.Pull), Prefix: f.Prefix, After: f.After,
		Limit: uint64(max(0, f.Limit)), IncludeValue: c.cfg.WithValues, Stale: o.stale,
	}
	var d listDecoder
	err := c.stream(ctx, o.kind(), again, func(ctx context.Context, cc *grpc.ClientConn, w *watch) error {
		stream, err := cc.NewStream(ctx, &pb.LockService_ServiceDesc.Streams[0], pb.LockService_List_FullMethodName, grpc.ForceCodecV2(theCodec))
		if err != nil {
			return err
		}
		if err := stream.SendMsg(in); err != nil {
			return err
		}
		if err := stream.CloseSend(); err != nil {
			return err
		}
		var m encodedChunk
		for {
			w.begin()
			err := stream.RecvMsg(&m)
			w.end()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := d.chunk(m.data, each); err != nil {
				return &finalError{err}
			}
		}
	})
	return infoFromPB(d.info, o.stale), err
}
