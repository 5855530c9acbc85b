package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func mustBuild(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "lockbench")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// With a peer missing nothing runs; the program says which, how to get it, and
// exits with 2.
func TestMissingPeersAreNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	code, err := run(t.Context(), []string{"-systems", "etcd,redis,bbolt-atlantis"})
	if code != exitUsage || err == nil {
		t.Fatalf("exit code %d, %v", code, err)
	}
	for _, want := range []string{"etcd is not installed", "redis-server is not installed", "apt-get install"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}

// Bad flags are refused with 2 before anything runs.
func TestBadFlags(t *testing.T) {
	for _, args := range [][]string{
		{"-rounds", "0"},
		{"-seconds", "0"},
		{"-log-store", "paper"},
		{"-o", "xml"},
		{"-workloads", "naps-1"},
		{"-systems", "mongodb"},
		{"-nosuchflag"},
		{"more"},
		{"failover", "-kills", "0", "-transfers", "0"},
		{"failover", "-log-store", "paper"},
		{"scale", "-locks", "1"},
		{"scale", "-writers", "0"},
	} {
		if code, err := run(t.Context(), args); code != exitUsage || err == nil {
			t.Errorf("%v: exit code %d, %v", args, code, err)
		}
	}
}

// After Ctrl-C, and even after kill -9 of the benchmark, no peer runs on and,
// but for the kill, no data is left.
func TestNoOrphans(t *testing.T) {
	bin := mustBuild(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command(bin, "-systems", "etcd,redis", "-workloads", "pairs-2", "-seconds", "600", "-dir", dir, "-allow-memory-disk")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			waitUntil(t, "4 peers run", func() bool { return len(runningUnder(t, dir)) == 4 })
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("exit code 0 after a signal")
			}
			waitUntil(t, "no peer runs", func() bool { return len(runningUnder(t, dir)) == 0 })
			left, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			if sig == syscall.SIGINT && len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// runningUnder returns the processes that name dir in their command line or
// work below it, but for the benchmark itself.
func runningUnder(t *testing.T, dir string) []string {
	t.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, p := range procs {
		cwd, _ := os.Readlink(filepath.Join(p, "cwd"))
		if strings.HasPrefix(cwd, dir) {
			found = append(found, p)
		}
	}
	return found
}

func waitUntil(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited for: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
