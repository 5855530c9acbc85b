package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// fixtures is where the databases of real Atlantis versions are. Their values
// hold the canary wherever a secret may be.
const (
	fixtures = "../../migration/testdata"
	canary   = "CANARY"
)

type importReport struct {
	Imported     int    `json:"imported"`
	Unchanged    int    `json:"unchanged"`
	Pulls        int    `json:"pulls"`
	CommandLocks int    `json:"command_locks"`
	Digest       string `json:"digest"`
	Quarantined  []struct {
		Bucket, Key, Reason string
	} `json:"quarantined"`
	Conflicts []struct {
		Identity string `json:"identity"`
	} `json:"conflicts"`
}

func imported(t *testing.T, a answer) importReport {
	t.Helper()
	var r importReport
	if err := json.Unmarshal([]byte(a.stdout), &r); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	return r
}

// An import says what it did, the second one changes nothing, records that need
// a person give exit code 3 and are kept, the source is not touched, and no
// secret comes out anywhere.
func TestImport(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--base-port", freeBasePort(t, 3), "--data-dir", filepath.Join(t.TempDir(), "data"))
	var said strings.Builder
	run := func(code int, arguments ...string) answer {
		a := d.do(t, arguments...).want(t, code, "")
		said.WriteString(a.String())
		return a
	}
	source := filepath.Join(fixtures, "atlantis-0.47.1.db")
	before := sum(t, source)
	quarantine := filepath.Join(t.TempDir(), "left-over")
	arguments := []string{"import", "--from", "boltdb:" + source, "-o", "json", "--quarantine", quarantine}

	dry := imported(t, run(0, append(arguments, "--dry-run")...))
	run(0, "locks", "list", "-o", "json").want(t, 0, "[]")
	first := imported(t, run(0, arguments...))
	if first.Imported == 0 || first.Pulls == 0 || first.CommandLocks == 0 || first.Digest != dry.Digest {
		t.Errorf("first import: %+v; dry run: %+v", first, dry)
	}
	second := imported(t, run(0, arguments...))
	if second.Imported != 0 || second.Unchanged != first.Imported || second.Digest != first.Digest {
		t.Errorf("second import: %+v after %+v", second, first)
	}
	var locks []struct {
		Key string `json:"key"`
	}
	if err := json.Unmarshal([]byte(run(0, "locks", "list", "-o", "json").stdout), &locks); err != nil || len(locks) != first.Imported {
		t.Errorf("%d locks are listed, %d were imported: %v", len(locks), first.Imported, err)
	}
	run(0, "locks", "release", locks[0].Key, "--force")
	refused := run(1, arguments...)
	if refused.stdout != "" || !strings.Contains(refused.stderr, "would bring 1 record back") || !strings.Contains(refused.stderr, "  lock "+locks[0].Key+" of ") {
		t.Errorf("a lock that was released came near to be back: %s", refused)
	}
	run(1, "locks", "get", locks[0].Key)
	again := run(0, append(arguments[:3:3], "--again")...)
	again.want(t, 0, "1 lock was added to a cluster that had records of this source already").want(t, 0, "apply commands stay disabled")
	run(0, arguments...) // nothing was released since
	if sum(t, source) != before {
		t.Error("the source has changed")
	}

	eras := []string{"import", "--from", "boltdb:" + filepath.Join(fixtures, "atlantis-eras.db"), "--quarantine", quarantine, "-n", "db1"}
	report := imported(t, run(3, append(eras, "-o", "json")...))
	if len(report.Quarantined)+len(report.Conflicts) == 0 {
		t.Errorf("exit code 3 without a reason: %+v", report)
	}
	run(3, eras...).want(t, 3, "are in the directory "+quarantine)
	if entries, err := os.ReadDir(quarantine); err != nil || len(entries) == 0 {
		t.Errorf("quarantine: %v, %v", entries, err)
	}
	run(0, "locks", "list", "-n", "db1")
	run(0, "cluster", "status", "-o", "json")
	for _, n := range d.Nodes {
		b, err := os.ReadFile(n.Log)
		if err != nil {
			t.Fatal(err)
		}
		said.Write(b)
	}
	if strings.Contains(strings.ToUpper(said.String()), canary) {
		t.Error("a secret came out")
	}
}

// What an import left out was never in the cluster: the import that takes it, as the
// first one advises, is let through, also after one of another file. What it then
// brought and somebody released stays released, and the refusal names the import.
func TestImportTakesWhatWasLeftOut(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--base-port", freeBasePort(t, 1), "--nodes", "1")
	eras := []string{"import", "--from", "boltdb:" + filepath.Join(fixtures, "atlantis-eras.db"), "--quarantine", ""}
	older := append(eras[:len(eras):len(eras)], "--on-conflict", "keep-older")
	d.do(t, eras...).want(t, 3, "--on-conflict keep-older")
	d.do(t, "import", "--from", "boltdb:"+filepath.Join(fixtures, "atlantis-0.47.1.db")).want(t, 0, "locks imported")
	d.do(t, older...).want(t, 3, "locks imported   1")
	d.do(t, "locks", "release", "acme/conflict/x/default/", "--force").want(t, 0, "released")
	d.do(t, eras...).want(t, 3, "locks imported   0") // brings nothing of it, and makes nobody forget
	for range 2 {
		d.do(t, older...).want(t, 1, "would bring 1 record back").want(t, 1, "atlantis-eras.db on ").want(t, 1, "  lock acme/conflict/x/default/ of ")
	}
}

// What a follower cannot take over it counts, when it has begun and at the end,
// and its exit code says that a person has to look.
func TestImportFollowLeavesOut(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--base-port", freeBasePort(t, 1), "--nodes", "1")
	file := filepath.Join(t.TempDir(), "atlantis.db")
	copyFile(t, filepath.Join(fixtures, "atlantis-eras.db"), file)
	cmd := exec.Command(binary, "import", "--follow", "--from", "boltdb:"+file, "--endpoints", d.endpoints())
	var stdout, stderr safeBuffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	testutil.WaitFor(t, startTimeout, func() error {
		if want := `left out: 7 records of the source that cannot be imported; "lockcluster import --from boltdb:` + file; !strings.Contains(stderr.String(), want) {
			return fmt.Errorf("want %q, it says %s", want, stderr.String())
		}
		return nil
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(stdout.String(), " · 7 left out") {
		t.Errorf("exit code %d: %s%s", code, stdout.String(), stderr.String())
	}
}

// A follower of a Redis that does not answer says for what it waits, for how long so
// far and until when, and ends with exit code 1 and what to do; an import without
// --follow ends by itself, and says so as clearly. Neither shows the password.
func TestImportWaits(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts: connected, and no answer
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	addr := silent.Addr().String()
	d := startDev(t, "--base-port", freeBasePort(t, 1), "--nodes", "1")
	from := "redis://:CANARY@" + addr + "/0"
	follow := d.do(t, "import", "--follow", "--from", from, "--wait", "6s")
	for _, want := range []string{
		"waiting for redis://" + addr + "/0, 5s so far of at most 6s: ",
		"lockcluster: the source could not be read for 6s: ", "then follow again; --wait says",
	} {
		follow.want(t, 1, want)
	}
	once := d.do(t, "import", "--from", from).want(t, 1, "it does not answer").want(t, 1, "see whether it is up")
	if strings.Contains(follow.String()+once.String(), canary) {
		t.Errorf("the password came out: %s%s", follow, once)
	}
	d.do(t, "locks", "list", "-o", "json").want(t, 0, "[]")
}

// A follower says at once what it follows and when it has begun, tells failures
// as they come, and prints its figures at the end alone. The cluster remembers
// it: a lock that is released there afterwards does not come back unasked.
func TestImportFollow(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--base-port", freeBasePort(t, 1), "--nodes", "1")
	file := filepath.Join(t.TempDir(), "atlantis.db")
	copyFile(t, filepath.Join(fixtures, "atlantis-0.47.1.db"), file)
	cmd := exec.Command(binary, "import", "--follow", "-o", "json", "--from", "boltdb:"+file, "--endpoints", d.endpoints())
	var stdout, stderr safeBuffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	said := func(text string) {
		t.Helper()
		testutil.WaitFor(t, startTimeout, func() error {
			if !strings.Contains(stderr.String(), text) {
				return fmt.Errorf("want %q, it says %s", text, stderr.String())
			}
			return nil
		})
	}
	said("following boltdb:" + file)
	said("started: ")
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	said("failed, and is tried again: ")
	if err := os.Rename(file+".away", file); err != nil {
		t.Fatal(err)
	}
	said("it goes on")
	if stdout.String() != "" {
		t.Errorf("before the end it prints %s", stdout.String())
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var stats struct {
		Records int `json:"records"`
		Applied int `json:"applied"`
	}
	if err := json.Unmarshal([]byte(stdout.String()), &stats); err != nil || stats.Records == 0 || stats.Applied == 0 {
		t.Errorf("%v: %s", err, stdout.String())
	}

	d.do(t, "import", "--from", "boltdb:"+file).want(t, 0, "locks imported   0")
	var locks []struct {
		Key string `json:"key"`
	}
	if err := json.Unmarshal([]byte(d.do(t, "locks", "list", "-o", "json").stdout), &locks); err != nil || len(locks) == 0 {
		t.Fatal(err, locks)
	}
	d.do(t, "locks", "release", locks[0].Key, "--force").want(t, 0, "released")
	d.do(t, "import", "--from", "boltdb:"+file).want(t, 1, locks[0].Key)
	d.do(t, "import", "--follow", "--from", "boltdb:"+file).want(t, 1, locks[0].Key)
	d.do(t, "config", "get").want(t, 0, "SETTING") // what is remembered is no setting for people
	if out := d.do(t, "config", "get", "-o", "json").stdout; strings.Contains(out, "internal") {
		t.Errorf("config get shows %s", out)
	}
}

// Two imports at the same time are both remembered: what either has brought and
// somebody has released since, neither brings back unasked.
func TestImportsAtTheSameTime(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--base-port", freeBasePort(t, 1), "--nodes", "1")
	var files []string
	var followers []*exec.Cmd
	for _, repo := range []string{"acme/one", "acme/two"} {
		file := oneLock(t, repo)
		cmd := exec.Command(binary, "import", "--follow", "--from", "boltdb:"+file, "--endpoints", d.endpoints())
		var stderr safeBuffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Process.Kill() }()
		testutil.WaitFor(t, startTimeout, func() error {
			if !strings.Contains(stderr.String(), "started: 1 record") {
				return fmt.Errorf("it says %s", stderr.String())
			}
			return nil
		})
		files, followers = append(files, file), append(followers, cmd)
	}
	for _, cmd := range []*exec.Cmd{followers[1], followers[0]} { // who began first, and knows of no other, ends last
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	for i, repo := range []string{"acme/one", "acme/two"} {
		d.do(t, "locks", "release", repo+"/./default/", "--force").want(t, 0, "released")
		d.do(t, "import", "--from", "boltdb:"+files[i]).want(t, 1, "would bring 1 record back")
	}
}

// oneLock makes an atlantis.db that holds the lock of one pull request.
func oneLock(t *testing.T, repo string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "atlantis.db")
	db, err := bolt.Open(file, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("runLocks"))
		if err != nil {
			return err
		}
		value := fmt.Sprintf(`{"Project":{"RepoFullName":%q,"Path":"."},"Pull":{"Num":1},"User":{"Username":"ada"},"Workspace":"default","Time":"2026-01-02T03:04:05Z"}`, repo)
		return b.Put([]byte(repo+"/./default/"), []byte(value))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return file
}

func sum(t *testing.T, path string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}
