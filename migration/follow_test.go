package migration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	bolt "go.etcd.io/bbolt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// replica is what a follower applies to: records by identity.
type replica struct {
	mu      sync.Mutex
	records map[recordID]PlanRecord
	fail    int // so many calls fail first, half done
	calls   int
	check   func(*Plan)
}

func (r *replica) apply(_ context.Context, plan *Plan, d Diff) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if r.records == nil {
		r.records = map[recordID]PlanRecord{}
	}
	for _, rec := range d.Removed {
		delete(r.records, idOf(rec))
	}
	if r.fail > 0 {
		r.fail--
		return errors.New("the target is away")
	}
	for _, rec := range append(d.Added, d.Changed...) {
		r.records[idOf(rec)] = rec
	}
	if r.check != nil {
		r.check(plan)
	}
	if len(r.records) != len(plan.Records) {
		return fmt.Errorf("%d records by the differences, %d in the plan", len(r.records), len(plan.Records))
	}
	return nil
}

// keys are the identities that the replica has.
func (r *replica) keys() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for id := range r.records {
		out = append(out, id.identity)
	}
	return out
}

// startFollower runs f until the test ends or stop is called, which returns
// its statistics.
func startFollower(t *testing.T, f *Follower) (stop func() FollowStats) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var stats FollowStats
	done := make(chan struct{})
	go func() {
		defer close(done)
		var err error
		if stats, err = f.Run(ctx); err != nil {
			t.Errorf("follow: %v", err)
		}
	}()
	stop = sync.OnceValue(func() FollowStats {
		cancel()
		<-done
		return stats
	})
	t.Cleanup(func() { stop() })
	return stop
}

// A follower of a database that is written at full speed applies nothing but
// committed states, by differences that add up to them, ends equal to the
// source, and tells its lag.
func TestFollowWhileWritten(t *testing.T) {
	path := copyFile(t, mustFixture(t, "atlantis-0.47.1").file)
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{db: db, rng: testutil.Rand(t)}
	if err := w.commit(); err != nil {
		t.Fatal(err)
	}
	states := map[int]bool{}
	r := &replica{check: func(p *Plan) {
		pulls := map[int]bool{}
		for _, rec := range p.Records {
			if strings.HasPrefix(rec.Identity, "live/pair/") {
				pulls[rec.Request.(lockcluster.Acquire).Owner.Pull] = true
			}
		}
		if len(pulls) != 1 {
			t.Errorf("a state that never was: the pair is of pull requests %v", pulls)
		}
		for p := range pulls {
			states[p] = true
		}
	}}
	src := FollowBolt(path, t.TempDir())
	f := &Follower{Source: src, Apply: r.apply}
	stop := startFollower(t, f)
	end, wrote := make(chan struct{}), make(chan error, 1)
	go func() { wrote <- w.run(end) }()
	time.Sleep(time.Second) // the claim is about what happens all this time
	close(end)
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	_, plan, _, err := planBolt(t.Context(), BoltImport{File: path, TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, rec := range plan.Records {
		want = append(want, rec.Identity)
	}
	testutil.WaitFor(t, 20*time.Second, func() bool {
		s := f.Stats()
		return s.Behind == 0 && len(r.keys()) == len(want)
	})
	stats := stop()
	sameStrings(t, "records at the end", r.keys(), want)
	if stats.Failures > 0 || stats.Applied != r.calls || len(states) < 2 || stats.LagP99 == 0 || stats.LagP50 > stats.LagP99 || stats.LagP99 > stats.LagMax {
		t.Errorf("%+v; %d states", stats, len(states))
	}
	t.Logf("%d commits; %+v", w.commits, stats)
	if err := errors.Join(src.Close(), db.Close()); err != nil {
		t.Error(err)
	}
}

// What cannot be applied is applied later, with what was true meanwhile; a
// file that was replaced is followed on; a source that is away for a while
// ends nothing.
func TestFollowGoesOn(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "atlantis.db")
	write := func(n int) {
		t.Helper()
		if _, err := WriteBolt(t.Context(), manyLocks(n, 10), ExportOptions{File: path, Overwrite: true}); err != nil {
			t.Fatal(err)
		}
	}
	write(3)
	r := &replica{fail: 2}
	src := FollowBolt(path, t.TempDir())
	var told []string // in order
	var toldMu sync.Mutex
	tell := func(text string) {
		toldMu.Lock()
		defer toldMu.Unlock()
		told = append(told, text)
	}
	f := &Follower{
		Source: src, Apply: r.apply,
		Started: func(s FollowStats) { tell(fmt.Sprintf("started with %d", s.Records)) },
		Failed:  func(err error) { tell(fmt.Sprint(err)) },
	}
	stop := startFollower(t, f)
	expect := func(n int) {
		t.Helper()
		testutil.WaitFor(t, 20*time.Second, func() error {
			if got := len(r.keys()); got != n {
				return fmt.Errorf("%d records, want %d: %+v", got, n, f.Stats())
			}
			return nil
		})
	}
	expect(3)
	write(5)
	expect(5)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	testutil.WaitFor(t, 20*time.Second, func() bool { return strings.Contains(f.Stats().LastError, "no such file") })
	write(2)
	expect(2)
	stats := stop()
	if stats.Failures < 3 || stats.Removed != 3 || stats.Added != 5 || stats.LastError != "" {
		t.Errorf("%+v", stats)
	}
	if len(told) < 5 || !strings.Contains(told[0], "target is away") || told[1] != "<nil>" || told[2] != "started with 3" ||
		!strings.Contains(told[3], "no such file") || told[len(told)-1] != "<nil>" {
		t.Errorf("told %q", told)
	}
	if b, err := json.Marshal(stats); err != nil || strings.Contains(string(b), "CANARY") {
		t.Errorf("%s, %v", b, err)
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
	if _, err := (&Follower{Source: FollowBolt(path+".none", ""), Apply: r.apply}).Run(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that was never there: %v", err)
	}
}

// A target that never took anything is no reason to end when the source is away
// for a while, too.
func TestFollowOutlastsBothSides(t *testing.T) {
	path := filepath.Join(t.TempDir(), "atlantis.db")
	if _, err := WriteBolt(t.Context(), manyLocks(3, 10), ExportOptions{File: path}); err != nil {
		t.Fatal(err)
	}
	r := &replica{fail: 1 << 30}
	src := FollowBolt(path, t.TempDir())
	defer src.Close()
	f := &Follower{Source: src, Apply: r.apply}
	startFollower(t, f)
	testutil.WaitFor(t, 20*time.Second, func() bool { return strings.Contains(f.Stats().LastError, "target is away") })
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	called := func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.calls
	}
	at := called()
	time.Sleep(300 * time.Millisecond) // rounds fail at the reading meanwhile
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	testutil.WaitFor(t, 20*time.Second, func() bool { return called() > at+1 })
	r.mu.Lock()
	r.fail = 0
	r.mu.Unlock()
	testutil.WaitFor(t, 20*time.Second, func() bool { return len(r.keys()) == 3 })
}

// A Redis is followed by looking at it again and again.
func TestFollowRedis(t *testing.T) {
	port := startRedis(t)
	c := redis.NewClient(&redis.Options{Addr: redisAddr(port)})
	defer c.Close()
	set := func(path string, pull int) {
		t.Helper()
		if err := c.Set(t.Context(), "pr/acme/app/"+path+"/default/", lockValue("acme/app", path, pull, noon, ""), 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("a", 1)
	set("b", 2)
	u, err := ParseRedisURL("redis://" + redisAddr(port))
	if err != nil {
		t.Fatal(err)
	}
	src := FollowRedis(u)
	defer src.Close()
	r := &replica{}
	f := &Follower{Source: src, Apply: r.apply, Interval: 20 * time.Millisecond}
	stop := startFollower(t, f)
	testutil.WaitFor(t, 20*time.Second, func() bool { return len(r.keys()) == 2 })
	set("b", 3)
	set("c", 4)
	if err := c.Del(t.Context(), "pr/acme/app/a/default/").Err(); err != nil {
		t.Fatal(err)
	}
	testutil.WaitFor(t, 20*time.Second, func() bool { s := f.Stats(); return s.Behind == 0 && s.Changed == 1 && s.Removed == 1 && s.Added == 3 })
	sameStrings(t, "keys", r.keys(), []string{"acme/app/b/default/", "acme/app/c/default/"})
	stop()
}

// The difference of two plans names each record that is new, has another
// value, or is gone, and nothing else.
func TestDiffPlans(t *testing.T) {
	rec := func(path string, pull int) SourceRecord {
		return SourceRecord{Bucket: BucketLocks, Key: "acme/app/" + path + "/default/", Value: lockValue("acme/app", path, pull, noon, "")}
	}
	before := mustPlan(t, PlanOptions{}, rec("same", 1), rec("other", 2), rec("gone", 3))
	after := mustPlan(t, PlanOptions{}, rec("same", 1), rec("other", 9), rec("new", 4))
	names := func(records []PlanRecord) string {
		var out []string
		for _, r := range records {
			out = append(out, r.Identity)
		}
		return strings.Join(out, " ")
	}
	d := DiffPlans(before, after)
	if names(d.Added) != "acme/app/new/default/" || names(d.Changed) != "acme/app/other/default/" || names(d.Removed) != "acme/app/gone/default/" || d.Empty() {
		t.Errorf("added %s, changed %s, removed %s", names(d.Added), names(d.Changed), names(d.Removed))
	}
	if d := DiffPlans(after, after); !d.Empty() {
		t.Errorf("of a plan and itself: %+v", d)
	}
	if d := DiffPlans(nil, after); len(d.Added) != 3 || len(d.Changed)+len(d.Removed) > 0 {
		t.Errorf("of nothing: %+v", d)
	}
}

// A plan made with the memory of earlier ones is the plan made without, whatever
// changed in between, and the memory holds nothing that is gone.
func TestPlanMemo(t *testing.T) {
	rng := testutil.Rand(t)
	src := mustRead(t, mustFixture(t, "atlantis-eras").file)
	memo := newPlanMemo()
	for range 50 {
		now := &Source{}
		for _, r := range src.Records {
			switch rng.IntN(6) {
			case 0:
				continue
			case 1:
				r.Value = src.Records[rng.IntN(len(src.Records))].Value
			}
			now.Records = append(now.Records, r)
		}
		want, err := BuildPlan(now, PlanOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := buildPlan(now, PlanOptions{}, memo)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("with memory %+v, %v; without %+v", got, err, want)
		}
		if len(memo.now) > 0 || len(memo.before) > len(now.Records) {
			t.Fatalf("%d and %d entries for %d records", len(memo.now), len(memo.before), len(now.Records))
		}
	}
}

// Quantiles of lags are right within a class, and bounded by the largest.
func TestLagCounter(t *testing.T) {
	var l lagCounter
	if l.quantile(0.99) != 0 {
		t.Error("a quantile of nothing")
	}
	for i := range 1000 {
		l.add(time.Duration(i+1) * time.Millisecond)
	}
	for q, want := range map[float64]float64{0.5: 500, 0.99: 990, 1: 1000} {
		if got := l.quantile(q); got < want || got > want*lagFactor {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	l.add(1000 * time.Hour)
	if got := l.quantile(1); got < 1000 || got > milliseconds(1000*time.Hour) {
		t.Errorf("the largest is %v", got)
	}
}
