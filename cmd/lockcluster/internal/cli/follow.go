package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lockcluster/lockcluster/migration"
)

// follow keeps the cluster equal to a running Atlantis's store until Ctrl-C.
func (a *app) follow(ctx context.Context, c *client, from migration.Origin, f *importFlags, o migration.PlanOptions, guard *importGuard) error {
	st, err := c.Status(ctx, true)
	if err != nil {
		return f.client.explain(ctx, c, err)
	}
	if st.LegacyNamespace == f.namespace {
		return fmt.Errorf("a legacy system is attached to namespace %s, and the cluster keeps a copy of it by itself (lockcluster cluster mode blue-green); "+
			"--follow is for a cluster without one", f.namespace)
	}
	source, done := followSource(from)
	defer done()
	follower := a.follower(from, source, o, f.wait)
	follower.Before = guard.beforeFollow
	follower.Apply = migration.FollowInto(&patientDoer{c, f.client.timeout}, f.namespace)
	stop := guard.keepNoted(ctx, follower)
	stats, err := follower.Run(ctx)
	noted := stop()
	switch {
	case errors.Is(err, migration.ErrGivenUp):
		return fmt.Errorf("%w; nothing follows it any more: look at it (an Atlantis that writes without end, a Redis that is down), "+
			"then follow again; --wait says how long to wait", err)
	case err != nil:
		return f.client.explain(ctx, c, err)
	}
	if err := a.print(stats, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, followLine(&stats))
		return err
	}); err != nil {
		return err
	}
	if stats.Behind > 0 || stats.Applied == 0 {
		return fmt.Errorf("the last change of %s is not in the cluster: follow again, or import", from)
	}
	if noted == nil && stats.LeftOut > 0 {
		return silent(exitRefused)
	}
	return noted
}

// follower tells the user at once what begins and what fails, and on a terminal
// how it goes. All of that is on standard error.
func (a *app) follower(from migration.Origin, source migration.FollowSource, o migration.PlanOptions, waitMax time.Duration) *migration.Follower {
	limit := ""
	if waitMax > 0 {
		limit = fmt.Sprintf(" of at most %s", waitMax)
	}
	f := &migration.Follower{
		Source: source, PlanOptions: o, WaitMax: waitMax,
		Started: func(s migration.FollowStats) {
			say(a.Err, "started: %s in the cluster; stop Atlantis, wait until nothing is behind, then press Ctrl-C\n", number(s.Records, "record"))
			if s.LeftOut > 0 {
				say(a.Err, "left out: %s of the source that cannot be imported; \"lockcluster import --from %s --dry-run\" says why\n",
					number(s.LeftOut, "record"), from)
			}
		},
		Waiting: func(d time.Duration, why error) {
			if why == nil {
				say(a.Err, "%s is read again\n", from)
				return
			}
			say(a.Err, "waiting for %s, %s so far%s: %s\n", from, d, limit, visible(why.Error()))
		},
		Failed: func(err error) {
			if err == nil {
				say(a.Err, "it goes on\n")
				return
			}
			say(a.Err, "failed, and is tried again: %s\n", visible(err.Error()))
		},
	}
	if terminal(a.Err) {
		f.Progress = func(s migration.FollowStats) { say(a.Err, "%s\n", followLine(&s)) }
	}
	return f
}

// followSource opens what is followed.
func followSource(from migration.Origin) (source migration.FollowSource, done func()) {
	if from.Redis != nil {
		silenceRedis()
		r := migration.FollowRedis(from.Redis)
		return r, func() { _ = r.Close() }
	}
	b := migration.FollowBolt(from.File, "")
	return b, func() { _ = b.Close() }
}

func followLine(s *migration.FollowStats) string {
	line := fmt.Sprintf("%s in the source · %d added, %d changed, %d removed · lag p50 %.0f ms, p99 %.0f ms",
		number(s.Records, "record"), s.Added, s.Changed, s.Removed, s.LagP50, s.LagP99)
	if s.LeftOut > 0 {
		line += fmt.Sprintf(" · %d left out", s.LeftOut)
	}
	if s.Behind > 0 {
		line += fmt.Sprintf(" · behind for %.0f ms", s.Behind)
	}
	if s.LastError != "" {
		line += " · last error: " + visible(s.LastError)
	}
	return line
}
