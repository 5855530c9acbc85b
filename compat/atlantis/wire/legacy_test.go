package wire

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/runatlantis/atlantis/server/core/boltdb"
	"github.com/runatlantis/atlantis/server/core/db"
	"github.com/runatlantis/atlantis/server/core/redis"
	"github.com/runatlantis/atlantis/server/events/command"
	"github.com/runatlantis/atlantis/server/events/models"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
)

const legacyNS = lockcluster.DefaultNamespace

// legacySide does to a legacy store through lockcluster's backend what an
// Atlantis does through its own.
type legacySide struct {
	t *testing.T
	b backends.Backend
}

func (l legacySide) do(req lockcluster.Request) lockcluster.Result {
	l.t.Helper()
	res, err := l.b.Do(l.t.Context(), backends.Fence{Term: 1, Epoch: 1}, time.Now(), req)
	if err != nil {
		l.t.Fatalf("%T: %v", req, err)
	}
	if res.Status == lockcluster.StatusInvalid {
		l.t.Fatalf("%T: %s", req, res.Text)
	}
	return res
}

func (l legacySide) tryLock(lock models.ProjectLock) bool {
	l.t.Helper()
	raw, err := json.Marshal(lock)
	if err != nil {
		l.t.Fatal(err)
	}
	req, err := compat.AcquireFromValue(legacyNS, raw)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.do(req).Status == lockcluster.StatusGranted
}

// list describes every lock, as stock's does.
func (l legacySide) list() string {
	l.t.Helper()
	view, err := l.b.View(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	if err := state.CheckImage(view); err != nil {
		l.t.Fatal(err)
	}
	var all []string
	state.ListLocks(view, legacyNS, state.LockFilter{}, func(l *lockcluster.Lock) bool {
		all = append(all, fmt.Sprintf("%s #%d %s\n", l.Key.Text(), l.Owner.Pull, l.AcquiredAt.UTC()))
		return true
	})
	slices.Sort(all)
	apply := state.GetCommandLock(view, legacyNS, "apply") != nil
	status := state.GetDocument(view, legacyNS, "github.com::acme/app::1") != nil
	return strings.Join(all, "") + fmt.Sprint(apply, status)
}

// stockList describes what Atlantis's own code sees.
func stockList(t *testing.T, stock db.Database) string {
	t.Helper()
	locks, err := stock.List()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, l := range locks {
		all = append(all, fmt.Sprintf("%s #%d %s\n", models.GenerateLockKey(l.Project, l.Workspace), l.Pull.Num, l.Time.UTC()))
		got, err := stock.GetLock(l.Project, l.Workspace)
		if err != nil || got == nil {
			t.Fatalf("stock lists %v and does not get it: %v", l.Project, err)
		}
	}
	slices.Sort(all)
	apply, err := stock.CheckCommandLock(command.Apply)
	if err != nil {
		t.Fatal(err)
	}
	status, err := stock.GetPullStatus(pullRequest("acme/app", 1, "c1"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "") + fmt.Sprint(apply != nil, status != nil)
}

// legacyStep is one random thing to do, by either side.
type legacyStep struct {
	op   int
	lock models.ProjectLock
}

func drawStep(rnd *rand.Rand) legacyStep {
	repo := []string{"acme/app", "acme/apple", "grp/sub/repo"}[rnd.IntN(3)]
	lock := projectLock(repo, []string{".", "a/b", "odd [*?] {x} ünï"}[rnd.IntN(3)], 1+rnd.IntN(3))
	lock.Project.ProjectName = []string{"", "vpc"}[rnd.IntN(2)]
	return legacyStep{op: rnd.IntN(10), lock: lock}
}

func (s legacyStep) ours(l legacySide) {
	l.t.Helper()
	key := models.GenerateLockKey(s.lock.Project, s.lock.Workspace)
	switch s.op {
	case 0, 1, 2, 3:
		l.tryLock(s.lock)
	case 4, 5:
		l.do(lockcluster.Release{Namespace: legacyNS, Text: key})
	case 6:
		l.do(lockcluster.ReleaseByPull{Namespace: legacyNS, Repo: s.lock.Project.RepoFullName, Pull: s.lock.Pull.Num})
	case 7:
		l.do(lockcluster.LockCommand{Namespace: legacyNS, Name: "apply", Value: compat.NewCommandLockValue(compat.CommandApply, s.lock.Time)})
	case 8:
		l.do(lockcluster.UnlockCommand{Namespace: legacyNS, Name: "apply"})
	default:
		raw, _ := json.Marshal(models.PullStatus{Pull: pullRequest("acme/app", 1, "c1")})
		l.do(lockcluster.PutDocument{Namespace: legacyNS, Key: "github.com::acme/app::1", Value: raw})
	}
}

// stock does the same by Atlantis's code, but for what that is known to do
// wrong: freeing a pull's locks in repositories whose names begin alike.
func (s legacyStep) stock(t *testing.T, stock db.Database) {
	t.Helper()
	var err error
	switch s.op {
	case 0, 1, 2, 3:
		_, _, err = stock.TryLock(s.lock)
	case 4, 5:
		_, err = stock.Unlock(s.lock.Project, s.lock.Workspace)
	case 6:
		_, err = stock.UnlockIfOwnedByPull(s.lock.Project, s.lock.Workspace, s.lock.Pull.Num)
	case 7:
		_, _ = stock.LockCommand(command.Apply, s.lock.Time) // an error when it is locked
	case 8:
		_ = stock.UnlockCommand(command.Apply) // an error when it is not
	default:
		err = stock.DeletePullStatus(pullRequest("acme/app", 1, "c1"))
	}
	if err != nil {
		t.Fatalf("stock, step %+v: %v", s.op, err)
	}
}

func legacyRandom(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LOCKCLUSTER_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("seed %d; repeat with LOCKCLUSTER_SEED=%d go test -run %s ./compat/atlantis/wire", seed, seed, t.Name())
	return rand.New(rand.NewPCG(seed, 2))
}

// A file that lockcluster's backend made, and writes in turns with Atlantis's
// own BoltDB code, shows both the same locks, command lock and pull status
// after each hand-over.
func TestLegacyBoltInTurns(t *testing.T) {
	rnd, dir := legacyRandom(t), t.TempDir()
	o := backends.Options{Backend: "boltdb", Path: filepath.Join(dir, "atlantis.db"), Create: true}
	for turn := range 40 {
		b, err := backends.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		l := legacySide{t, b}
		for range 10 {
			drawStep(rnd).ours(l)
		}
		seen := l.list()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		stock, err := boltdb.New(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := stockList(t, stock); got != seen {
			t.Fatalf("turn %d: Atlantis sees\n%s\nlockcluster left\n%s", turn, got, seen)
		}
		for range 10 {
			drawStep(rnd).stock(t, stock)
		}
		left := stockList(t, stock)
		if err := stock.Close(); err != nil {
			t.Fatal(err)
		}
		if b, err = backends.Open(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if got := (legacySide{t, b}).list(); got != left {
			t.Fatalf("turn %d: lockcluster sees\n%s\nAtlantis left\n%s", turn, got, left)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Every lock that lockcluster has stored, those without a value of Atlantis
// too, is listed by a stock Atlantis and unlocked by it, one by one and by
// pull; and a stock Atlantis that is kept out says so.
func TestLegacyBoltStockUnlocks(t *testing.T) {
	dir := t.TempDir()
	b, err := backends.Open(t.Context(), backends.Options{Backend: "boltdb", Path: filepath.Join(dir, "atlantis.db"), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	l := legacySide{t, b}
	for i := range 30 {
		l.tryLock(projectLock("acme/app", fmt.Sprintf("d%d", i), 1+i%3))
	}
	l.do(lockcluster.Acquire{
		Key:   lockcluster.Key{Namespace: legacyNS, Repo: "acme/cli", Path: ".", Workspace: "default"},
		Owner: lockcluster.Owner{ID: "ci"}, User: "bob",
	})
	l.do(lockcluster.PutDocument{Namespace: legacyNS, Key: "not a pull status", Value: []byte("x")})
	if _, err := boltdb.New(dir); err == nil || !strings.Contains(err.Error(), "another Atlantis instance") {
		t.Errorf("a stock Atlantis opened the file beside us: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	stock, err := boltdb.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stock.Close()
	if got, err := stock.UnlockByPull("acme/app", 1); err != nil || len(got) != 10 {
		t.Errorf("by pull: %d locks, %v", len(got), err)
	}
	locks, err := stock.List()
	if err != nil || len(locks) != 21 {
		t.Fatalf("%d locks, %v", len(locks), err)
	}
	for _, lock := range locks {
		if got, err := stock.Unlock(lock.Project, lock.Workspace); err != nil || got == nil {
			t.Errorf("unlock %+v: %v", lock.Project, err)
		}
	}
	if locks, err = stock.List(); err != nil || len(locks) != 0 {
		t.Errorf("%d locks are left, %v", len(locks), err)
	}
}

// A Redis that lockcluster's backend and a stock Atlantis use at the same time
// shows both the same after every step of either.
func TestLegacyRedisTogether(t *testing.T) {
	tg := startRedis(t)
	stock, err := redis.NewWithConfig(tg.config(t, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer stock.Close()
	b, err := backends.Open(t.Context(), backends.Options{Backend: "redis", URL: "redis://" + tg.doors[0]})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	rnd, l := legacyRandom(t), legacySide{t, b}
	for i := range 600 {
		s := drawStep(rnd)
		if rnd.IntN(2) == 0 {
			s.ours(l)
		} else {
			s.stock(t, stock)
		}
		if a, b := l.list(), stockList(t, stock); a != b {
			t.Fatalf("step %d: lockcluster sees\n%s\nAtlantis sees\n%s", i, a, b)
		}
		held, err := stock.GetLock(s.lock.Project, s.lock.Workspace)
		if err != nil {
			t.Fatal(err)
		}
		var ours *lockcluster.Lock
		err = b.Read(t.Context(), func(r state.Reader) {
			ours = state.FindLock(r, legacyNS, models.GenerateLockKey(s.lock.Project, s.lock.Workspace))
		})
		if err != nil || (held == nil) != (ours == nil) || held != nil && held.Pull.Num != ours.Owner.Pull {
			t.Fatalf("step %d: Atlantis holds %+v, lockcluster read %+v, %v", i, held, ours, err)
		}
	}
}
