package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/lockcluster/lockcluster/migration"
)

// follow keeps the cluster equal to a running Atlantis's store until Ctrl-C.
func (a *app) follow(ctx context.Context, c *client, from migration.Origin, f *importFlags, o migration.PlanOptions) error {
	st, err := c.Status(ctx, true)
	if err != nil {
		return f.client.explain(ctx, c, err)
	}
	if st.LegacyNamespace == f.namespace {
		return fmt.Errorf("a legacy system is attached to namespace %s, and the cluster keeps a copy of it by itself (lockcluster cluster mode blue-green); "+
			"--follow is for a cluster without one", f.namespace)
	}
	source, done, err := followSource(ctx, from)
	if err != nil {
		return err
	}
	defer done()
	say(a.Err, "following %s; stop Atlantis, wait until nothing is behind, then press Ctrl-C\n", from)
	follower := migration.Follower{
		Source: source, PlanOptions: o, Apply: migration.FollowInto(&patientDoer{c, f.client.timeout}, f.namespace),
		Progress: func(s migration.FollowStats) { say(a.Err, "%s\n", followLine(&s)) },
	}
	stats, err := follower.Run(ctx)
	if err != nil {
		return err
	}
	if err := a.print(stats, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, followLine(&stats))
		return err
	}); err != nil {
		return err
	}
	if stats.Behind > 0 {
		return fmt.Errorf("the last change of %s is not in the cluster: follow again, or import", from)
	}
	return nil
}

// followSource opens what is followed.
func followSource(ctx context.Context, from migration.Origin) (migration.FollowSource, func(), error) {
	if from.Redis != nil {
		silenceRedis()
		r, err := migration.FollowRedis(ctx, from.Redis)
		if err != nil {
			return nil, nil, err
		}
		return r, func() { _ = r.Close() }, nil
	}
	b := migration.FollowBolt(from.File, "")
	return b, func() { _ = b.Close() }, nil
}

func followLine(s *migration.FollowStats) string {
	line := fmt.Sprintf("%s in the source · %d added, %d changed, %d removed · lag p50 %.0f ms, p99 %.0f ms",
		number(s.Records, "record"), s.Added, s.Changed, s.Removed, s.LagP50, s.LagP99)
	if s.Behind > 0 {
		line += fmt.Sprintf(" · behind for %.0f ms", s.Behind)
	}
	if s.LastError != "" {
		line += " · last error: " + visible(s.LastError)
	}
	return line
}
