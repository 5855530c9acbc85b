package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// serverRun is a running "lockcluster server".
type serverRun struct {
	cmd              *exec.Cmd
	log              *safeBuffer
	end              chan struct{}
	grpc, http, resp string
}

// startServer starts a node; it is killed when the test ends.
func startServer(t *testing.T, arguments ...string) *serverRun {
	t.Helper()
	s := &serverRun{log: &safeBuffer{}, end: make(chan struct{})}
	for i, a := range arguments {
		switch a {
		case "--grpc-addr":
			s.grpc = arguments[i+1]
		case "--http-addr":
			s.http = arguments[i+1]
		case "--resp-addr":
			s.resp = arguments[i+1]
		}
	}
	s.cmd = exec.Command(binary, arguments...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.end)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.end
		if t.Failed() {
			t.Logf("the node said:\n%s", s.log)
		}
	})
	return s
}

// waitServing waits until the node has a leader.
func (s *serverRun) waitServing(t *testing.T) {
	t.Helper()
	testutil.WaitFor(t, startTimeout, func() error {
		if a := lockclusterCommand(t, "cluster", "status", "--endpoints", s.grpc, "--timeout", "2s"); a.code != 0 {
			return fmt.Errorf("%s\n%s", a, s.log)
		}
		return nil
	})
}

func (s *serverRun) stop(t *testing.T, sig os.Signal) int {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.end:
	case <-time.After(stopTimeout):
		t.Fatal("the node did not end in time")
	}
	return s.cmd.ProcessState.ExitCode()
}

// A node stops cleanly on SIGTERM and on Ctrl-C, and finds its locks again.
func TestServerStops(t *testing.T) {
	t.Parallel()
	arguments := serverArguments(t, filepath.Join(t.TempDir(), "node"))
	for i, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		s := startServer(t, arguments...)
		s.waitServing(t)
		if i == 0 {
			lockclusterCommand(t, "locks", "acquire", key, "--pull", "1", "--endpoints", s.grpc).want(t, 0, "acquired")
		}
		lockclusterCommand(t, "locks", "acquire", key, "--pull", "2", "--endpoints", s.grpc).want(t, 3, "#1")
		if code := s.stop(t, sig); code != 0 || !strings.Contains(s.log.String(), "node has stopped") {
			t.Errorf("%v: exit code %d", sig, code)
		}
	}
}

// A second node on the same data directory is refused while the first one runs.
func TestServerDirectoryInUse(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "node")
	s := startServer(t, serverArguments(t, dir)...)
	s.waitServing(t)
	lockclusterCommand(t, serverArguments(t, dir)...).want(t, 1, "another process uses it")
}

// A node that is told to join becomes a voter, has the locks, and a node that
// may not join is refused with the reason.
func TestServerJoins(t *testing.T) {
	t.Parallel()
	first := startServer(t, serverArguments(t, filepath.Join(t.TempDir(), "n1"))...)
	first.waitServing(t)
	lockclusterCommand(t, "locks", "acquire", key, "--pull", "1", "--endpoints", first.grpc).want(t, 0, "acquired")

	joining := append(serverArguments(t, filepath.Join(t.TempDir(), "n2")), "--node-id", "n2", "--initial-cluster", "", "--join", first.grpc)
	second := startServer(t, joining...)
	testutil.WaitFor(t, startTimeout, func() error {
		a := lockclusterCommand(t, "cluster", "members", "--endpoints", first.grpc)
		if a.code != 0 || !strings.Contains(a.stdout, second.grpc) || strings.Contains(a.stdout, "non-voter") {
			return fmt.Errorf("n2 is no voter yet: %s", a)
		}
		return nil
	})
	lockclusterCommand(t, "locks", "acquire", key, "--pull", "2", "--endpoints", second.grpc).want(t, 3, "#1")

	other := t.TempDir()
	for _, dir := range []string{filepath.Join(other, "new"), other} { // a refused node claims no directory
		again := append(serverArguments(t, dir), "--node-id", "n2", "--initial-cluster", "", "--join", first.grpc)
		lockclusterCommand(t, again...).want(t, 1, "n2")
		if entries, err := os.ReadDir(other); err != nil || len(entries) > 0 {
			t.Errorf("left in the data directory %s: %v, %v", dir, entries, err)
		}
	}
	lockclusterCommand(t, "cluster", "remove", "n2", "--endpoints", first.grpc+","+second.grpc).want(t, 0, "removed")
	testutil.WaitFor(t, startTimeout, func() error {
		if a := lockclusterCommand(t, "cluster", "remove", "n1", "--endpoints", first.grpc); a.code != 1 || !strings.Contains(a.stderr, "last voter") {
			return fmt.Errorf("the last voter: %s", a)
		}
		return nil
	})
}

// Without a quorum every command ends within its timeout and says what is
// missing; status shows what the node sees and whose view that is.
func TestNoQuorum(t *testing.T) {
	t.Parallel()
	arguments := serverArguments(t, filepath.Join(t.TempDir(), "n1"))
	founders := arguments[len(arguments)-1] + ",n2=" + testutil.FreeAddr(t) + ",n3=" + testutil.FreeAddr(t)
	s := startServer(t, append(arguments, "--initial-cluster", founders)...)
	testutil.WaitFor(t, startTimeout, func() error {
		if a := lockclusterCommand(t, "cluster", "status", "--endpoints", s.grpc); !strings.Contains(a.stdout, "as seen by n1, which has no leader") {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
	for _, line := range []string{
		"locks list", "locks get " + key, "locks acquire " + key + " --pull 1", "cluster snapshot save " + filepath.Join(t.TempDir(), "backup"),
		"import --quarantine= --from boltdb:" + filepath.Join(fixtures, "atlantis-0.47.1.db"),
	} {
		a := lockclusterCommand(t, append(strings.Fields(line), "--endpoints", s.grpc, "--timeout", "1s")...)
		a.want(t, 1, "the nodes answer, but there is no leader: too few voters reach each other")
	}
}

// A node that cannot join yet says so now and then, and not that it serves.
func TestServerWaitsToJoin(t *testing.T) {
	t.Parallel()
	s := startServer(t, append(serverArguments(t, filepath.Join(t.TempDir(), "n2")), "--node-id", "n2", "--initial-cluster", "", "--join", "127.0.0.1:1")...)
	testutil.WaitFor(t, startTimeout, func() error {
		if said := s.log.String(); !strings.Contains(said, "node listens") {
			return fmt.Errorf("it does not listen yet: %s", said)
		}
		return nil
	})
	said := s.log.String()
	if !strings.Contains(said, "see that --join has gRPC addresses") {
		t.Errorf("it does not say what to look at: %s", said)
	}
	if n := strings.Count(said, "not joined yet"); n < 1 || n > 6 || strings.Contains(said, "node serves") {
		t.Errorf("it says %d times that it has not joined: %s", n, said)
	}
}

// With a password file the Redis door lets nobody in without it; garbage on it
// ends that connection alone.
func TestServerRedisDoor(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("open sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, append(serverArguments(t, filepath.Join(t.TempDir(), "node")), "--resp-username", "atlantis", "--resp-password-file", file)...)
	s.waitServing(t)
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	for _, c := range []struct {
		user, password string
		isAllowed      bool
	}{{"", "", false}, {"atlantis", "wrong", false}, {"else", "open sesame", false}, {"", "open sesame", true}, {"atlantis", "open sesame", true}} {
		door := redis.NewClient(&redis.Options{Addr: s.resp, Username: c.user, Password: c.password, MaxRetries: -1})
		if err := door.Set(ctx, "document", "x", 0).Err(); (err == nil) != c.isAllowed {
			t.Errorf("user %q, password %q: %v", c.user, c.password, err)
		}
		door.Close()
	}
	garbage, err := net.Dial("tcp", s.resp)
	if err != nil {
		t.Fatal(err)
	}
	defer garbage.Close()
	_, _ = garbage.Write(bytes.Repeat([]byte{0xff, 0x00, '\r', '\n'}, 1000))
	_ = garbage.SetReadDeadline(time.Now().Add(commandTimeout))
	for buf := make([]byte, 4096); err == nil; {
		_, err = garbage.Read(buf)
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("garbage did not end its connection")
	}
	door := redis.NewClient(&redis.Options{Addr: s.resp, Username: "atlantis", Password: "open sesame"})
	defer door.Close()
	if got, err := door.Get(ctx, "document").Result(); got != "x" || err != nil {
		t.Errorf("after garbage: %q, %v", got, err)
	}
}
