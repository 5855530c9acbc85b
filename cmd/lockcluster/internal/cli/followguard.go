package cli

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster/migration"
)

const (
	// followNote is how often the cluster is told that it is still followed.
	followNote = 10 * time.Second
	// followBusy is the pause before a source is read again that is being written.
	followBusy = 100 * time.Millisecond
)

// beforeFollow is before for a source that is followed.
func (g *importGuard) beforeFollow(ctx context.Context, source migration.FollowSource, o migration.PlanOptions) error {
	if len(g.earlier) == 0 || g.again {
		return g.note(ctx, false)
	}
	for {
		src, _, err := source.Read(ctx)
		if errors.Is(err, migration.ErrBusy) && ctx.Err() == nil {
			time.Sleep(followBusy)
			continue
		}
		if err != nil {
			return err
		}
		plan, err := migration.BuildPlan(src, o)
		if err != nil {
			return err
		}
		return g.before(ctx, src, "", plan)
	}
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
