package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
)

// flaky answers some requests with an error, before or after they are applied.
type flaky struct {
	*cluster
	errs []error // one per call; nil: no error
	late bool    // the request is applied all the same
	ids  []lockcluster.RequestID
}

func (f *flaky) Do(ctx context.Context, id lockcluster.RequestID, req lockcluster.Request) (lockcluster.Result, error) {
	f.ids = append(f.ids, id)
	if len(f.errs) > 0 {
		err := f.errs[0]
		f.errs = f.errs[1:]
		if err != nil {
			if f.late {
				if _, doErr := f.cluster.Do(ctx, id, req); doErr != nil {
					return lockcluster.Result{}, doErr
				}
			}
			return lockcluster.Result{}, err
		}
	}
	return f.cluster.Do(ctx, id, req)
}

func manyLocks(n, bodySize int) []SourceRecord {
	var out []SourceRecord
	for i := range n {
		path := fmt.Sprintf("p%04d", i)
		out = append(out, SourceRecord{
			Bucket: BucketLocks, Key: "acme/app/" + path + "/default/",
			Value: lockValue("acme/app", path, i+1, noon, strings.Repeat("b", bodySize)),
		})
	}
	return out
}

// A batch whose outcome is not known is sent again under the same id, and its
// records are counted once, as new.
func TestImportRetriesUnderOneID(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := &flaky{cluster: newCluster(), late: late, errs: []error{
				lockcluster.ErrOutcomeUnknown, &lockcluster.NotLeaderError{}, fmt.Errorf("do: %w", lockcluster.ErrOverloaded),
			}}
			r, err := Importer{Cluster: f}.Import(t.Context(), mustPlan(t, PlanOptions{}, manyLocks(10, 0)...))
			if err != nil || r.Imported != 10 || r.Unchanged != 0 {
				t.Errorf("late=%v: %+v, %v", late, r, err)
			}
			if len(f.ids) != 4 || f.ids[0].IsZero() || slices.ContainsFunc(f.ids, func(id lockcluster.RequestID) bool { return id != f.ids[0] }) {
				t.Errorf("ids %+v", f.ids)
			}
		})
	}
}

// Without a leader an import ends after a bounded time, and importing again
// goes on where it stopped.
func TestImportResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := mustPlan(t, PlanOptions{}, manyLocks(3*batchRecordsMax, 0)...)
		f := &flaky{cluster: newCluster(), errs: append([]error{nil}, slices.Repeat([]error{lockcluster.ErrNoLeader}, 1000)...)}
		begin := time.Now()
		r, err := Importer{Cluster: f}.Import(t.Context(), p)
		if !errors.Is(err, lockcluster.ErrNoLeader) || r.Imported != batchRecordsMax {
			t.Errorf("%d imported, %v", r.Imported, err)
		}
		if d := time.Since(begin); d > RetryFor+retryMax {
			t.Errorf("gave up after %v", d)
		}
		f.errs = nil
		r, err = Importer{Cluster: f}.Import(t.Context(), p)
		if err != nil || r.Unchanged != batchRecordsMax || r.Imported != 2*batchRecordsMax || r.Digest != p.DryRun().Digest {
			t.Errorf("then: %d new, %d unchanged, %v", r.Imported, r.Unchanged, err)
		}
	})
}

// An error that no retry helps ends the import at once.
func TestImportEndsOnHardError(t *testing.T) {
	broken := errors.New("broken")
	f := &flaky{cluster: newCluster(), errs: []error{broken}}
	r, err := Importer{Cluster: f}.Import(t.Context(), mustPlan(t, PlanOptions{}, manyLocks(1, 0)...))
	if !errors.Is(err, broken) || r == nil || r.Imported != 0 || len(f.ids) != 1 {
		t.Errorf("%+v, %v after %d calls", r, err, len(f.ids))
	}
}

// What the cluster holds for another owner stays, and is reported as a
// conflict that names both; what it holds for the same owner is unchanged.
func TestImportNeverOverwrites(t *testing.T) {
	c := newCluster()
	mustDo := func(req lockcluster.Request) {
		t.Helper()
		if res, err := c.Do(t.Context(), lockcluster.RequestID{}, req); err != nil || res.Status == lockcluster.StatusInvalid {
			t.Fatal(res, err)
		}
	}
	key := func(path string) lockcluster.Key {
		return lockcluster.Key{Namespace: lockcluster.DefaultNamespace, Repo: "acme/app", Path: path, Workspace: "default"}
	}
	mustDo(lockcluster.Acquire{Key: key("p0000"), Owner: lockcluster.Owner{Host: "github.com", Repo: "acme/app", Pull: 99}, User: "bob"})
	mustDo(lockcluster.Acquire{Key: key("p0001"), Owner: lockcluster.Owner{Host: "github.com", Repo: "acme/app", Pull: 2}})
	mustDo(lockcluster.Acquire{Key: key("p0002"), Owner: lockcluster.Owner{ID: "nightly"}})
	mustDo(lockcluster.PutDocument{Namespace: lockcluster.DefaultNamespace, Key: "h::r::1", Value: []byte("CANARY")})
	mustDo(lockcluster.LockCommand{Namespace: lockcluster.DefaultNamespace, Name: "apply", Value: compat.NewCommandLockValue(compat.CommandApply, noon)})
	hashes, _ := c.mem.Hashes()

	foreign := SourceRecord{Bucket: BucketLocks, Key: "acme/app/z/default/", Value: []byte(strings.ReplaceAll(string(lockValue("acme/app", "z", 5, noon, "")), "github.com", "other.example"))}
	records := append(manyLocks(3, 0), foreign,
		SourceRecord{Bucket: BucketPulls, Key: "h::r::1", Value: []byte(`{"Pull":{"Num":1,"BaseRepo":{"FullName":"r","VCSHost":{"Hostname":"h"}}}}`)},
		SourceRecord{Bucket: BucketCommandLocks, Key: "apply/lock", Value: compat.NewCommandLockValue(compat.CommandApply, noon.Add(time.Hour))},
	)
	r, err := Importer{Cluster: c}.Import(t.Context(), mustPlan(t, PlanOptions{OnConflict: ConflictKeepNewer}, records...))
	if err != nil {
		t.Fatal(err)
	}
	if h, _ := c.mem.Hashes(); h.Data != hashes.Data {
		t.Error("the import changed the cluster")
	}
	if r.Imported != 0 || r.Unchanged != 1 || r.Pulls != 0 || r.CommandLocks != 1 || r.Complete() || len(r.Conflicts) != 4 {
		t.Errorf("%+v", r)
	}
	var told []string
	for _, q := range r.Conflicts {
		s := q.Identity
		for _, cand := range q.Candidates {
			s += fmt.Sprintf(" %s:%d%s", cand.In, cand.Pull, cand.Owner)
		}
		told = append(told, s)
		if q.Reason == "" || strings.Contains(q.Reason, "CANARY") {
			t.Errorf("reason %q", q.Reason)
		}
	}
	sameStrings(t, "conflicts", told, []string{
		"acme/app/p0000/default/ source:1 cluster:99", "acme/app/p0002/default/ source:3 cluster:0nightly",
		"acme/app/z/default/ source:5", "h::r::1 source:0 cluster:0",
	})
}

// Batches keep to their limits, a record larger than a batch goes alone, and
// progress counts every record.
func TestBatches(t *testing.T) {
	records := manyLocks(450, 0)
	records = append(records, SourceRecord{Bucket: BucketLocks, Key: "acme/app/a/default/", Value: lockValue("acme/app", "a", 9, noon, strings.Repeat("b", 2*batchSizeMax))})
	records = append(records, manyLocks(40, 50<<10)[20:]...) // same identities as some before, larger
	p := mustPlan(t, PlanOptions{}, records...)
	c := &recorder{cluster: newCluster()}
	var steps []int
	r, err := Importer{Cluster: c, Progress: func(done, total int) {
		if total != len(p.Records) {
			t.Errorf("total %d", total)
		}
		steps = append(steps, done)
	}}.Import(t.Context(), p)
	if err != nil || r.Imported != 451 {
		t.Fatalf("%d imported, %v", r.Imported, err)
	}
	if steps[0] != 0 || steps[len(steps)-1] != len(p.Records) || !slices.IsSorted(steps) {
		t.Errorf("progress %v", steps)
	}
	for _, q := range c.batches {
		size := 0
		for _, l := range q.Locks {
			size += len(l.Value)
		}
		if len(q.Locks) > batchRecordsMax || size > batchSizeMax && len(q.Locks) > 1 {
			t.Errorf("a batch of %d records and %d bytes", len(q.Locks), size)
		}
	}
	if len(c.batches) < 4 {
		t.Errorf("%d batches", len(c.batches))
	}
}

type recorder struct {
	*cluster
	batches []lockcluster.Import
}

func (r *recorder) Do(ctx context.Context, id lockcluster.RequestID, req lockcluster.Request) (lockcluster.Result, error) {
	if q, ok := req.(lockcluster.Import); ok {
		r.batches = append(r.batches, q)
	}
	return r.cluster.Do(ctx, id, req)
}
