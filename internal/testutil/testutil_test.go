package testutil

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// recorder stands in for a failing test: it notes the failure and stops.
type recorder struct {
	testing.TB
	failure string
}

type stopped struct{}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	panic(stopped{})
}

// fails runs f and returns the text with which it failed its test.
func fails(t *testing.T, f func(testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	func() {
		defer func() {
			if p := recover(); p != nil && p != any(stopped{}) {
				panic(p)
			}
		}()
		f(r)
	}()
	return r.failure
}

// A wait ends as soon as its condition holds, in both forms.
func TestWaitForEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		WaitFor(t, time.Minute, func() bool { return time.Since(start) >= time.Second })
		WaitFor(t, time.Minute, func() error {
			if time.Since(start) < 2*time.Second {
				return errors.New("too early")
			}
			return nil
		})
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("waited %v for a condition that held after 2s", d)
		}
	})
}

// A wait past its deadline fails the test and says what was missing.
func TestWaitForFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := fails(t, func(tb testing.TB) {
			WaitFor(tb, time.Second, func() error { return errors.New("no leader yet") })
		})
		if !strings.Contains(got, "no leader yet") || !strings.Contains(got, "1s") {
			t.Errorf("failure text %q names neither the cause nor the time", got)
		}
		got = fails(t, func(tb testing.TB) { WaitFor(tb, time.Second, func() bool { return false }) })
		if got == "" {
			t.Error("a condition that never held did not fail the test")
		}
	})
}

// Ports are never handed out twice and can be listened on.
func TestFreePortsAreDistinct(t *testing.T) {
	seen := map[int]bool{}
	for _, p := range append(FreePorts(t, 2*blockSize), FreePort(t)) {
		if seen[p] {
			t.Fatalf("port %d was handed out twice", p)
		}
		seen[p] = true
		l, err := listen(p)
		if err != nil {
			t.Fatalf("port %d is not free: %v", p, err)
		}
		_ = l.Close()
	}
	if a := FreeAddr(t); !strings.HasPrefix(a, "127.0.0.1:") {
		t.Errorf("got address %q", a)
	}
}

// LOCKCLUSTER_SEED fixes the seed; garbage in it is an error, not a new seed.
func TestSeedFromEnvironment(t *testing.T) {
	t.Setenv(SeedEnv, "42")
	if s := Seed(t); s != 42 {
		t.Errorf("got seed %d, want 42", s)
	}
	if a, b := Rand(t).Uint64(), Rand(t).Uint64(); a != b {
		t.Errorf("one seed gave two sequences: %d and %d", a, b)
	}
	if _, err := seedFrom("x"); err == nil {
		t.Error("seed \"x\" was taken")
	}
	a, _ := seedFrom("")
	b, _ := seedFrom("")
	if a == b {
		t.Errorf("two fresh seeds are equal: %d", a)
	}
}

// The repeat command names the test, sub-tests included, and its package.
func TestRepeatCommand(t *testing.T) {
	got := repeatCommand("TestX/sub", 7)
	const want = "LOCKCLUSTER_SEED=7 go test -tags hashicorpmetrics -count=1 -run '^TestX$/^sub$' ./internal/testutil"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
