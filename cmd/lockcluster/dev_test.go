package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

const key = "acme/infra/./default/"

// One command brings up three nodes; the cluster has one leader and two
// followers, a lock taken at one node is seen and refused at the others, and a
// Ctrl-C leaves neither a process nor the data behind.
func TestDev(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--base-port", freeBasePort(t, 3))
	roles := map[string]int{}
	for _, m := range clusterStatus(t, d).Members {
		roles[m.Role]++
	}
	if roles["leader"] != 1 || roles["follower"] != 2 || d.Leader == "" {
		t.Errorf("dev says leader %q; roles %v", d.Leader, roles)
	}

	at := func(i int, arguments ...string) answer {
		return lockclusterCommand(t, append(arguments, "--endpoints", d.Nodes[i].GRPCAddr)...)
	}
	at(0, "locks", "acquire", key, "--pull", "1", "--user", "ann").want(t, 0, "acquired "+key)
	at(1, "locks", "acquire", key, "--pull", "2", "--user", "bob").want(t, 3, "held by pull request #1 of acme/infra (ann)")
	at(2, "locks", "list").want(t, 0, key)
	at(1, "locks", "get", strings.TrimSuffix(key, "/")).want(t, 0, "ann")
	held := at(2, "locks", "acquire", key, "--owner", "ci", "-o", "json").want(t, 3, "")
	var refusal struct {
		Acquired bool `json:"acquired"`
		Index    uint64
		Holder   struct {
			Pull  int    `json:"pull"`
			Token string `json:"token"`
		} `json:"holder"`
	}
	if err := json.Unmarshal([]byte(held.stdout), &refusal); err != nil || refusal.Acquired || refusal.Holder.Pull != 1 || refusal.Index == 0 {
		t.Errorf("refusal as JSON: %+v, %v", refusal, err)
	}
	at(0, "locks", "release", key, "--pull", "2").want(t, 3, "held by pull request #1")
	at(1, "locks", "release", key, "--pull", "1").want(t, 0, "released "+key)
	at(2, "locks", "get", key).want(t, 1, "is not locked")
	at(2, "locks", "acquire", key, "--owner", "ci", "--ttl", "1h").want(t, 0, "acquired")
	at(0, "locks", "release", key, "--force").want(t, 0, `owner "ci"`)
	at(0, "locks", "acquire", key, "--owner", "ci").want(t, 0, "acquired")
	at(0, "locks", "acquire", key, "--owner", "ci", "--ttl", "1h").want(t, 0, "--ttl was not applied")
	at(0, "locks", "acquire", "acme/infra/a/b/default/", "--owner", "ci").want(t, 0, `repository "acme/infra", path "a/b"`)
	at(0, "locks", "get", "garbage").want(t, 2, "want repo/path/workspace/project")
	at(0, "locks", "get", "pr/"+key).want(t, 1, `has no "pr/" before it`)

	if code := d.interrupt(t); code != 0 {
		t.Errorf("dev left with exit code %d", code)
	}
	wantNoneLeft(t, d.Nodes)
	if _, err := os.Stat(d.DataDir); !os.IsNotExist(err) {
		t.Errorf("the temporary data directory is still there: %v", err)
	}
}

type status struct {
	Leader  string `json:"leader"`
	Members []struct {
		ID        string `json:"id"`
		Role      string `json:"role"`
		Suffrage  string `json:"suffrage"`
		Reachable bool   `json:"reachable"`
	} `json:"members"`
}

func clusterStatus(t *testing.T, d *devRun) status {
	t.Helper()
	var s status
	a := d.do(t, "cluster", "status", "-o", "json").want(t, 0, "")
	if err := json.Unmarshal([]byte(a.stdout), &s); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	return s
}

// A node that is killed is reported, the others go on, and dev starts it again;
// with --data-dir the locks are there after a restart of all.
func TestDevNodeDiesAndRestart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	arguments := []string{"--base-port", freeBasePort(t, 3), "--data-dir", dir}
	d := startDev(t, arguments...)
	d.do(t, "locks", "acquire", key, "--pull", "1").want(t, 0, "acquired")
	victim := d.node(d.Leader)
	pid, err := os.ReadFile(filepath.Join(dir, victim.ID, "pid"))
	if err != nil || strings.TrimSpace(string(pid)) != strconv.Itoa(victim.PID) {
		t.Errorf("pid file of %s: %q, %v; want %d", victim.ID, pid, err, victim.PID)
	}
	if err := syscall.Kill(victim.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.do(t, "locks", "acquire", key, "--pull", "2").want(t, 3, "held by pull request #1")
	d.do(t, "locks", "acquire", "acme/infra/net/default/", "--pull", "2").want(t, 0, "acquired")
	testutil.WaitFor(t, stopTimeout, func() error {
		if said := d.stderr.String(); !strings.Contains(said, "node "+victim.ID+" ") || !strings.Contains(said, "2 of 3 nodes go on") {
			return fmt.Errorf("dev does not say that %s died: %s", victim.ID, said)
		}
		return nil
	})
	allReachable(t, d)
	pid, err = os.ReadFile(filepath.Join(dir, victim.ID, "pid"))
	if err != nil || strings.TrimSpace(string(pid)) == strconv.Itoa(victim.PID) || !strings.Contains(d.stderr.String(), "started again") {
		t.Errorf("pid file of %s: %q, %v; want another than %d", victim.ID, pid, err, victim.PID)
	}
	if code := d.interrupt(t); code != 0 {
		t.Errorf("dev left with exit code %d", code)
	}
	wantNoneLeft(t, d.Nodes)

	d = startDev(t, arguments...)
	d.do(t, "locks", "list").want(t, 0, key)
	d.do(t, "locks", "acquire", "acme/infra/net/default/", "--pull", "3").want(t, 3, "held by pull request #2")
	allReachable(t, d)
}

// A node that was removed is none of the cluster's any more: those that are left
// go on, and dev does not call them too few.
func TestDevNodeIsRemoved(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--base-port", freeBasePort(t, 2), "--nodes", "2")
	left := "n1"
	if d.Leader == left {
		left = "n2"
	}
	d.do(t, "cluster", "remove", left).want(t, 0, "removed "+left)
	testutil.WaitFor(t, startTimeout, func() error {
		want := "1 of 1 nodes go on; node " + left + ": it was removed from the cluster and is not started again"
		if said := d.stderr.String(); !strings.Contains(said, want) {
			return fmt.Errorf("want %q, dev says %s", want, said)
		}
		return nil
	})
	d.do(t, "locks", "acquire", key, "--pull", "1").want(t, 0, "acquired")
}

// allReachable waits until every node answers.
func allReachable(t *testing.T, d *devRun) {
	t.Helper()
	testutil.WaitFor(t, stopTimeout, func() error {
		for _, m := range clusterStatus(t, d).Members {
			if !m.Reachable {
				return fmt.Errorf("%s is not back: %s", m.ID, d.stderr.String())
			}
		}
		return nil
	})
}

// When a node runs in dev's temporary directory that dev did not start, dev
// leaves the directory at its end and says so.
func TestDevKeepsDirectoryInUse(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--base-port", freeBasePort(t, 3))
	t.Cleanup(func() { _ = os.RemoveAll(d.DataDir) })
	victim := d.Nodes[0]
	lock, err := os.OpenFile(filepath.Join(victim.DataDir, "lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Kill(victim.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil { // as soon as the kernel frees it
		t.Fatal(err)
	}
	d.interrupt(t)
	if _, err := os.Stat(filepath.Join(d.DataDir, "n2")); err != nil || !strings.Contains(d.stderr.String(), "is kept") {
		t.Errorf("the directory: %v; dev said %s", err, d.stderr.String())
	}
}

// When dev itself is killed its nodes stop, too.
func TestDevKilled(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--base-port", freeBasePort(t, 3), "--data-dir", filepath.Join(t.TempDir(), "data"))
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	d.wait(t)
	wantNoneLeft(t, d.Nodes)
}

// Leadership moves when asked, a backup is restored under rising tokens, and a
// member is refused or removed with a clear word.
func TestClusterCommands(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--base-port", freeBasePort(t, 3))
	next := d.Nodes[0].ID
	if next == d.Leader {
		next = d.Nodes[1].ID
	}
	d.do(t, "cluster", "transfer-leader", next).want(t, 0, next+" leads now")
	if s := clusterStatus(t, d); s.Leader != next {
		t.Errorf("leader %s, want %s", s.Leader, next)
	}
	d.do(t, "cluster", "transfer-leader", "n9").want(t, 1, "refused: there is no node n9; the members are n1, n2, n3")
	d.do(t, "cluster", "members").want(t, 0, d.Nodes[2].RESPAddr)

	d.do(t, "locks", "acquire", key, "--pull", "1").want(t, 0, "token 1:1")
	file := filepath.Join(t.TempDir(), "backup")
	d.do(t, "cluster", "snapshot", "save", file).want(t, 0, "locks          1")
	d.do(t, "cluster", "snapshot", "save", file).want(t, 1, "is there already")
	d.do(t, "cluster", "snapshot", "save", filepath.Dir(file), "--force").want(t, 1, "is a directory: give the name of a file")
	nowhere := filepath.Join(filepath.Dir(file), "nowhere")
	d.do(t, "cluster", "snapshot", "save", filepath.Join(nowhere, "backup")).want(t, 1, "there is no directory "+nowhere+": make it")
	d.do(t, "export", "--to", "boltdb:"+filepath.Join(nowhere, "a.db")).want(t, 1, "there is no directory "+nowhere+": make it")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup's mode: %v, %v", info.Mode(), err)
	}
	lockclusterCommand(t, "cluster", "snapshot", "inspect", file).want(t, 0, "1:1")
	d.do(t, "locks", "release", key, "--pull", "1").want(t, 0, "released")
	d.do(t, "cluster", "snapshot", "restore", file).want(t, 2, "--yes")
	d.do(t, "locks", "get", key).want(t, 1, "is not locked")
	d.do(t, "cluster", "snapshot", "restore", file, "--yes").want(t, 0, "restored 1 lock,")
	d.do(t, "locks", "get", key).want(t, 0, "1:1")
	d.do(t, "locks", "acquire", "acme/infra/net/default/", "--pull", "1").want(t, 0, "token 2:")

	d.do(t, "cluster", "add", d.Nodes[0].ID, "127.0.0.1:1").want(t, 1, "is a member already")
	d.do(t, "cluster", "remove", "n9").want(t, 1, "there is no node n9")
	d.do(t, "cluster", "remove", "n3").want(t, 0, "removed n3")
	testutil.WaitFor(t, stopTimeout, func() error {
		if alive(d.node("n3").PID) {
			return fmt.Errorf("n3 still runs")
		}
		return nil
	})
	d.do(t, "cluster", "add", "n3", "127.0.0.1:1").want(t, 1, "was used before")
}
