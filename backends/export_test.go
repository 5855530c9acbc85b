package backends

import (
	"context"

	"github.com/lockcluster/lockcluster"
)

// LateCommit sends a commit to the Redis of b after its fence was raised anew,
// as one that arrives when its sender has given up on it. b must be idle.
func LateCommit(ctx context.Context, b Backend, text string, value []byte) error {
	l := b.(*legacy)
	s := l.store.(*redisStore)
	var late handle
	for range 2 { // before it, so that it is its handle's first, and behind it
		late = s.handles[0]
		late.seq++
		if err := s.raise(ctx, l.fence, Claim{}); err != nil {
			return err
		}
	}
	return s.send(ctx, l.fence, "", lockcluster.Token{}, 0, late, []change{{place: place{lockcluster.SpaceLock, text}, new: entry{value: value}}})
}

// CommitTo sends a commit that was decided already, and that means the store
// with that id.
func CommitTo(ctx context.Context, b Backend, id, text string, value []byte) error {
	l := b.(*legacy)
	s := l.store.(*redisStore)
	return s.commit(ctx, l.fence, id, lockcluster.Token{}, []change{{place: place{lockcluster.SpaceLock, text}, new: entry{value: value}}})
}
