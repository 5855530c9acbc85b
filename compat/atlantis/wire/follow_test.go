package wire

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runatlantis/atlantis/server/core/boltdb"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/migration"
)

// followFor is how long Atlantis writes while it is followed.
func followFor(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("LOCKCLUSTER_FOLLOW")
	if text == "" {
		return 3 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("LOCKCLUSTER_FOLLOW: %v", err)
	}
	return d
}

// window is how many locks Atlantis holds at a time in the test.
const window = 500

// seenWindow checks what a follower applies: Atlantis takes lock i and then
// frees lock i - window, so that every state it ever had is an unbroken run of
// at most window+1 locks, which only moves on.
type seenWindow struct {
	t           *testing.T
	first, last int
	states      int
}

func (s *seenWindow) apply(_ context.Context, plan *migration.Plan, _ migration.Diff) error {
	first, last, n := -1, -1, 0
	for _, rec := range plan.Records {
		if !strings.HasPrefix(rec.Identity, "acme/live/") {
			continue
		}
		var i int
		lock, ok := rec.Request.(lockcluster.Acquire)
		if _, err := fmt.Sscanf(lock.Key.Path, "d%d", &i); err != nil || !ok || lock.Owner.Pull != i+1 {
			s.t.Errorf("record %s is of pull request %d", rec.Identity, lock.Owner.Pull)
		}
		if n == 0 || i < first {
			first = i
		}
		last = max(last, i)
		n++
	}
	if n > 0 && (n != last-first+1 || n > window+1) {
		s.t.Errorf("a state that never was: %d locks from %d to %d", n, first, last)
	}
	if last < s.last || n > 0 && first < s.first {
		s.t.Errorf("it went back from %d..%d to %d..%d", s.first, s.last, first, last)
	}
	s.first, s.last = first, last
	s.states++
	return nil
}

// A file that Atlantis's own code holds open and writes at full speed is
// followed: never a state that Atlantis was not in, never back, the last state
// in the end, and the lag is told.
func TestFollowWhileAtlantisWrites(t *testing.T) {
	t.Run("few locks", func(t *testing.T) { followWindow(t, t.TempDir(), 0) })
	t.Run("10000 others", func(t *testing.T) {
		file, others := generate(t, 10_000)
		followWindow(t, filepath.Dir(file), len(others))
	})
}

// followWindow follows the file in dir, which has so many other locks.
func followWindow(t *testing.T, dir string, others int) {
	db, err := boltdb.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	source := migration.FollowBolt(filepath.Join(dir, "atlantis.db"), t.TempDir())
	seen := &seenWindow{t: t, first: -1, last: -1}
	f := &migration.Follower{Source: source, Apply: seen.apply, Progress: func(s migration.FollowStats) { t.Logf("%+v", s) }}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var stats migration.FollowStats
	go func() {
		var err error
		stats, err = f.Run(ctx)
		done <- err
	}()
	taken := 0
	// On a busy machine one reading may last as long as the test was to.
	end := time.Now().Add(followFor(t))
	for last := end.Add(time.Minute); time.Now().Before(end) || f.Stats().Applied < 2 && time.Now().Before(last); taken++ {
		lock := projectLock("acme/live", fmt.Sprintf("d%06d", taken), taken+1)
		if ok, _, err := db.TryLock(lock); err != nil || !ok {
			t.Fatalf("lock %d: %t, %v", taken, ok, err)
		}
		if old := taken - window; old >= 0 {
			gone := projectLock("acme/live", fmt.Sprintf("d%06d", old), old+1)
			if freed, err := db.Unlock(gone.Project, gone.Workspace); err != nil || freed == nil {
				t.Fatalf("unlock %d: %v, %v", old, freed, err)
			}
		}
	}
	wait, stop := context.WithTimeout(t.Context(), 60*time.Second)
	defer stop()
	for s := f.Stats(); s.Behind > 0 || s.Records != others+min(taken, window); s = f.Stats() {
		select {
		case <-wait.Done():
			t.Fatalf("it does not catch up: %+v", s)
		case <-time.After(10 * time.Millisecond):
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if seen.last != taken-1 || seen.states < 2 || stats.Failures > 0 {
		t.Errorf("it ended with lock %d of %d; %d states; %+v", seen.last, taken-1, seen.states, stats)
	}
	t.Logf("Atlantis took %d locks; %d states were applied, none that never was; lag p50 %.1f ms, p99 %.1f ms, most %.1f ms; %+v",
		taken, seen.states, stats.LagP50, stats.LagP99, stats.LagMax, stats)
	if err := source.Close(); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
