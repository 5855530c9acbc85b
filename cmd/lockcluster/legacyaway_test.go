package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// While the legacy system decides and is away, a node stays ready, because all
// nodes are alike, and says so: in readyz, in a metric and in the status.
func TestLegacySystemAway(t *testing.T) {
	t.Parallel()
	old, addr := startOldRedis(t)
	s := startServer(t, append(serverArguments(t, filepath.Join(t.TempDir(), "n1")), "--legacy-redis", "redis://"+addr+"/0")...)
	page := func(path, want string) error {
		resp, err := http.Get("http://" + s.http + path)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(b), want) {
			return fmt.Errorf("%s: %s, %v, want %q in\n%s", path, resp.Status, err, want, b)
		}
		return nil
	}
	status := func(want string) error {
		if a := lockclusterCommand(t, "migration", "status", "--endpoints", s.grpc); a.code != 0 || !strings.Contains(a.stdout, want) {
			return fmt.Errorf("want %q, got %s", want, a)
		}
		return nil
	}
	testutil.WaitFor(t, startTimeout, func() error { return status("mode legacy · active system legacy") })
	testutil.WaitFor(t, startTimeout, func() error { return page("/readyz?verbose", "[+] legacy ok\nok\n") })

	_ = old.Process.Kill()
	testutil.WaitFor(t, startTimeout, func() error { return page("/readyz", "ok\nwarning: legacy: the legacy system decides") })
	for path, want := range map[string]string{
		"/readyz?verbose": "[!] legacy: ", "/readyz?json": `"ready":true,"checks":[`, "/metrics": "lockcluster_legacy_unreachable 1",
	} {
		if err := page(path, want); err != nil {
			t.Error(err)
		}
	}
	if err := status("it decides: until it is back"); err != nil {
		t.Error(err)
	}
	// The log stays what its readers expect, whatever libraries have to say.
	lines := strings.Split(s.log.String(), "\n")
	for _, line := range lines[:len(lines)-1] {
		if !json.Valid([]byte(line)) {
			t.Fatalf("a line of the log is no JSON: %s", line)
		}
	}
}

// A comparison without the legacy system, whether that is gone or does not answer,
// is no comparison without a leader: it names the legacy system and says what to do.
func TestCompareWithoutTheLegacySystem(t *testing.T) {
	t.Parallel()
	old, addr := startOldRedis(t)
	s := startServer(t, append(serverArguments(t, filepath.Join(t.TempDir(), "n1")), "--legacy-redis", "redis://"+addr+"/0")...)
	compare := func() answer { return lockclusterCommand(t, "migration", "compare", "--endpoints", s.grpc) }
	testutil.WaitFor(t, startTimeout, func() error {
		if a := compare(); a.code != 0 {
			return fmt.Errorf("compare: %s", a)
		}
		return nil
	})
	for _, signal := range []os.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		if err := old.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if a := compare(); a.code != 1 || strings.Contains(a.stderr, "no leader") ||
			!strings.Contains(a.stderr, "refused: the legacy system (redis) cannot be read: ") || !strings.Contains(a.stderr, "; bring it back") {
			t.Errorf("after %s: %s", signal, a)
		}
	}
}

// Of a store that was emptied every command says so, at once, and what to do:
// also those that read all of it, of which a way back is made.
func TestLegacySystemEmptied(t *testing.T) {
	t.Parallel()
	_, addr := startOldRedis(t)
	s := startServer(t, append(serverArguments(t, filepath.Join(t.TempDir(), "n1")), "--legacy-redis", "redis://"+addr+"/0")...)
	testutil.WaitFor(t, startTimeout, func() error {
		if a := lockclusterCommand(t, "locks", "acquire", key, "--pull", "1", "--endpoints", s.grpc); a.code != 0 {
			return fmt.Errorf("acquire: %s", a)
		}
		return nil
	})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "FLUSHALL\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, len("+OK\r\n"))); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{
		{"locks", "list"}, {"locks", "validate"}, {"migration", "compare"}, {"export", "--to", "boltdb:" + filepath.Join(t.TempDir(), "atlantis.db")},
	} {
		a := lockclusterCommand(t, append(command, "--endpoints", s.grpc)...)
		if a.code != 1 || strings.Contains(a.stderr, "no leader") || !strings.Contains(a.stderr, "refused: ") ||
			!strings.Contains(a.stderr, "lockcluster cluster mode legacy --authority legacy") {
			t.Errorf("%v: %s", command, a)
		}
	}
}

// startOldRedis starts a Redis that is an Atlantis's own.
func startOldRedis(t *testing.T) (old *exec.Cmd, addr string) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("SKIPPED: no redis-server on this machine; make test installs it (apt-get install redis-server)")
	}
	addr = testutil.FreeAddr(t)
	_, port, _ := strings.Cut(addr, ":")
	old = exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	if err := old.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = old.Process.Kill()
		_ = old.Wait()
	})
	return old, addr
}
