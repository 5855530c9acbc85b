package migration

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
)

// boltOf writes records into an atlantis.db.
func boltOf(t *testing.T, records ...SourceRecord) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "atlantis.db")
	if _, err := WriteBolt(t.Context(), records, ExportOptions{File: file}); err != nil {
		t.Fatal(err)
	}
	return file
}

// refuses checks that another pull request cannot take a lock.
func refuses(t *testing.T, c *cluster, repo, path string) {
	t.Helper()
	a, err := compat.AcquireFromValue("default", lockValue(repo, path, 424242, noon, ""))
	if err != nil {
		t.Fatal(err)
	}
	if res, err := c.Do(t.Context(), lockcluster.RequestID{}, a); err != nil || res.Status != lockcluster.StatusHeld {
		t.Errorf("%s of %s: another pull request got %v, %v", path, repo, res.Status, err)
	}
}

// An old key with a nested directory, and one of a sub-group's repository,
// become held locks under the identity of their values.
func TestV7OldKeysOfAnyDepth(t *testing.T) {
	c := newCluster()
	r := mustImport(t, c, boltOf(t,
		SourceRecord{Bucket: BucketLocks, Key: "o/r/a/b/default", Value: lockValue("o/r", "a/b", 1, noon, "")},
		SourceRecord{Bucket: BucketLocks, Key: "grp/sub/repo/./default", Value: lockValue("grp/sub/repo", ".", 2, noon, "")},
	))
	var got []string
	for _, l := range c.locks() {
		got = append(got, l.Key.Repo+" "+l.Key.Path)
	}
	sameStrings(t, "locks", got, []string{"o/r a/b", "grp/sub/repo ."})
	if r.Imported != 2 || !r.Complete() {
		t.Errorf("%+v", r)
	}
	refuses(t, c, "o/r", "a/b")
	refuses(t, c, "grp/sub/repo", ".")
}

// One broken value of a hundred is quarantined and told; the other 99 are held.
func TestV8OneBadValue(t *testing.T) {
	records := manyLocks(100, 10)
	records[41].Value = []byte("{")
	c := newCluster()
	r := mustImport(t, c, boltOf(t, records...))
	if r.Imported != 99 || len(r.Quarantined) != 1 || r.Quarantined[0].Key != records[41].Key || r.Complete() {
		t.Errorf("%+v", r)
	}
	for i := range records {
		if i != 41 {
			refuses(t, c, "acme/app", fmt.Sprintf("p%04d", i))
		}
	}
}

// An old and a new key of one project for two pull requests is a conflict that
// names both; neither is chosen in silence.
func TestV9OldAndNewKeyDisagree(t *testing.T) {
	file := boltOf(t, lockRecord("acme/app/x/default", 5, noon), lockRecord("acme/app/x/default/", 6, noon.AddDate(0, 0, 1)))
	c := newCluster()
	r := mustImport(t, c, file)
	if r.Imported != 0 || len(c.locks()) != 0 || r.Complete() || len(r.Conflicts) != 1 {
		t.Fatalf("%+v", r)
	}
	var pulls []int
	for _, holder := range r.Conflicts[0].Candidates {
		pulls = append(pulls, holder.Pull)
	}
	if !slices.Equal(pulls, []int{5, 6}) {
		t.Errorf("the conflict names the pull requests %v", pulls)
	}
}

// Records of old versions are taken over with the right identity, and what is
// not certain about them is told.
func TestV10OldEras(t *testing.T) {
	pull := func(projects string) []byte {
		return []byte(`{"Projects":[` + projects + `],"Pull":{"Num":7,"BaseRepo":{"FullName":"o/r","VCSHost":{"Hostname":"h"}}}}`)
	}
	c := newCluster()
	r := mustImport(t, c, boltOf(t,
		SourceRecord{Bucket: BucketLocks, Key: "o/env/./staging", Value: []byte(`{"Project":{"RepoFullName":"o/env","Path":"."},"Pull":{"Num":1},"User":{"Username":"l"},"Env":"staging","Time":"2017-07-01T00:00:00Z"}`)},
		SourceRecord{Bucket: BucketLocks, Key: "o/base/./default", Value: []byte(`{"Project":{"RepoFullName":"o/base","Path":"."},"Pull":{"Num":2,"BaseCommit":"c","Branch":"b"},"User":{"Username":"l"},"Workspace":"default","Time":"2018-01-01T00:00:00Z"}`)},
		SourceRecord{Bucket: BucketPulls, Key: "h::o/r::7", Value: pull(`{"Status":2,"PolicyStatus":[{"PolicySetName":"p","Approvals":1}]}`)},
	))
	var got []string
	for _, l := range c.locks() {
		got = append(got, fmt.Sprintf("%s#%d", l.Key.Text(), l.Owner.Pull))
	}
	sameStrings(t, "locks", got, []string{"o/env/./staging/#1", "o/base/./default/#2"})
	about := map[string][]string{}
	for _, n := range r.Notes {
		about[n.Identity] = n.About
	}
	for identity, doubts := range map[string][]compat.Uncertain{
		"o/env/./staging/":  {compat.UncertainWorkspace, compat.UncertainHost},
		"o/base/./default/": {compat.UncertainHost},
		"h::o/r::7":         {compat.UncertainStatus, compat.UncertainApprovals},
	} {
		for _, u := range doubts {
			if !slices.Contains(about[identity], uncertainTexts[u]) {
				t.Errorf("%s: %s is not told: %q", identity, u, about[identity])
			}
		}
	}
	if !r.Complete() {
		t.Errorf("%+v", r)
	}
}

// An import that broke off in the middle, and then twice more to the end,
// leaves the records of one that went through.
func TestV13CrashAndAgain(t *testing.T) {
	file := boltOf(t, manyLocks(500, 400)...)
	whole := newCluster()
	want := mustImport(t, whole, file)
	broken := &flaky{cluster: newCluster(), late: true, errs: []error{nil, errors.New("crashed")}}
	if _, err := ImportBolt(t.Context(), broken, BoltImport{File: file}); err == nil {
		t.Fatal("the import did not break off")
	}
	if n := len(broken.locks()); n == 0 || n == 500 {
		t.Fatalf("it broke off with %d of 500 locks", n)
	}
	again := mustImport(t, broken.cluster, file)
	hash, _ := broken.mem.Hashes()
	if again.Imported+again.Unchanged != 500 || again.Unchanged == 0 || again.Digest != want.Digest {
		t.Errorf("%+v", again)
	}
	once := mustImport(t, broken.cluster, file)
	if now, _ := broken.mem.Hashes(); now.Data != hash.Data || once.Unchanged != 500 || once.Digest != want.Digest {
		t.Errorf("the third import changed something: %+v", once)
	}
	first, err := PlanExport(whole.mem.View(), "default")
	if err != nil {
		t.Fatal(err)
	}
	second, err := PlanExport(broken.mem.View(), "default")
	if err != nil || first.Digest != second.Digest || len(first.Records) != len(second.Records) {
		t.Errorf("digest %s, want %s, %v", second.Digest, first.Digest, err)
	}
}
