package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// Time limits; generous, because the machine may be busy.
const (
	commandTimeout = 60 * time.Second
	startTimeout   = 90 * time.Second
	stopTimeout    = 60 * time.Second
)

// binary is the command under test, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "lockcluster-cmd-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "lockcluster")
	code := 1
	if out, err := exec.Command("go", "build", "-tags", "hashicorpmetrics", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the command: %v\n%s", err, out)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// devNode is a node as "dev -o json" describes it.
type devNode struct {
	ID       string `json:"id"`
	PID      int    `json:"pid"`
	DataDir  string `json:"data_dir"`
	Log      string `json:"log"`
	GRPCAddr string `json:"grpc_address"`
	RESPAddr string `json:"resp_address"`
}

// devRun is a running "lockcluster dev".
type devRun struct {
	Leader  string    `json:"leader"`
	DataDir string    `json:"data_dir"`
	Nodes   []devNode `json:"nodes"`

	cmd    *exec.Cmd
	stderr *safeBuffer
	end    chan error
}

// safeBuffer is a bytes.Buffer for two goroutines.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// startDev starts "lockcluster dev" and waits until it says that all nodes
// serve. It is stopped when the test ends.
func startDev(t *testing.T, arguments ...string) *devRun {
	t.Helper()
	d := &devRun{stderr: &safeBuffer{}, end: make(chan error, 1)}
	d.cmd = exec.Command(binary, append([]string{"dev", "-o", "json"}, arguments...)...)
	d.cmd.Stderr = d.stderr
	// A group of its own, as a shell gives it: a Ctrl-C is for the group.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan error, 1)
	go func() {
		err := json.NewDecoder(stdout).Decode(d)
		ready <- err
		_, _ = io.Copy(io.Discard, stdout)
		d.end <- d.cmd.Wait()
		close(d.end)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-d.end:
		case <-time.After(stopTimeout):
			_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
			<-d.end
		}
		if t.Failed() {
			t.Logf("dev said:\n%s", d.stderr)
		}
	})
	select {
	case err := <-ready:
		if err != nil {
			t.Fatalf("dev did not start: %v", err)
		}
	case <-time.After(startTimeout):
		t.Fatal("dev did not start in time")
	}
	return d
}

// interrupt is a Ctrl-C at the terminal; it waits for the end and returns the
// exit code.
func (d *devRun) interrupt(t *testing.T) int {
	t.Helper()
	if err := syscall.Kill(-d.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	return d.wait(t)
}

func (d *devRun) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-d.end:
	case <-time.After(stopTimeout):
		t.Fatal("dev did not end in time")
	}
	return d.cmd.ProcessState.ExitCode()
}

func (d *devRun) endpoints() string {
	var addrs []string
	for _, n := range d.Nodes {
		addrs = append(addrs, n.GRPCAddr)
	}
	return strings.Join(addrs, ",")
}

func (d *devRun) node(id string) devNode {
	for _, n := range d.Nodes {
		if n.ID == id {
			return n
		}
	}
	return devNode{}
}

// do runs a client command against all nodes.
func (d *devRun) do(t *testing.T, arguments ...string) answer {
	t.Helper()
	return lockclusterCommand(t, append(arguments, "--endpoints", d.endpoints())...)
}

// answer is what a command said.
type answer struct {
	code           int
	stdout, stderr string
}

func (a answer) String() string {
	return fmt.Sprintf("exit code %d\n%s%s", a.code, a.stdout, a.stderr)
}

// lockclusterCommand runs the binary to its end.
func lockclusterCommand(t *testing.T, arguments ...string) answer {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, arguments...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	timer := time.AfterFunc(commandTimeout, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("lockcluster %s: %v", strings.Join(arguments, " "), err)
	}
	return answer{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// want fails the test unless the command left with that code and said so.
func (a answer) want(t *testing.T, code int, text string) answer {
	t.Helper()
	if a.code != code || !strings.Contains(a.stdout+a.stderr, text) {
		t.Fatalf("want exit code %d and %q, got %s", code, text, a)
	}
	return a
}

// alive reports whether a process is there and no zombie. One whose first
// thread is a zombie lives on, with its open files and their locks, until the
// last of its threads has ended.
func alive(pid int) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return false
	}
	if _, rest, _ := strings.Cut(string(stat), ") "); !strings.HasPrefix(rest, "Z") {
		return true
	}
	threads, err := os.ReadDir(filepath.Join(dir, "task"))
	return err == nil && len(threads) > 1
}

// wantNoneLeft waits until no node's process is there.
func wantNoneLeft(t *testing.T, nodes []devNode) {
	t.Helper()
	testutil.WaitFor(t, stopTimeout, func() error {
		for _, n := range nodes {
			if alive(n.PID) {
				return fmt.Errorf("node %s is still there as process %d", n.ID, n.PID)
			}
		}
		return nil
	})
}

// freeBasePort finds a base port whose ports for n nodes are all free, below
// the range from which the kernel takes ports for outgoing connections.
func freeBasePort(t *testing.T, n int) string {
	t.Helper()
	for range 200 {
		base := 10_000 + rand.IntN(21_000)
		free := true
		for i := 1; free && i <= n; i++ {
			for _, door := range []int{0, 100, 200, 300} {
				l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(base+door+i))
				if err != nil {
					free = false
					break
				}
				l.Close()
			}
		}
		if free {
			return strconv.Itoa(base)
		}
	}
	t.Fatal("found no free base port")
	return ""
}
