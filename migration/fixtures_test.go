package migration

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// fixtureNames are databases in testdata with an expected.json beside each.
var fixtureNames = []string{"atlantis-0.47.1", "atlantis-eras"}

// fixture is what a database must be imported as.
type fixture struct {
	file  string
	Locks []struct {
		Repo, Path, Workspace, ProjectName string
		Pull                               int
	} `json:"locks"`
	Pulls       []string `json:"pulls"`
	GlobalLocks []string `json:"globalLocks"`
	Quarantined []string `json:"quarantined"`
	Conflicts   []string `json:"conflicts"`
	Canary      string   `json:"canary"`
}

func mustFixture(t *testing.T, name string) fixture {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var f fixture
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	f.file = filepath.Join("testdata", name+".db")
	return f
}

// cluster is the rules over their store in memory: a cluster without a network.
type cluster struct {
	mu    sync.Mutex
	mem   *state.Mem
	index uint64
	calls int
}

func newCluster() *cluster { return &cluster{mem: state.NewMem()} }

func (c *cluster) Do(ctx context.Context, id lockcluster.RequestID, req lockcluster.Request) (res lockcluster.Result, err error) {
	if err := ctx.Err(); err != nil {
		return res, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index++
	c.calls++
	c.mem.Update(c.index, 1, func(tx state.Tx) {
		a := state.Begin(tx, state.Env{Index: c.index, Term: 1, Now: time.Unix(1_800_000_000, 0)})
		res = a.Do(command.Command{ID: id, Request: req})
		a.End()
	})
	return res, nil
}

func (c *cluster) locks() []lockcluster.Lock {
	var out []lockcluster.Lock
	state.ListLocks(c.mem.View(), lockcluster.DefaultNamespace, state.LockFilter{}, func(l *lockcluster.Lock) bool {
		out = append(out, *l)
		return true
	})
	return out
}

func (c *cluster) keys(space lockcluster.Space) []string {
	var out []string
	state.Keys(c.mem.View(), lockcluster.DefaultNamespace, space, "", func(key string) bool {
		out = append(out, key)
		return true
	})
	return out
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}

func sameStrings(t *testing.T, what string, got, want []string) {
	t.Helper()
	if got, want = sorted(got), sorted(want); !slices.Equal(got, want) {
		t.Errorf("%s:\ngot  %q\nwant %q", what, got, want)
	}
}

// Importing a fixture gives exactly the locks, pull statuses and command locks
// that it must, with the stored bytes, and names exactly the records left out.
func TestImportFixtures(t *testing.T) {
	for _, name := range fixtureNames {
		t.Run(name, func(t *testing.T) {
			f, c := mustFixture(t, name), newCluster()
			before, tmp := mustHash(t, f.file), t.TempDir()
			r, err := ImportBolt(t.Context(), c, BoltImport{File: f.file, TempDir: tmp})
			if err != nil {
				t.Fatal(err)
			}
			if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
				t.Errorf("%d files left behind, %v", len(left), err)
			}
			checkLocks(t, f, c)
			sameStrings(t, "pulls", c.keys(lockcluster.SpaceDocument), f.Pulls)
			sameStrings(t, "command locks", c.keys(lockcluster.SpaceCommand), f.GlobalLocks)
			checkValues(t, f, c)
			var quarantined, conflicts []string
			for _, q := range r.Quarantined {
				quarantined = append(quarantined, q.Key)
			}
			for _, q := range r.Conflicts {
				conflicts = append(conflicts, q.Identity)
			}
			sameStrings(t, "quarantined", quarantined, f.Quarantined)
			sameStrings(t, "conflicts", conflicts, f.Conflicts)
			if r.Imported != len(f.Locks) || r.Unchanged != 0 || r.Pulls != len(f.Pulls) || r.CommandLocks != len(f.GlobalLocks) {
				t.Errorf("counted %d %d %d %d", r.Imported, r.Unchanged, r.Pulls, r.CommandLocks)
			}
			if r.Complete() != (len(f.Quarantined)+len(f.Conflicts) == 0) {
				t.Errorf("Complete is %v", r.Complete())
			}
			if after := mustHash(t, f.file); after != before || r.SourceSHA256 != before || r.SourceSHA256After != before {
				t.Errorf("the source changed: %s, then %s; reported %s and %s", before, after, r.SourceSHA256, r.SourceSHA256After)
			}
			if err := state.CheckInvariants(c.mem.View()); err != nil {
				t.Error(err)
			}
		})
	}
}

func mustHash(t *testing.T, path string) string {
	t.Helper()
	sum, err := hashFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func checkLocks(t *testing.T, f fixture, c *cluster) {
	t.Helper()
	var got, want []string
	text := func(k lockcluster.Key, pull int) string {
		b, err := json.Marshal([]any{k.Repo, k.Path, k.Workspace, k.Project, pull})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, l := range c.locks() {
		got = append(got, text(l.Key, l.Owner.Pull))
		if l.Kind != lockcluster.KindPull || l.Owner.Repo != l.Key.Repo || l.User == "" || l.AcquiredAt.Year() < 2017 {
			t.Errorf("%s: kind %d, owner %v, user %q, acquired %v", l.Key.Text(), l.Kind, l.Owner, l.User, l.AcquiredAt)
		}
	}
	for _, l := range f.Locks {
		want = append(want, text(lockcluster.Key{Repo: l.Repo, Path: l.Path, Workspace: l.Workspace, Project: l.ProjectName}, l.Pull))
	}
	sameStrings(t, "locks", got, want)
}

// checkValues compares what the cluster stores with the bytes of the source.
func checkValues(t *testing.T, f fixture, c *cluster) {
	t.Helper()
	cp, err := CopyBolt(t.Context(), f.file, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	src, err := ReadBolt(cp)
	if err != nil {
		t.Fatal(err)
	}
	var stored [][]byte
	for _, r := range src.Records {
		stored = append(stored, r.Value)
	}
	for _, l := range c.locks() {
		if !slices.ContainsFunc(stored, func(b []byte) bool { return bytes.Equal(b, l.Value) }) {
			t.Errorf("%s has other bytes than the source", l.Key.Text())
		}
	}
	if err := cp.Close(); err != nil {
		t.Error(err)
	}
}

// Importing twice changes nothing: same state hash, same digest, everything
// unchanged. A dry run gives the same digest and asks nothing of the cluster.
func TestImportTwice(t *testing.T) {
	for _, name := range fixtureNames {
		t.Run(name, func(t *testing.T) {
			f, c := mustFixture(t, name), newCluster()
			first, err := ImportBolt(t.Context(), c, BoltImport{File: f.file})
			if err != nil {
				t.Fatal(err)
			}
			hashes, _ := c.mem.Hashes()
			again, err := ImportBolt(t.Context(), c, BoltImport{File: f.file})
			if err != nil {
				t.Fatal(err)
			}
			if h, _ := c.mem.Hashes(); h.Data != hashes.Data {
				t.Errorf("the state hash changed: %v, then %v", hashes.Data, h.Data)
			}
			if again.Imported != 0 || again.Unchanged != len(f.Locks) || again.Pulls != len(f.Pulls) || again.Digest != first.Digest {
				t.Errorf("the second import: %d new, %d unchanged, %d pulls, digest %s, first %s", again.Imported, again.Unchanged, again.Pulls, again.Digest, first.Digest)
			}
			calls := c.calls
			dry, err := ImportBolt(t.Context(), nil, BoltImport{File: f.file, DryRun: true, QuarantineDir: filepath.Join(t.TempDir(), "q")})
			if err != nil {
				t.Fatal(err)
			}
			if !dry.DryRun || dry.Imported != first.Imported || dry.Digest != first.Digest || c.calls != calls {
				t.Errorf("the dry run: %+v", dry)
			}
		})
	}
}

// The canary in every stored value is in no report and no error, and with
// redaction not in the cluster either.
func TestImportShowsNoSecret(t *testing.T) {
	for _, name := range fixtureNames {
		f, c := mustFixture(t, name), newCluster()
		o := BoltImport{File: f.file, PlanOptions: PlanOptions{RedactCredentials: true}}
		r, err := ImportBolt(t.Context(), c, o)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ImportBolt(t.Context(), c, o)
		if err != nil {
			t.Fatal(err)
		}
		out, err := json.Marshal([]*Report{r, again})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(out), "CANARY") {
			t.Errorf("%s: the canary is in the report", name)
		}
		for _, l := range c.locks() {
			if bytes.Contains(l.Value, []byte(f.Canary)) {
				t.Errorf("%s: the canary is in the cluster after redaction", l.Key.Text())
			}
			if _, err := compat.ParseLock(l.Value); err != nil {
				t.Errorf("%s cannot be read after redaction: %v", l.Key.Text(), err)
			}
		}
	}
}

// The report's JSON has the fields that scripts rely on, with [] for an empty
// list.
func TestReportJSON(t *testing.T) {
	r, err := ImportBolt(t.Context(), newCluster(), BoltImport{File: mustFixture(t, "atlantis-0.47.1").file})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"imported", "unchanged", "pulls", "command_locks", "digest", "source_sha256", "source_sha256_after"} {
		if _, ok := m[field]; !ok {
			t.Errorf("no field %s", field)
		}
	}
	if string(m["quarantined"]) != "[]" || string(m["conflicts"]) != "[]" {
		t.Errorf("empty lists are %s and %s", m["quarantined"], m["conflicts"])
	}
}

// Records that are not imported are kept byte for byte, readable by their
// owner only, and writing them twice gives the same files.
func TestQuarantineKeepsBytes(t *testing.T) {
	f, dir := mustFixture(t, "atlantis-eras"), filepath.Join(t.TempDir(), "quarantine")
	for range 2 {
		if _, err := ImportBolt(t.Context(), newCluster(), BoltImport{File: f.file, QuarantineDir: dir}); err != nil {
			t.Fatal(err)
		}
	}
	var entries []quarantineEntry
	b, err := os.ReadFile(filepath.Join(dir, quarantineIndex))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &entries); err != nil {
		t.Fatal(err)
	}
	if want := len(f.Quarantined) + 2*len(f.Conflicts); len(entries) != want {
		t.Errorf("%d entries, want %d", len(entries), want)
	}
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(dir, e.File))
		if err != nil || len(raw) != e.Size {
			t.Errorf("%s: %d bytes, %v; want %d", e.Key, len(raw), err, e.Size)
		}
		if e.Key == "bad/utf8/./default/" && string(raw) != "\xff\xfe\x00\x01" {
			t.Errorf("kept %q", raw)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != len(entries)+1 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		if info, err := file.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", file.Name(), info.Mode(), err)
		}
	}
}

// copyFile copies a fixture to a place where it may be changed.
func copyFile(t *testing.T, from string) string {
	t.Helper()
	src, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "atlantis.db")
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(dst, src); err != nil {
		t.Fatal(err)
	}
	if err := dst.Close(); err != nil {
		t.Fatal(err)
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	return to
}
