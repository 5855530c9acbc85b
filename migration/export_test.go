package migration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
)

// mustExport exports the default namespace of c into a new file.
func mustExport(t *testing.T, c *cluster) (*ExportReport, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "atlantis.db")
	r, err := ExportBolt(t.Context(), c.mem.View(), lockcluster.DefaultNamespace, ExportOptions{File: file})
	if err != nil {
		t.Fatal(err)
	}
	return r, file
}

func mustImport(t *testing.T, c *cluster, file string) *Report {
	t.Helper()
	r, err := ImportBolt(t.Context(), c, BoltImport{File: file})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustDo(t *testing.T, c *cluster, req lockcluster.Request) {
	t.Helper()
	res, err := c.Do(t.Context(), lockcluster.RequestID{}, req)
	if err != nil || !slices.Contains([]lockcluster.Status{lockcluster.StatusGranted, lockcluster.StatusStored}, res.Status) {
		t.Fatalf("%T: %v %s, %v", req, res.Status, res.Text, err)
	}
}

// What was imported from a fixture and is exported again has every record byte
// for byte, but for the values that a present Atlantis would misread; an
// import of the export into an empty cluster gives the same digest, and so does
// its export.
func TestExportOfImport(t *testing.T) {
	for _, name := range fixtureNames {
		t.Run(name, func(t *testing.T) {
			f, c := mustFixture(t, name), newCluster()
			imported := mustImport(t, c, f.file)
			r, file := mustExport(t, c)
			if r.Locks != len(f.Locks) || r.Pulls != len(f.Pulls) || r.CommandLocks != len(f.GlobalLocks) || !r.Complete() {
				t.Errorf("exported %+v", r)
			}
			if r.ClusterDigest != imported.Digest || len(r.Rewritten) == 0 && r.Digest != imported.Digest {
				t.Errorf("digest %s of the cluster, %s of the file, %s of the import", r.ClusterDigest, r.Digest, imported.Digest)
			}
			again := newCluster()
			back := mustImport(t, again, file)
			if back.Digest != r.Digest || back.Imported != len(f.Locks) || !back.Complete() {
				t.Errorf("import of the export: %+v", back)
			}
			second, _ := mustExport(t, again)
			if second.Digest != r.Digest || second.ClusterDigest != r.Digest || len(second.Rewritten) > 0 {
				t.Errorf("export of that: %+v", second)
			}
			checkLocks(t, f, again)
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
		})
	}
}

// A value that Atlantis would read as another lock, or not at all, is written
// anew with the same facts; all others are kept byte for byte.
func TestExportRewritesWhatStockMisreads(t *testing.T) {
	v01 := `{"Project":{"RepoFullName":"o/r","Path":"."},"Pull":{"Num":4},"User":{"Username":"l"},"Env":"staging","Time":"2018-01-02T03:04:05Z"}`
	badState := `{"Project":{"RepoFullName":"o/r","Path":"x"},"Pull":{"Num":5,"State":"open","BaseRepo":{"CloneURL":"https://u:CANARY@h/o/r"}},"User":{"Username":"l"},"Workspace":"w","Time":"2018-01-02T03:04:05Z"}`
	fine := `{"Project":{"RepoFullName":"o/r","Path":"y"},"Pull":{"Num":6},"User":{"Username":"l","Extra":[1]},"Workspace":"w","Time":"2018-01-02T03:04:05Z"}`
	c := newCluster()
	for _, v := range []string{v01, badState, fine} {
		a, err := compat.AcquireFromValue(lockcluster.DefaultNamespace, []byte(v))
		if err != nil {
			t.Fatal(err)
		}
		mustDo(t, c, a)
	}
	plan, err := PlanExport(c.mem.View(), lockcluster.DefaultNamespace)
	if err != nil {
		t.Fatal(err)
	}
	var rewritten []string
	for _, r := range plan.Rewritten {
		rewritten = append(rewritten, r.Key)
	}
	sameStrings(t, "rewritten", rewritten, []string{"o/r/./staging/", "o/r/x/w/"})
	for _, rec := range plan.Records {
		l, err := compat.ParseLock(rec.Value)
		if err != nil || l.Key.Text() != rec.Key || len(l.Uncertain) > 0 && rec.Key != "o/r/y/w/" && !slices.Equal(l.Uncertain, []compat.Uncertain{compat.UncertainHost}) {
			t.Errorf("%s reads as %+v, %v", rec.Key, l, err)
		}
		if rec.Key == "o/r/y/w/" && string(rec.Value) != fine {
			t.Errorf("%s was changed", rec.Key)
		}
		if rec.Key == "o/r/x/w/" && !bytes.Contains(rec.Value, []byte("CANARY")) {
			t.Error("the clone URL is gone")
		}
	}
	out, err := json.Marshal(plan.Rewritten)
	if err != nil || bytes.Contains(out, []byte("CANARY")) {
		t.Errorf("the secret is in %s, %v", out, err)
	}
}

// Locks of owner ids and without a stored value get one that Atlantis shows;
// what an atlantis.db cannot hold, or Atlantis would delete at its start, is
// named and not written.
func TestExportNamesWhatItLeaves(t *testing.T) {
	c := newCluster()
	key := func(repo, path string) lockcluster.Key {
		return lockcluster.Key{Namespace: "default", Repo: repo, Path: path, Workspace: "w"}
	}
	pull := lockcluster.Owner{Host: "github.com", Repo: "o/r", Pull: 7}
	mustDo(t, c, lockcluster.Acquire{Key: key("o/r", "a"), Owner: pull, User: "ada"})
	mustDo(t, c, lockcluster.Acquire{Key: key("o/r", "b"), Owner: lockcluster.Owner{ID: "nightly"}, TTL: time.Hour})
	mustDo(t, c, lockcluster.Acquire{Key: key("o/r", "c"), Owner: lockcluster.Owner{ID: "weekly"}})
	mustDo(t, c, lockcluster.Acquire{Key: key("noslash", "."), Owner: lockcluster.Owner{Repo: "noslash", Pull: 1}})
	mustDo(t, c, lockcluster.Acquire{Key: key("o/r", "line\nbreak"), Owner: pull})
	mustDo(t, c, lockcluster.PutDocument{Namespace: "default", Key: "other", Value: []byte("CANARY")})
	mustDo(t, c, lockcluster.PutDocument{Namespace: "default", Key: "h::o/r::8", Value: []byte(`{"Pull":{"Num":9,"BaseRepo":{"FullName":"o/r","VCSHost":{"Hostname":"h"}}}}`)})
	mustDo(t, c, lockcluster.LockCommand{Namespace: "default", Name: "apply", Value: []byte(`{"LockMetadata":{"UnixTime":1}}`)})
	mustDo(t, c, lockcluster.LockCommand{Namespace: "default", Name: "deploy", Value: []byte("CANARY")})
	mustDo(t, c, lockcluster.PutDocument{Namespace: "db4", Key: "other", Value: []byte("x")})
	r, file := mustExport(t, c)
	var skipped []string
	for _, s := range r.Skipped {
		skipped = append(skipped, s.Kind+" "+s.Key)
	}
	sameStrings(t, "skipped", skipped, []string{"lock noslash/./w/", "lock o/r/line\nbreak/w/", "document other", "document h::o/r::8", "command_lock deploy"})
	sameStrings(t, "owner ids", r.OwnerLocks, []string{"o/r/b/w/", "o/r/c/w/"})
	sameStrings(t, "elsewhere", r.Elsewhere, []string{"db4"})
	if len(r.Rewritten) != 1 || r.Rewritten[0].Kind != KindCommandLock {
		t.Errorf("rewritten: %+v", r.Rewritten)
	}
	if r.Locks != 3 || r.Pulls != 0 || r.CommandLocks != 1 || r.Leases != 1 || r.Complete() || r.Index == 0 {
		t.Errorf("%+v", r)
	}
	if out, err := json.Marshal(r); err != nil || bytes.Contains(out, []byte("CANARY")) {
		t.Errorf("the secret is in %s, %v", out, err)
	}
	again := newCluster()
	if back := mustImport(t, again, file); back.Imported != 3 || back.CommandLocks != 1 || !back.Complete() {
		t.Errorf("import of the export: %+v", back)
	}
	for _, l := range again.locks() {
		if want := map[string]string{"a": "ada", "b": "nightly", "c": "weekly"}[l.Key.Path]; l.User != want {
			t.Errorf("%s is of user %q, want %q", l.Key.Text(), l.User, want)
		}
	}
}

// A file that is there is not touched without leave, nor with leave while
// somebody has it open as a database; nothing is left behind.
func TestExportDoesNotOverwrite(t *testing.T) {
	c := newCluster()
	for _, r := range manyLocks(12, 10) {
		a, err := compat.AcquireFromValue("default", r.Value)
		if err != nil {
			t.Fatal(err)
		}
		mustDo(t, c, a)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "atlantis.db")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	export := func(overwrite bool) error {
		_, err := ExportBolt(t.Context(), c.mem.View(), "default", ExportOptions{File: file, Overwrite: overwrite})
		return err
	}
	if err := export(false); !errors.Is(err, ErrExists) {
		t.Errorf("got %v", err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	if err := export(true); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "mine" {
		t.Errorf("the file is %q, %v", b, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := export(true); !errors.Is(err, ErrExists) {
		t.Errorf("a file of another kind: got %v", err)
	}
	if err := os.Truncate(file, 0); err != nil {
		t.Fatal(err)
	}
	for range 2 { // an empty file, and then a database
		if err := export(true); err != nil {
			t.Fatal(err)
		}
	}
	if r := mustImport(t, newCluster(), file); r.Imported != 12 {
		t.Errorf("imported %d", r.Imported)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("%d files in the directory, %v", len(left), err)
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "d")
	if err := export(true); !errors.Is(err, ErrExists) {
		t.Errorf("a directory: got %v", err)
	}
}

// Ten thousand locks and an empty namespace are exported whole, in batches.
func TestExportManyAndNone(t *testing.T) {
	c := newCluster()
	empty, file := mustExport(t, c)
	if empty.Locks != 0 || !empty.Complete() {
		t.Errorf("%+v", empty)
	}
	if r := mustImport(t, newCluster(), file); r.Digest != empty.Digest {
		t.Errorf("digest %s, then %s", empty.Digest, r.Digest)
	}
	const n = 10_000
	for i := range n {
		value := lockValue("acme/app", fmt.Sprintf("p%05d", i), i+1, noon, strings.Repeat("b", i%500))
		a, err := compat.AcquireFromValue("default", value)
		if err != nil {
			t.Fatal(err)
		}
		mustDo(t, c, a)
	}
	calls, last := 0, 0
	r, err := ExportBolt(t.Context(), c.mem.View(), "default", ExportOptions{
		File:     filepath.Join(t.TempDir(), "atlantis.db"),
		Progress: func(done, total int) { calls, last = calls+1, total-done },
	})
	if err != nil || r.Locks != n || r.Digest != r.ClusterDigest || calls < 3 || last != 0 {
		t.Fatalf("%+v, %v; %d calls", r, err, calls)
	}
	again := newCluster()
	if back := mustImport(t, again, r.File); back.Imported != n || back.Digest != r.Digest {
		t.Errorf("import of the export: %d locks, digest %s; want %s", back.Imported, back.Digest, r.Digest)
	}
}

// An exported file is an Atlantis's and nobody's else: it has no mark of the
// store that was attached to the cluster, and may be attached to any.
func TestExportHasNoStoreID(t *testing.T) {
	_, file := mustExport(t, newCluster())
	db, err := bolt.Open(file, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_ = db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, _ *bolt.Bucket) error {
			if !slices.Contains([]string{BucketLocks, BucketPulls, BucketCommandLocks}, string(name)) {
				t.Errorf("the file has a bucket %s", name)
			}
			return nil
		})
	})
}
