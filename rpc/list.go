package rpc

import (
	"context"

	"google.golang.org/grpc"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// chunkBytes is the size of a listing's or a backup's message, about: a little
// less than what grpc's next pool of buffers holds.
const chunkBytes = 240 << 10

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
		// The limit of a message is for one lock, however large; grpc's sender
		// keeps the message, so the next has memory of its own.
		if chunk = encoder.append(chunk, lock); len(chunk) >= chunkBytes {
			if err = stream.Send(listChunk(info, chunk)); err != nil {
				return false
			}
			chunk, sent = make([]byte, 0, chunkBytes+chunkBytes/16), true
		}
		left-- // wraps when there is no limit
		return left != 0
	})
	if err == nil && (!sent || len(chunk) > 0) {
		err = stream.Send(listChunk(info, chunk))
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
