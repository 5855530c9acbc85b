package cli

import (
	"context"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster/migration"
)

// followNote is how often the cluster is told that it is still followed.
const followNote = 10 * time.Second

// beforeFollow is before for a source that is followed.
func (g *importGuard) beforeFollow(ctx context.Context, src *migration.Source, plan *migration.Plan) error {
	return g.before(ctx, src, "", plan)
}

// keepNoted has the cluster remember up to when it was followed, now and then and
// when stop is called: a follower may be killed.
func (g *importGuard) keepNoted(ctx context.Context, f *migration.Follower) (stop func() error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // Ctrl-C ends the following, not its note
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(followNote)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = g.noteFollowed(ctx, f) // the next one or the last tells
			case <-ctx.Done():
				return
			}
		}
	})
	return func() error {
		cancel()
		wg.Wait()
		last, end := context.WithTimeout(context.WithoutCancel(ctx), clientTimeout)
		defer end()
		return g.noteFollowed(last, f)
	}
}

func (g *importGuard) noteFollowed(ctx context.Context, f *migration.Follower) error {
	s := f.Stats()
	if s.Applied == 0 {
		return nil
	}
	g.now.At = time.Now().UTC().Round(0).Add(-time.Duration(s.Behind * float64(time.Millisecond)))
	return g.note(ctx, true)
}
