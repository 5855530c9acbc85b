package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/runatlantis/atlantis/server/core/boltdb"
	"github.com/runatlantis/atlantis/server/events/models"

	"github.com/lockcluster/lockcluster/compat/atlantis"
)

// importReport is the part of `import -o json` that the tests need.
type importReport struct {
	Imported    int `json:"imported"`
	Unchanged   int `json:"unchanged"`
	Quarantined []struct {
		Key string `json:"key"`
	} `json:"quarantined"`
	Conflicts []struct {
		Identity string `json:"identity"`
	} `json:"conflicts"`
	Digest string `json:"digest"`
}

// runImport runs the command line's import and returns everything it printed.
func runImport(t *testing.T, tg target, file string, extra ...string) (importReport, string) {
	t.Helper()
	args := append([]string{"import", "--from", "boltdb:" + file, "-o", "json", "--endpoints", strings.Join(tg.grpc, ",")}, extra...)
	cmd := exec.CommandContext(t.Context(), tg.bin, args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "LOCKCLUSTER_") })
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); err != nil && code != 3 {
		t.Fatalf("import: %v: %s", err, stderr.String())
	}
	var rep importReport
	if err := json.Unmarshal(stdout.Bytes(), &rep); err != nil {
		t.Fatalf("import printed no report: %v: %s", err, stderr.String())
	}
	return rep, stdout.String() + stderr.String()
}

// A file that Atlantis's own code holds open and writes at full speed is
// imported as it was at one moment: the writer takes locks in order and never
// releases one, so what is imported must be a prefix of what it took, and at
// least what it had taken when the import began.
func TestImportWhileAtlantisWrites(t *testing.T) {
	tg := startCluster(t)
	dir := t.TempDir()
	db, err := boltdb.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	var taken atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			lock := projectLock("acme/live", fmt.Sprintf("d%06d", i), i+1)
			lock.Pull.BaseRepo.CloneURL = "https://atlantis:CANARY-live@github.com/acme/live.git"
			if ok, _, err := db.TryLock(lock); err != nil || !ok {
				t.Errorf("lock %d: %t, %v", i, ok, err)
				return
			}
			taken.Store(int64(i + 1))
		}
	}()
	d, err := atlantis.Dial(t.Context(), tg.grpc...)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for round := range 5 {
		before := taken.Load()
		rep, printed := runImport(t, tg, filepath.Join(dir, "atlantis.db"))
		if strings.Contains(printed, "CANARY") {
			t.Fatal("the import printed the VCS token")
		}
		locks, err := d.List()
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(locks)) < before || len(rep.Quarantined)+len(rep.Conflicts) > 0 {
			t.Fatalf("round %d: %d locks in the cluster, %d were taken before the import began: %+v", round, len(locks), before, rep)
		}
		for i, l := range locks {
			if want := fmt.Sprintf("d%06d", i); l.Project.Path != want || l.Pull.Num != i+1 {
				t.Fatalf("round %d: lock %d is %s of pull %d: not a prefix of what Atlantis took", round, i, l.Project.Path, l.Pull.Num)
			}
		}
		t.Logf("round %d: %d locks taken when it began, %d in the cluster after it (%d new)", round, before, len(locks), rep.Imported)
	}
	close(stop)
	<-done
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// What was imported from a stock file is what stock Atlantis lists, and the
// source is untouched.
func TestImportEqualsStockList(t *testing.T) {
	tg := startCluster(t)
	dir := t.TempDir()
	stock, err := boltdb.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		lock := projectLock([]string{"acme/app", "grp/sub/repo", "acme/app-infra"}[i%3], fmt.Sprintf("a/b%d", i), 1+i%20)
		lock.Project.ProjectName = []string{"", "vpc"}[i%2]
		if _, _, err := stock.TryLock(lock); err != nil {
			t.Fatal(err)
		}
	}
	want, err := stock.List()
	if err != nil {
		t.Fatal(err)
	}
	wantKeys := keysOf(want)
	if err := stock.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "atlantis.db")
	sum := fileSum(t, file)
	first, _ := runImport(t, tg, file)
	again, _ := runImport(t, tg, file)
	if first.Imported != len(want) || again.Imported != 0 || again.Unchanged != len(want) || first.Digest != again.Digest {
		t.Errorf("first %+v, again %+v, want %d locks", first, again, len(want))
	}
	if fileSum(t, file) != sum {
		t.Error("the source has changed")
	}
	d, err := atlantis.Dial(t.Context(), tg.grpc...)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	if keysOf(got) != wantKeys {
		t.Error("the cluster lists other locks than stock Atlantis")
	}
}

func keysOf(locks []models.ProjectLock) string {
	var b strings.Builder
	for _, l := range locks {
		fmt.Fprintf(&b, "%s #%d\n", models.GenerateLockKey(l.Project, l.Workspace), l.Pull.Num)
	}
	return b.String()
}

func fileSum(t *testing.T, file string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}
