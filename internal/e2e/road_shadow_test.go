package e2e

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/internal/testutil"
	"github.com/lockcluster/lockcluster/rpc"
)

const brokenTags = plainTags + ",lockcluster_broken"

// isBroken reports whether a node built with brokenTags answers wrongly about
// a key when it shadows.
func isBroken(key string) bool { return crc32.ChecksumIEEE([]byte(key))%2 == 0 }

// Shadow mode with an enhanced system that is broken on purpose: every wrong
// answer is recorded, no client sees one, and the switch is refused.
func TestShadowSeesWrongAnswers(t *testing.T) {
	onBoth(t, func(t *testing.T, kind string) {
		seed := uint64(testutil.Seed(t))
		r := startRoad(t, kind, brokenTags)
		r.mode(t, "shadow")
		// Clients see the legacy system's answers only.
		f := startFleet(t, r, crashClients, seed)
		f.hold(t, 50)
		before := f.done()
		testutil.WaitFor(t, time.Minute, func() bool { return f.done() > before+1500 })
		f.close()
		f.report(t, false)
		s := r.settleShadow(t)
		for _, line := range f.compare("the legacy store", r.readLegacy(t)) {
			t.Error(line)
		}
		if s.Shadow.Total == 0 {
			t.Error("no wrong answer was recorded")
		}
		s.mostCompared(t)
		if !t.Run("every wrong answer is recorded", func(t *testing.T) { r.wrongAnswers(t, s) }) {
			return
		}
		r.refusesSwitch(t)
		end := r.settleShadow(t)
		t.Logf("%s: %d operations, %d compared, %d wrong answers recorded, none seen by a client; the switch was refused",
			kind, end.Shadow.Operations, end.Shadow.Compared, end.Shadow.Total)
	})
}

// settleShadow waits until everything was shadowed.
func (r *road) settleShadow(t testing.TB) migrationStatus {
	t.Helper()
	var s migrationStatus
	testutil.WaitFor(t, 30*time.Second, func() (err error) {
		if s, err = r.migration(t.Context()); err == nil && s.Shadow.Compared+s.Shadow.Skipped < s.Shadow.Operations {
			err = fmt.Errorf("%+v", s.Shadow)
		}
		return err
	})
	return s
}

// mostCompared fails the test if many operations were left out. A transaction
// that was refused over a record's age is; clients that race make a few.
func (s *migrationStatus) mostCompared(t testing.TB) {
	t.Helper()
	if s.Shadow.Compared == 0 || s.Shadow.Skipped*20 > s.Shadow.Operations || s.Shadow.Outages > 0 {
		t.Errorf("too few were compared: %+v", s.Shadow)
	}
}

// wrongAnswers sends a known number of operations and compares counts and keys.
func (r *road) wrongAnswers(t *testing.T, before migrationStatus) {
	const keys = 20
	var wrong []string
	for i := range keys {
		key := lockcluster.Key{Namespace: lockcluster.DefaultNamespace, Repo: "acme/known", Path: fmt.Sprintf("d%d", i), Workspace: "default"}
		release := lockcluster.Release{Namespace: key.Namespace, Text: key.Text()}
		for _, one := range []struct {
			req  lockcluster.Request
			want lockcluster.Status
		}{
			{acquireRequest(key, 1), lockcluster.StatusGranted},
			{acquireRequest(key, 2), lockcluster.StatusHeld},
			{release, lockcluster.StatusReleased},
			{release, lockcluster.StatusNotFound},
		} {
			if res := r.ask(t, r.client, one.req); res.Status != one.want {
				t.Errorf("%T of %s was answered %s, want %s", one.req, key.Text(), res.Status, one.want)
			}
			if isBroken(key.Text()) {
				wrong = append(wrong, key.Text())
			}
		}
	}
	s := r.settleShadow(t)
	if n := s.Shadow.Compared - before.Shadow.Compared; n != 4*keys {
		t.Errorf("%d operations were compared, want %d", n, 4*keys)
	}
	if n := s.Shadow.Total - before.Shadow.Total; n != uint64(len(wrong)) || n == 0 {
		t.Errorf("%d wrong answers were recorded, want %d", n, len(wrong))
	}
	var recorded []string
	for _, m := range s.Mismatches {
		if m.Legacy.Status == m.Enhanced.Status && m.Difference == "status" || !isBroken(m.Key) {
			t.Errorf("recorded %+v", m)
		}
		if strings.HasPrefix(m.Key, "acme/known/") {
			recorded = append(recorded, m.Key)
		}
	}
	slices.Sort(recorded)
	slices.Sort(wrong)
	if !slices.Equal(recorded, wrong) {
		t.Errorf("recorded %v\nwant     %v", recorded, wrong)
	}
}

// ask makes one request that must be answered.
func (r *road) ask(t testing.TB, c *rpc.Client, req lockcluster.Request) lockcluster.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), answerIn)
	defer cancel()
	res, err := c.Do(ctx, lockcluster.RequestID{}, req)
	if err != nil {
		t.Fatalf("%T: %v", req, err)
	}
	return res
}

// refusesSwitch wants exit code 1 and a reason.
func (r *road) refusesSwitch(t *testing.T) {
	t.Helper()
	_, err := r.Run(t.Context(), "cluster", "switch", "enhanced")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(err.Error(), "divergences that nobody has explained") {
		t.Errorf("the switch answered %v", err)
	}
	if s := r.mustMigration(t); s.Mode != "shadow" || s.Active != "legacy" || s.GateClosed {
		t.Errorf("after the refused switch: mode %s, active %s, gate closed %v", s.Mode, s.Active, s.GateClosed)
	}
}

// Shadowing a system that works finds no difference, whatever clients do, and
// the switch is let through.
func TestShadowOfSoundSystem(t *testing.T) {
	onBoth(t, func(t *testing.T, kind string) {
		seed := uint64(testutil.Seed(t))
		r := startRoad(t, kind, "")
		f := startFleet(t, r, crashClients, seed)
		f.hold(t, 50)
		r.mode(t, "shadow")
		before := f.done()
		testutil.WaitFor(t, time.Minute, func() bool { return f.done() > before+1500 })
		f.close()
		f.report(t, false)
		s := r.settleShadow(t)
		s.mostCompared(t)
		for _, m := range s.Mismatches {
			t.Errorf("%+v", m)
		}
		r.audit(t, f.ledger)
		r.switchTo(t, "enhanced")
		r.audit(t, f.ledger)
		t.Logf("%s: %d operations compared, %d differences", kind, s.Shadow.Compared, s.Shadow.Total)
	})
}
