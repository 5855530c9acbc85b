package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/runatlantis/atlantis/server/core/boltdb"
	"github.com/runatlantis/atlantis/server/core/locking"
	"github.com/runatlantis/atlantis/server/events/models"
	bolt "go.etcd.io/bbolt"
)

// exportReport is the part of `export -o json` that the tests need.
type exportReport struct {
	Locks     int    `json:"locks"`
	Pulls     int    `json:"pulls"`
	Digest    string `json:"digest"`
	Source    string `json:"cluster_digest"`
	Skipped   []any  `json:"skipped"`
	Rewritten []any  `json:"rewritten"`
}

// runExport exports a namespace of tg to a new atlantis.db in a directory of
// its own, which it returns.
func runExport(t *testing.T, tg target, namespace string) (rep exportReport, dir string) {
	t.Helper()
	dir = t.TempDir()
	cmd := exec.CommandContext(t.Context(), tg.bin, "export", "--to", "boltdb:"+filepath.Join(dir, "atlantis.db"),
		"-n", namespace, "-o", "json", "--endpoints", strings.Join(tg.grpc, ","))
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "LOCKCLUSTER_") })
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("export: %v: %s", err, stderr.String())
	}
	if strings.Contains(stdout.String()+stderr.String(), "CANARY") {
		t.Fatal("the export printed a VCS token")
	}
	if err := json.Unmarshal(stdout.Bytes(), &rep); err != nil {
		t.Fatalf("export printed no report: %v: %s", err, stderr.String())
	}
	return rep, dir
}

// stockHolds checks that stock Atlantis, started on a data directory, lists
// exactly want, by key, that each lock keeps another pull request out, and that
// it can unlock each. Unlocking may leave out the fsync to be quick.
func stockHolds(t *testing.T, dir string, want map[string]int, noSync bool) {
	t.Helper()
	db, err := boltdb.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	if noSync {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		raw, err := bolt.Open(filepath.Join(dir, "atlantis.db"), 0o600, &bolt.Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		if db, err = boltdb.NewWithDB(raw, "runLocks", "globalLocks"); err != nil {
			t.Fatal(err)
		}
	}
	defer db.Close()
	client := locking.NewClient(db)
	locks, err := client.List()
	if err != nil {
		t.Fatal(err)
	}
	if len(locks) != len(want) {
		t.Errorf("stock Atlantis lists %d locks, want %d", len(locks), len(want))
	}
	for key, l := range locks {
		if pull, ok := want[key]; !ok || pull != l.Pull.Num {
			t.Errorf("stock Atlantis lists %q of pull %d, want %d (%v)", key, l.Pull.Num, pull, ok)
		}
		other := l
		other.Pull.Num += 100_000
		if got, err := client.TryLock(l.Project, l.Workspace, other.Pull, l.User); err != nil || got.LockAcquired || got.CurrLock.Pull.Num != l.Pull.Num {
			t.Errorf("%q: another pull request got %+v, %v", key, got.LockAcquired, err)
		}
		if freed, err := client.Unlock(key); err != nil || freed == nil || freed.Pull.Num != l.Pull.Num {
			t.Errorf("%q: unlocking gave %v, %v", key, freed != nil, err)
		}
	}
	if left, err := client.List(); err != nil || len(left) > 0 {
		t.Errorf("%d locks are left, %v", len(left), err)
	}
}

// Stock Atlantis v0.47.1 opens an exported file, lists every lock under its
// key and unlocks it, for both fixtures and for 10,000 locks; what is exported
// and imported into an empty namespace gives the same digest again.
func TestV29StockOpensExport(t *testing.T) {
	tg := startCluster(t)
	for i, name := range []string{"atlantis-0.47.1", "atlantis-eras"} {
		t.Run(name, func(t *testing.T) {
			ns := fmt.Sprintf("db%d", i+1)
			base := filepath.Join("..", "..", "..", "migration", "testdata", name)
			in, _ := runImport(t, tg, base+".db", "-n", ns, "--quarantine", "")
			out, dir := runExport(t, tg, ns)
			if out.Source != in.Digest || len(out.Rewritten) == 0 && out.Digest != in.Digest || len(out.Skipped) > 0 {
				t.Errorf("exported %+v, imported with digest %s", out, in.Digest)
			}
			back, _ := runImport(t, tg, filepath.Join(dir, "atlantis.db"), "-n", ns+"-again")
			again, _ := runExport(t, tg, ns+"-again")
			if back.Digest != out.Digest || again.Digest != out.Digest || again.Source != out.Digest {
				t.Errorf("digest %s when exported, %s when imported, %s when exported again", out.Digest, back.Digest, again.Digest)
			}
			stockHolds(t, dir, fixtureLocks(t, base+".expected.json"), false)
		})
	}
	t.Run("10000 locks", func(t *testing.T) {
		file, want := generate(t, 10_000)
		in, _ := runImport(t, tg, file, "-n", "db3")
		out, dir := runExport(t, tg, "db3")
		if out.Digest != in.Digest || out.Locks != len(want) {
			t.Errorf("exported %+v, imported %+v", out, in)
		}
		stockHolds(t, dir, want, true)
	})
}

// fixtureLocks reads which locks a fixture has, by key, with their pull
// requests.
func fixtureLocks(t *testing.T, file string) map[string]int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Locks []struct {
			Repo, Path, Workspace, ProjectName string
			Pull                               int
		} `json:"locks"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for _, l := range f.Locks {
		project := models.Project{RepoFullName: l.Repo, Path: l.Path, ProjectName: l.ProjectName}
		want[models.GenerateLockKey(project, l.Workspace)] = l.Pull
	}
	return want
}

// generate makes an atlantis.db of n locks as stock Atlantis writes them, in
// one transaction.
func generate(t *testing.T, n int) (file string, want map[string]int) {
	t.Helper()
	dir := t.TempDir()
	stock, err := boltdb.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := stock.Close(); err != nil {
		t.Fatal(err)
	}
	file, want = filepath.Join(dir, "atlantis.db"), map[string]int{}
	db, err := bolt.Open(file, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for i := range n {
			repo := []string{"acme/app", "acme/app-infra", "grp/sub/repo", "grp/sub/deep/repo"}[i%4]
			lock := projectLock(repo, fmt.Sprintf("env%d/svc%d", i%100, i), 1+i%997)
			lock.Project.ProjectName = []string{"", "vpc", "dns/zone"}[i%3]
			lock.Pull.BaseRepo.CloneURL = "https://atlantis:CANARY-gen@github.com/" + repo + ".git"
			b, err := json.Marshal(lock)
			if err != nil {
				return err
			}
			key := models.GenerateLockKey(lock.Project, lock.Workspace)
			want[key] = lock.Pull.Num
			if err := tx.Bucket([]byte("runLocks")).Put([]byte(key), b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return file, want
}
