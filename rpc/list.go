package rpc

import (
	"context"

	"google.golang.org/grpc"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

const (
	// chunkBytes is the size of a listing's or a backup's message, about: a
	// little less than what grpc's next pool of buffers holds.
	chunkBytes = 240 << 10
	// lockOverheadBytes is what a lock takes on the wire beside its texts and value.
	lockOverheadBytes = 96
)

// List streams one state's locks, so a slow reader costs memory for what has
// changed since, and never holds up writers.
func (l *lockService) List(r *pb.ListRequest, stream grpc.ServerStreamingServer[pb.ListResponse]) error {
	ns := namespaceOf(r.GetNamespace())
	if err := lockcluster.ValidateNamespace(ns); err != nil {
		return err
	}
	view, info, err := l.view(stream.Context(), r.GetStale())
	if err != nil {
		return err
	}
	chunk := &pb.ListResponse{Read: info}
	size, sent, left := 0, false, r.GetLimit()
	filter := state.LockFilter{Repo: r.GetRepo(), Pull: int(r.GetPull()), Text: r.GetPrefix(), After: r.GetAfter()}
	state.ListLocks(view, ns, filter, func(lock *lockcluster.Lock) bool {
		out := lockToPB(lock, r.GetIncludeValue())
		chunk.Locks = append(chunk.Locks, out)
		size += lockOverheadBytes + 2*len(out.GetText()) + len(out.GetUser()) + len(out.GetValue())
		if size >= chunkBytes {
			if err = stream.Send(chunk); err != nil {
				return false
			}
			sent, size = true, 0
			chunk = &pb.ListResponse{Read: info, Locks: make([]*pb.Lock, 0, len(chunk.GetLocks()))}
		}
		left-- // wraps when there is no limit
		return left != 0
	})
	if err == nil && (!sent || len(chunk.GetLocks()) > 0) {
		err = stream.Send(chunk)
	}
	return err
}

func (l *lockService) view(ctx context.Context, stale bool) (*state.View, *pb.ReadInfo, error) {
	if stale {
		view, info := l.staleView()
		return view, info, nil
	}
	view, err := l.node.View(ctx)
	if err != nil {
		return nil, nil, err
	}
	return view, &pb.ReadInfo{Index: view.Index()}, nil
}
