package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster/compat"
)

// unlockIfOwnedByPull is the script of Atlantis v0.47.1, byte for byte.
const unlockIfOwnedByPull = "" +
	"local value = redis.call(\"GET\", KEYS[1])\n" +
	"if not value then\n" +
	"  return nil\n" +
	"end\n" +
	"\n" +
	"local ok, lock = pcall(cjson.decode, value)\n" +
	"if not ok then\n" +
	"  return redis.error_reply(\"failed to deserialize current lock\")\n" +
	"end\n" +
	"\n" +
	"if not lock[\"Pull\"] or tonumber(lock[\"Pull\"][\"Num\"]) ~= tonumber(ARGV[1]) then\n" +
	"  return nil\n" +
	"end\n" +
	"\n" +
	"redis.call(\"DEL\", KEYS[1])\n" +
	"return value\n"

const (
	applyLock   = "global/apply/lock"
	sharedRepo  = "acme/shared-infra"
	contendedBy = 24 // keys that all clients of a fleet compete for
	keptMax     = 4  // locks of its own that a client holds
	answerIn    = 20 * time.Second
)

// lockRecord returns key and value of a lock as Atlantis stores it.
func lockRecord(repo, path string, pull int, teams ...string) (key, value string) {
	b, err := json.Marshal(compat.ProjectLock{
		Project: compat.Project{RepoFullName: repo, Path: path},
		Pull: compat.PullRequest{
			Num: pull, HeadBranch: "change", BaseBranch: "main", Author: "jane",
			BaseRepo: compat.Repo{
				FullName: repo, Owner: "acme", Name: strings.TrimPrefix(repo, "acme/"),
				VCSHost: compat.VCSHost{Hostname: "github.com", Type: compat.VCSGithub},
			},
		},
		User: compat.User{Username: "jane", Teams: teams}, Workspace: "default", Time: time.Now().Round(0),
	})
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("pr/%s/%s/default/", repo, path), string(b)
}

// fleet is the processes of an Atlantis, some on each node's Redis door, and
// the requests that they have under way. Each request is one of Atlantis's
// database calls with exactly its commands.
type fleet struct {
	*ledger
	doors   []*redis.Client
	pausing sync.RWMutex // held for reading during a call, for writing while paused
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

// startFleet starts n clients. Their choices follow from seed.
func startFleet(t *testing.T, r *road, n int, seed uint64) *fleet {
	t.Helper()
	f := &fleet{ledger: newLedger()}
	for _, node := range r.All {
		f.doors = append(f.doors, redis.NewClient(&redis.Options{Addr: node.RESP}))
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	for i := range n {
		c := f.client(i, seed)
		f.wg.Go(func() { c.run(ctx) })
	}
	t.Cleanup(f.close)
	return f
}

// client returns a client that does nothing by itself.
func (f *fleet) client(i int, seed uint64) *atlantis {
	return &atlantis{
		f: f, door: f.doors[i%len(f.doors)], pull: 1000 + i, repo: fmt.Sprintf("acme/own-%02d", i), rnd: rand.New(rand.NewPCG(seed, uint64(i))),
	}
}

func (f *fleet) close() {
	f.stop()
	f.wg.Wait()
	for _, d := range f.doors {
		_ = d.Close()
	}
}

// paused calls check while no request is under way.
func (f *fleet) paused(check func()) {
	f.pausing.Lock()
	defer f.pausing.Unlock()
	check()
}

// done returns how many requests were answered.
func (f *fleet) done() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

// report logs what was done, and fails the test if a promise was broken.
func (f *fleet) report(t *testing.T, mayFail bool) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	t.Logf("%d requests: %d grants, %d refused for another holder, %d failed; %d violations",
		f.requests, f.grants, f.refusals, f.failures, len(f.violations))
	for _, v := range f.violations {
		t.Error(v)
	}
	if !mayFail && f.failures > 0 {
		t.Errorf("%d requests failed, among them: %s", f.failures, strings.Join(f.failed, "; "))
	}
}

// atlantis is one user's worth of requests; it makes one at a time.
type atlantis struct {
	f    *fleet
	door *redis.Client
	pull int    // of its requests; no other client's
	repo string // of its own locks
	rnd  *rand.Rand
	kept []string // keys of its own locks
	made int

	applied string // what it stored last as the apply lock
}

func (a *atlantis) run(ctx context.Context) {
	for ctx.Err() == nil {
		a.f.pausing.RLock()
		if ctx.Err() == nil {
			a.step()
		}
		a.f.pausing.RUnlock()
		select { // users think
		case <-ctx.Done():
		case <-time.After(time.Duration(5+a.rnd.IntN(40)) * time.Millisecond):
		}
	}
}

func (a *atlantis) step() {
	ctx, cancel := context.WithTimeout(context.Background(), answerIn)
	defer cancel()
	switch a.rnd.IntN(20) {
	case 0, 1, 2:
		a.keep(ctx)
	case 3:
		a.closePull(ctx)
	case 4, 5:
		a.status(ctx)
	case 6:
		a.command(ctx)
	default:
		a.fight(ctx)
	}
}

func (a *atlantis) me() string { return fmt.Sprintf("#%d", a.pull) }

// ended sorts the outcome of a command; it returns whether it was answered.
func (a *atlantis) ended(what string, err error) bool {
	a.f.request()
	switch {
	case err == nil || errors.Is(err, redis.Nil):
		return true
	case strings.HasPrefix(err.Error(), "LOCKED "):
		a.f.refused()
		return true
	}
	a.f.fail(what, err)
	return false
}

// get reads a key, and has the ledger judge the answer.
func (a *atlantis) get(ctx context.Context, key string) (value string, there, ok bool) {
	before := a.f.before(key)
	value, err := a.door.Get(ctx, key).Result()
	if !a.ended("get "+key, err) {
		return "", false, false
	}
	if there = err == nil; !strings.Contains(key, "::") {
		holder := ""
		if there {
			if holder = value; key != applyLock {
				holder = holderOf(value)
			}
		}
		a.f.saw(key, before, holder)
	}
	return value, there, true
}

// take is TryLock and LockCommand: GET, and SET if nobody has it.
func (a *atlantis) take(ctx context.Context, key, value, holder string) bool {
	now, there, ok := a.get(ctx, key)
	if there && a.mine(key, now) && a.f.before(key).seq == 0 {
		// From a request whose answer was lost: its user clears it away.
		a.unlock(ctx, key, holder)
		return false
	}
	if !ok || there {
		return false
	}
	if key == applyLock {
		a.applied = value
	}
	err := a.door.Set(ctx, key, value, 0).Err()
	if !a.ended("set "+key, err) {
		a.f.unanswered(key, holder)
		return false
	}
	if err != nil {
		return false
	}
	a.f.granted(key, holder)
	return true
}

// mine reports whether a stored lock is this client's.
func (a *atlantis) mine(key, value string) bool {
	if key == applyLock {
		return value == a.applied
	}
	return holderOf(value) == a.me()
}

// unlock is Unlock, UnlockCommand and the end of UnlockByPull: GET, then DEL.
func (a *atlantis) unlock(ctx context.Context, key, holder string) {
	_, there, ok := a.get(ctx, key)
	a.f.releasing(key, holder)
	if !ok || !there {
		if !ok {
			a.f.unanswered(key, holder)
		}
		return
	}
	if err := a.door.Del(ctx, key).Err(); !a.ended("del "+key, err) {
		a.f.unanswered(key, holder)
	}
}

// unlockIfOwned is UnlockIfOwnedByPull.
func (a *atlantis) unlockIfOwned(ctx context.Context, key string) {
	a.f.releasing(key, a.me())
	err := a.door.Eval(ctx, unlockIfOwnedByPull, []string{key}, a.pull).Err()
	if !a.ended("eval "+key, err) {
		a.f.unanswered(key, a.me())
	}
}

// fight competes for a lock and releases it at once, if it got it.
func (a *atlantis) fight(ctx context.Context) {
	key, value := lockRecord(sharedRepo, fmt.Sprintf("d%d", a.rnd.IntN(contendedBy)), a.pull)
	if !a.take(ctx, key, value, a.me()) {
		return
	}
	if a.rnd.IntN(3) == 0 {
		a.get(ctx, key)
	}
	if a.rnd.IntN(2) == 0 {
		a.unlock(ctx, key, a.me())
	} else {
		a.unlockIfOwned(ctx, key)
	}
}

// keep takes a lock of its own and holds it for a while.
func (a *atlantis) keep(ctx context.Context) {
	if len(a.kept) == keptMax {
		a.unlockIfOwned(ctx, a.kept[0])
		a.kept = a.kept[1:]
	}
	a.made++
	key, value := lockRecord(a.repo, fmt.Sprintf("d%d", a.made), a.pull)
	if a.take(ctx, key, value, a.me()) {
		a.kept = append(a.kept, key)
	}
}

// closePull is UnlockByPull: SCAN, GET of each lock, and for those of the pull
// request GET again and DEL. Every lock of its own that it holds is there.
func (a *atlantis) closePull(ctx context.Context) {
	keys, ok := a.scan(ctx, "pr/"+a.repo+"*")
	if !ok {
		return
	}
	for _, key := range a.kept {
		if !slices.Contains(keys, key) && a.f.before(key).seq != 0 {
			a.f.mu.Lock()
			a.f.violate("%s is held by %s and was not listed", key, a.me())
			a.f.mu.Unlock()
		}
	}
	for _, key := range keys {
		if value, there, ok := a.get(ctx, key); ok && there && holderOf(value) == a.me() {
			a.unlock(ctx, key, a.me())
		}
	}
	a.kept = nil
}

func (a *atlantis) scan(ctx context.Context, match string) (keys []string, ok bool) {
	for cursor := uint64(0); ; {
		page, next, err := a.door.Scan(ctx, cursor, match, 0).Result()
		if !a.ended("scan "+match, err) {
			return nil, false
		}
		if keys = append(keys, page...); next == 0 {
			return keys, true
		}
		cursor = next
	}
}

// status is UpdatePullWithResults: read, then write the whole.
func (a *atlantis) status(ctx context.Context) {
	a.made++
	key := fmt.Sprintf("github.com::%s::%d", a.repo, a.pull)
	value := fmt.Sprintf(`{"Projects":[{"Workspace":"default","RepoRelDir":"d%d","ProjectName":"","Status":4}],`+
		`"Pull":{"Num":%d,"BaseRepo":{"FullName":%q,"VCSHost":{"Hostname":"github.com","Type":0}}}}`, a.made, a.pull, a.repo)
	if _, _, ok := a.get(ctx, key); !ok {
		return
	}
	if err := a.door.Set(ctx, key, value, 0).Err(); !a.ended("set "+key, err) {
		a.f.unanswered(key, value)
		return
	}
	a.f.note(key, value)
}

// command is LockCommand and UnlockCommand of the apply lock, which has no
// owner but the second at which it was taken: every one here has its own.
func (a *atlantis) command(ctx context.Context) {
	a.made++
	value := fmt.Sprintf(`{"LockMetadata":{"UnixTime":%d},"CommandName":0}`, 1_700_000_000+a.pull*100_000+a.made)
	if a.take(ctx, applyLock, value, value) {
		a.unlock(ctx, applyLock, value)
	}
}
