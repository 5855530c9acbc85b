package proc_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster/bench/internal/proc"
)

func mustStart(t *testing.T, script string) *proc.Process {
	t.Helper()
	p, err := proc.Start("child", t.TempDir(), "/bin/sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	return p
}

func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }

// A child that heeds SIGTERM is gone after Stop, and stopping it again is no
// error.
func TestStopEndsAChild(t *testing.T) {
	p := mustStart(t, "exec sleep 60")
	for range 2 {
		if err := p.Stop(10 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if !gone(p.PID()) {
		t.Errorf("process %d is still there", p.PID())
	}
}

// A child that ignores SIGTERM is killed, and Stop says so.
func TestStopKillsAStubbornChild(t *testing.T) {
	p := mustStart(t, "trap '' TERM; echo ready; while :; do sleep 0.01; done")
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(p.LogTail(100), "ready"); {
		if time.Now().After(deadline) {
			t.Fatal("the child does not come up")
		}
	}
	err := p.Stop(50 * time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("Stop: %v, want that it was killed", err)
	}
	if !gone(p.PID()) {
		t.Errorf("process %d is still there", p.PID())
	}
}

// A child that ends by itself is noticed, with its last words.
func TestErrTellsWhyAChildEnded(t *testing.T) {
	p := mustStart(t, "echo the disk is full; exit 3")
	<-p.Exited()
	err := p.Err()
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("Err: %v, want the exit status and the log", err)
	}
}

// The addresses found are all different.
func TestFreeAddrsAreDistinct(t *testing.T) {
	addrs, err := proc.FreeAddrs(50)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, a := range addrs {
		if seen[a] {
			t.Errorf("%s twice", a)
		}
		seen[a] = true
	}
}
