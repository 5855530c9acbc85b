package node

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// A node that replaces itself counts it, gives up when it happens too often in
// a short time, and begins anew after a long one.
func TestNextRestart(t *testing.T) {
	now := time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)
	env := []string{"HOME=/root"}
	for i := range restartsMax {
		next, err := nextRestart(env, now.Add(time.Duration(i)*time.Second))
		if err != nil {
			t.Fatalf("restart %d: %v", i+1, err)
		}
		if len(next) != 2 || next[0] != "HOME=/root" {
			t.Fatalf("restart %d: environment %q", i+1, next)
		}
		env = next
	}
	if _, err := nextRestart(env, now.Add(time.Minute)); err == nil || !strings.Contains(err.Error(), "2026-11-01T10:00:00Z") {
		t.Errorf("one restart too many: %v", err)
	}
	next, err := nextRestart(env, now.Add(restartsWindow))
	if err != nil || !slices.Contains(next, RestartsEnv+"=1@1793527800") {
		t.Errorf("after the window: %q, %v", next, err)
	}
	if next, err := nextRestart([]string{RestartsEnv + "=nonsense"}, now); err != nil || len(next) != 1 {
		t.Errorf("a damaged count: %q, %v", next, err)
	}
}

// restartTestEnv makes the test binary replace itself once and say so.
const restartTestEnv = "NODE_TEST_RESTART"

// A node replaces itself in place: the same program and arguments, the same
// process id, and the count in its environment.
func TestRestart(t *testing.T) {
	if os.Getenv(restartTestEnv) != "" {
		if count, again := os.LookupEnv(RestartsEnv); again {
			fmt.Printf("again %d %s\n", os.Getpid(), count)
			os.Exit(0)
		}
		fmt.Printf("first %d\n", os.Getpid())
		t.Fatal(restart(os.Environ(), time.Now()))
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestRestart$")
	cmd.Env = append(os.Environ(), restartTestEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pid := cmd.Process.Pid
	if want := fmt.Sprintf("first %d\nagain %[1]d 1@", pid); !strings.HasPrefix(string(out), want) {
		t.Errorf("got %q, want %q...", out, want)
	}
}
