package wire

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/runatlantis/atlantis/server/core/redis"
)

// target is a store that Atlantis's Redis code can talk to: the addresses of
// its Redis doors.
type target struct {
	name  string
	doors []string // Redis doors
	grpc  []string // gRPC addresses; lockcluster only
	bin   string   // the lockcluster command
}

// config returns Atlantis's configuration for door i, single-node mode.
func (tg target) config(t *testing.T, i int) redis.Config {
	t.Helper()
	host, port, err := net.SplitHostPort(tg.doors[i%len(tg.doors)])
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return redis.Config{Hostname: host, Port: n}
}

// startCluster builds the binary and starts three node processes with the
// command that the README names first.
func startCluster(t *testing.T) target {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "lockcluster")
	build := exec.Command("go", "build", "-tags", "hashicorpmetrics", "-o", bin, "./cmd/lockcluster")
	build.Dir = "../../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build lockcluster: %v\n%s", err, out)
	}
	base := freeBasePort(t)
	dir := t.TempDir()
	cmd := exec.Command(bin, "dev", "--nodes", "3", "--base-port", strconv.Itoa(base), "--data-dir", dir)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { // settings of tests are not a node's
		return strings.HasPrefix(v, "LOCKCLUSTER_")
	})
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		killer := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		defer killer.Stop()
		_ = cmd.Wait()
	})
	go func() { // keep the pipe empty
		s := bufio.NewScanner(stdout)
		for s.Scan() {
		}
	}()
	tg := target{name: "lockcluster", bin: bin}
	for i := 1; i <= 3; i++ {
		tg.doors = append(tg.doors, fmt.Sprintf("127.0.0.1:%d", base+300+i))
		tg.grpc = append(tg.grpc, fmt.Sprintf("127.0.0.1:%d", base+100+i))
	}
	for _, door := range tg.doors {
		waitDoor(t, door)
	}
	return tg
}

// startRedis starts a redis-server, the baseline that Atlantis documents.
func startRedis(t *testing.T) target {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		fmt.Fprintln(os.Stderr, "NOT RUN: redis-server is not installed; `make test` installs it (apt-get install redis-server)")
		t.Skip("redis-server is not installed")
	}
	port := freeBasePort(t)
	cmd := exec.Command(path, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	door := fmt.Sprintf("127.0.0.1:%d", port)
	waitDoor(t, door)
	return target{name: "redis-server", doors: []string{door}}
}

// waitDoor waits until a PING at door is answered.
func waitDoor(t *testing.T, door string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := net.DialTimeout("tcp", door, time.Second); err == nil {
			_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
			_, _ = conn.Write([]byte("*2\r\n$3\r\nGET\r\n$5\r\nready\r\n"))
			line, _ := bufio.NewReader(conn).ReadString('\n')
			_ = conn.Close()
			if strings.HasPrefix(line, "$") || strings.HasPrefix(line, "_") {
				return
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not serve", door)
		case <-tick.C:
		}
	}
}

// freeBasePort returns a port P such that the ports a dev cluster uses above P
// are free now.
func freeBasePort(t *testing.T) int {
	t.Helper()
	for range 100 { // below the range of outgoing connections' ports
		if p := 10_000 + rand.IntN(22_000); portsFree(p) {
			return p
		}
	}
	t.Fatal("no free port range")
	return 0
}

func portsFree(base int) bool {
	for _, off := range []int{0, 1, 2, 3, 101, 102, 103, 201, 202, 203, 301, 302, 303} {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+off))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}
