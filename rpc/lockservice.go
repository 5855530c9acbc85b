package rpc

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// The trailers by which a node that does not lead names the leader.
const (
	trailerLeaderID   = "lockcluster-leader-id"
	trailerLeaderAddr = "lockcluster-leader-address"
)

// lockService translates; the node decides.
type lockService struct {
	pb.UnimplementedLockServiceServer
	node   Node
	nodeID string
}

// do has req decided under the identity that the message carries.
func (l *lockService) do(ctx context.Context, meta *pb.RequestMeta, req lockcluster.Request, includeValue bool) (*pb.Result, error) {
	id, err := metaFromPB(meta)
	if err == nil {
		err = checkStored(req)
	}
	if err != nil {
		return nil, err
	}
	res, err := l.node.Do(ctx, id, req)
	if err != nil {
		return nil, err
	}
	l.hint(ctx)
	return resultToPB(&res, includeValue), nil
}

// hint names the leader to the caller if that is another node.
func (l *lockService) hint(ctx context.Context) {
	id, addr := l.node.Leader()
	if id == l.nodeID || addr == "" {
		return
	}
	_ = grpc.SetTrailer(ctx, metadata.Pairs(trailerLeaderID, id, trailerLeaderAddr, addr)) // the answer is complete without it
}

func (l *lockService) Acquire(ctx context.Context, r *pb.AcquireRequest) (*pb.AcquireResponse, error) {
	req, err := acquireFromPB(r)
	if err != nil {
		return nil, err
	}
	res, err := l.do(ctx, r.GetMeta(), req, r.GetIncludeValue())
	return &pb.AcquireResponse{Result: res}, err
}

func (l *lockService) Release(ctx context.Context, r *pb.ReleaseRequest) (*pb.ReleaseResponse, error) {
	res, err := l.do(ctx, r.GetMeta(), releaseFromPB(r), r.GetIncludeValue())
	return &pb.ReleaseResponse{Result: res}, err
}

func (l *lockService) ReleaseIfOwnedByPull(ctx context.Context, r *pb.ReleaseIfOwnedByPullRequest) (*pb.ReleaseIfOwnedByPullResponse, error) {
	if r.GetPull() == 0 {
		return nil, fmt.Errorf("%w: a pull request number is needed", lockcluster.ErrInvalid)
	}
	req := lockcluster.Release{
		Namespace: namespaceOf(r.GetNamespace()), Text: r.GetText(), Guard: lockcluster.Guard{Pull: int(r.GetPull())},
	}
	res, err := l.do(ctx, r.GetMeta(), req, r.GetIncludeValue())
	return &pb.ReleaseIfOwnedByPullResponse{Result: res}, err
}

func (l *lockService) ReleaseByPull(ctx context.Context, r *pb.ReleaseByPullRequest) (*pb.ReleaseByPullResponse, error) {
	res, err := l.do(ctx, r.GetMeta(), releaseByPullFromPB(r), r.GetIncludeValue())
	return &pb.ReleaseByPullResponse{Result: res}, err
}

func (l *lockService) LockCommand(ctx context.Context, r *pb.LockCommandRequest) (*pb.LockCommandResponse, error) {
	req, err := lockCommandFromPB(r)
	if err != nil {
		return nil, err
	}
	res, err := l.do(ctx, r.GetMeta(), req, r.GetIncludeValue())
	return &pb.LockCommandResponse{Result: res}, err
}

func (l *lockService) UnlockCommand(ctx context.Context, r *pb.UnlockCommandRequest) (*pb.UnlockCommandResponse, error) {
	res, err := l.do(ctx, r.GetMeta(), unlockCommandFromPB(r), r.GetIncludeValue())
	return &pb.UnlockCommandResponse{Result: res}, err
}

func (l *lockService) PutDocument(ctx context.Context, r *pb.PutDocumentRequest) (*pb.PutDocumentResponse, error) {
	req, err := putFromPB(r)
	if err != nil {
		return nil, err
	}
	res, err := l.do(ctx, r.GetMeta(), req, r.GetIncludeValue())
	return &pb.PutDocumentResponse{Result: res}, err
}

func (l *lockService) DeleteDocument(ctx context.Context, r *pb.DeleteDocumentRequest) (*pb.DeleteDocumentResponse, error) {
	res, err := l.do(ctx, r.GetMeta(), deleteFromPB(r), r.GetIncludeValue())
	return &pb.DeleteDocumentResponse{Result: res}, err
}

func (l *lockService) SetTTL(ctx context.Context, r *pb.SetTTLRequest) (*pb.SetTTLResponse, error) {
	req, err := setTTLFromPB(r)
	if err != nil {
		return nil, err
	}
	res, err := l.do(ctx, r.GetMeta(), req, false)
	return &pb.SetTTLResponse{Result: res}, err
}

func (l *lockService) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	req, err := txnFromPB(r)
	if err != nil {
		return nil, err
	}
	res, err := l.do(ctx, r.GetMeta(), req, r.GetIncludeValue())
	return &pb.TxnResponse{Result: res}, err
}

func (l *lockService) Import(ctx context.Context, r *pb.ImportRequest) (*pb.ImportResponse, error) {
	req, err := importFromPB(r)
	if err != nil {
		return nil, err
	}
	res, err := l.do(ctx, r.GetMeta(), req, r.GetIncludeValue())
	return &pb.ImportResponse{Result: res}, err
}

// read calls f with the state that the caller wants to see.
func (l *lockService) read(ctx context.Context, stale bool, f func(r state.Reader)) (*pb.ReadInfo, error) {
	if stale {
		view, info := l.staleView()
		f(view)
		return info, nil
	}
	info := &pb.ReadInfo{}
	err := l.node.Read(ctx, func(r state.Reader, index uint64) {
		info.Index = index
		f(r)
	})
	if err != nil {
		return nil, err
	}
	l.hint(ctx)
	return info, nil
}

func (l *lockService) staleView() (*state.View, *pb.ReadInfo) {
	view, age := l.node.StaleView()
	info := &pb.ReadInfo{Index: view.Index()}
	if age >= 0 {
		info.Age = durationpb.New(age)
	}
	return view, info
}

func (l *lockService) Get(ctx context.Context, r *pb.GetRequest) (*pb.GetResponse, error) {
	ns, text := namespaceOf(r.GetNamespace()), r.GetText()
	if err := validateKeyText(ns, text); err != nil {
		return nil, err
	}
	// The shortest lock key has two slashes in its old form; what has less
	// would make FindLock look at every lock of a repository.
	find := state.FindLock
	if strings.Count(text, "/") < 2 {
		find = state.GetLock
	}
	var lock *lockcluster.Lock
	info, err := l.read(ctx, r.GetStale(), func(r state.Reader) { lock = find(r, ns, text) })
	if err != nil {
		return nil, err
	}
	return &pb.GetResponse{Lock: lockToPB(lock, r.GetIncludeValue()), Read: info}, nil
}

func (l *lockService) CheckCommand(ctx context.Context, r *pb.CheckCommandRequest) (*pb.CheckCommandResponse, error) {
	ns := namespaceOf(r.GetNamespace())
	if err := validateKeyText(ns, r.GetName()); err != nil {
		return nil, err
	}
	var lock *lockcluster.CommandLock
	info, err := l.read(ctx, r.GetStale(), func(s state.Reader) { lock = state.GetCommandLock(s, ns, r.GetName()) })
	if err != nil {
		return nil, err
	}
	return &pb.CheckCommandResponse{CommandLock: commandLockToPB(lock, r.GetIncludeValue()), Read: info}, nil
}

func (l *lockService) GetDocument(ctx context.Context, r *pb.GetDocumentRequest) (*pb.GetDocumentResponse, error) {
	ns := namespaceOf(r.GetNamespace())
	if err := validateKeyText(ns, r.GetKey()); err != nil {
		return nil, err
	}
	var doc *lockcluster.Document
	info, err := l.read(ctx, r.GetStale(), func(s state.Reader) { doc = state.GetDocument(s, ns, r.GetKey()) })
	if err != nil {
		return nil, err
	}
	return &pb.GetDocumentResponse{Document: documentToPB(doc, true), Read: info}, nil
}

func validateKeyText(ns, text string) error {
	if text == "" || len(text) > lockcluster.KeySizeMax {
		return fmt.Errorf("%w: a key has 1 to %d bytes", lockcluster.ErrInvalid, lockcluster.KeySizeMax)
	}
	return lockcluster.ValidateNamespace(ns)
}
