package rpc

import (
	"context"

	"google.golang.org/grpc"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
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
	left := r.GetLimit()
	encoder := lockEncoder{includeValue: r.GetIncludeValue()}
	chunk, sent := make([]byte, 0, 16<<10), false // most listings are short
	filter := state.LockFilter{Repo: r.GetRepo(), Pull: int(r.GetPull()), Text: r.GetPrefix(), After: r.GetAfter()}
	state.ListLocks(view, ns, filter, func(lock *lockcluster.Lock) bool {
		// The limit of a message is for one lock, however large.
		if chunk = encoder.append(chunk, lock); len(chunk) >= chunkBytes {
			if err = sendChunk(stream, info, chunk); err != nil {
				return false
			}
			chunk, sent = (*chunkMemory.Get(chunkBytes + chunkBytes/16))[:0], true
		}
		left-- // wraps when there is no limit
		return left != 0
	})
	if err == nil && (!sent || len(chunk) > 0) {
		err = sendChunk(stream, info, chunk)
	}
	return err
}

// sendChunk sends encoded locks. Their memory is grpc's from then on.
func sendChunk(stream grpc.ServerStream, info *pb.ReadInfo, locks []byte) error {
	chunk, err := appendInfo(locks, info)
	if err != nil {
		return err
	}
	return stream.SendMsg(&encodedChunk{data: chunk})
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
