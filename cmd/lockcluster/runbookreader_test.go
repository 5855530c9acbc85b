package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// reader is somebody who goes through the runbook.
type reader struct {
	dir     string
	vars    map[string]string            // of the reader's own shell
	perNode map[string]map[string]string // of the shells on the nodes
	path    string                       // for PATH

	mu       sync.Mutex // guards what follows
	nodes    map[string]*exec.Cmd
	atlantis *bolt.DB // what a running Atlantis has open
}

// newReader has made the reader's preparations: the variables of the "# set"
// blocks, an Atlantis that runs on its file, and a Redis with the same locks.
func newReader(t *testing.T, chapter string, blocks []runbookBlock) *reader {
	t.Helper()
	for _, program := range []string{"bash", "curl", "redis-server", "redis-cli"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED: no %s on this machine; make test installs what the tests talk to", program)
		}
	}
	dir := t.TempDir()
	r := &reader{dir: dir, perNode: map[string]map[string]string{}, nodes: map[string]*exec.Cmd{}, path: filepath.Join(dir, "bin") + ":" + os.Getenv("PATH")}
	for _, d := range []string{"bin", "atlantis", "work"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(binary, filepath.Join(dir, "bin", "lockcluster")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "atlantis", "atlantis.db")
	copyFile(t, filepath.Join(fixtures, "atlantis-0.47.1.db"), file)
	var raft, grpc []string
	addrs := map[string]string{}
	for _, id := range []string{"n1", "n2", "n3"} {
		for _, door := range []string{"RAFT", "GRPC", "HTTP", "RESP"} {
			addrs[id+door] = testutil.FreeAddr(t)
		}
		raft, grpc = append(raft, id+"="+addrs[id+"RAFT"]), append(grpc, addrs[id+"GRPC"])
	}
	for _, id := range []string{"n1", "n2", "n3"} {
		r.perNode[id] = map[string]string{
			"LOCKCLUSTER_NODE_ID": id, "LOCKCLUSTER_DATA_DIR": filepath.Join(dir, id, "data"),
			"LOCKCLUSTER_RAFT_ADDR": addrs[id+"RAFT"], "LOCKCLUSTER_GRPC_ADDR": addrs[id+"GRPC"],
			"LOCKCLUSTER_HTTP_ADDR": addrs[id+"HTTP"], "LOCKCLUSTER_RESP_ADDR": addrs[id+"RESP"],
			"LOCKCLUSTER_INITIAL_CLUSTER": strings.Join(raft, ","), "LOCKCLUSTER_INSECURE": "true",
		}
	}
	r.vars = map[string]string{
		"LOCKCLUSTER_ENDPOINTS": strings.Join(grpc, ","), "NODE_FILE": "", "ATLANTIS_DB": file,
		"DOOR": "redis://" + addrs["n2RESP"], "API": "http://" + addrs["n1HTTP"], "ATLANTIS_REDIS": "redis://" + testutil.FreeAddr(t) + "/0",
	}
	r.setAsTold(t, blocks)
	if chapter == "R" {
		r.startRedis(t)
	} else {
		r.startAtlantis(t)
	}
	r.serveSystemctl(t)
	return r
}

// setAsTold makes sure that the reader has set what the document says, and
// writes the nodes' files.
func (r *reader) setAsTold(t *testing.T, blocks []runbookBlock) {
	t.Helper()
	told := map[string]bool{}
	for _, b := range blocks {
		if b.kind != "set" {
			continue
		}
		for _, m := range regexp.MustCompile(`(?m)^(?:export )?([A-Z_0-9]+)=`).FindAllStringSubmatch(b.script, -1) {
			told[m[1]] = true
		}
	}
	set := map[string]bool{}
	for name := range r.vars {
		set[name] = true
	}
	for id, values := range r.perNode {
		var lines []string
		for name, value := range values {
			set[name] = true
			lines = append(lines, name+"="+value+"\n")
		}
		if err := os.MkdirAll(filepath.Join(r.dir, id), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.nodeFile(id), []byte(strings.Join(lines, "")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !maps.Equal(told, set) {
		t.Fatalf("the document tells its reader to set %q, the test sets %q", slices.Sorted(maps.Keys(told)), slices.Sorted(maps.Keys(set)))
	}
}

func (r *reader) nodeFile(id string) string { return filepath.Join(r.dir, id, "node.env") }

// execute runs a block and compares what it prints.
func (r *reader) execute(t *testing.T, b runbookBlock) {
	t.Helper()
	nodes := b.nodes
	if len(nodes) == 0 {
		nodes = []string{""}
	}
	for _, id := range nodes {
		ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
		cmd := exec.CommandContext(ctx, "bash", "-e", "-u", "-o", "pipefail", "-c", b.script)
		cmd.Dir, cmd.WaitDelay = filepath.Join(r.dir, "work"), time.Second
		cmd.Env = []string{"PATH=" + r.path, "HOME=" + r.dir, "NODE=" + id}
		for name, value := range r.vars {
			if name == "NODE_FILE" && id != "" {
				value = r.nodeFile(id)
			}
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		start := time.Now()
		out, err := cmd.CombinedOutput()
		cancel()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatalf("line %d: %v", b.line, err)
		}
		took := time.Since(start).Round(time.Millisecond)
		if code := cmd.ProcessState.ExitCode(); code != b.code {
			t.Errorf("%s:%d: exit code %d, want %d\n%s\nprinted:\n%s\n%s", runbook, b.line, code, b.code, b.script, out, r.logs(t))
		}
		if b.output != nil && !printedAsIn(*b.output, string(out)) {
			t.Errorf("%s:%d:\n%s\nprinted:\n%s\nthe document shows:\n%s", runbook, b.line, b.script, out, *b.output)
		}
		t.Logf("%s:%d %s %s\n%s%s", runbook, b.line, id, took, b.script, out)
	}
}

// logs are the last lines that the nodes have logged.
func (r *reader) logs(t *testing.T) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out strings.Builder
	for id := range r.nodes {
		log, err := os.ReadFile(filepath.Join(r.dir, id, "log"))
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(&out, "the log of %s ends with:\n%s\n", id, log[max(0, len(log)-2000):])
	}
	return out.String()
}

// serveSystemctl puts a systemctl on the reader's path: the test starts and
// stops the processes, so that none is left behind.
func (r *reader) serveSystemctl(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	script := "#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/" + port + "\necho \"$1 $2 $NODE\" >&3\nread -r answer <&3\n[ -z \"$answer\" ] || { echo \"$answer\" >&2; exit 1; }\n"
	if err := os.WriteFile(filepath.Join(r.dir, "bin", "systemctl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			var verb, unit, node string
			_, _ = fmt.Fscanln(c, &verb, &unit, &node) // the node is empty where there is none
			answer := ""
			if err := r.systemctl(verb, unit, node); err != nil {
				answer = err.Error()
			}
			_, _ = fmt.Fprintln(c, answer)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-served
		for id := range r.nodes {
			r.stopNode(id)
		}
		if r.atlantis != nil {
			_ = r.atlantis.Close()
		}
	})
}

// systemctl does what the command of that name would do.
func (r *reader) systemctl(verb, unit, node string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case unit == "lockcluster" && r.perNode[node] != nil:
		if verb == "stop" || verb == "restart" {
			r.stopNode(node)
		}
		if verb == "start" || verb == "restart" {
			return r.startNode(node)
		}
		return nil
	case unit == "atlantis" && verb == "stop" && r.atlantis != nil:
		db := r.atlantis
		r.atlantis = nil
		// A pull request is merged and another one plans at the last moment.
		err := db.Update(func(tx *bolt.Tx) error {
			locks := tx.Bucket([]byte("runLocks"))
			key, value := locks.Cursor().First()
			late := bytes.Replace(bytes.Clone(value), []byte(`"Path":"."`), []byte(`"Path":"late"`), 1)
			return errors.Join(locks.Delete(key), locks.Put(bytes.Replace(key, []byte("/./"), []byte("/late/"), 1), late))
		})
		return errors.Join(err, db.Close())
	case unit == "atlantis": // with its flags for Redis: the document's own redis-cli asks as it would
		return nil
	}
	return fmt.Errorf("systemctl %s %s on %q: not known", verb, unit, node)
}

func (r *reader) startNode(id string) error {
	env, err := os.ReadFile(r.nodeFile(id))
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(r.dir, id, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(binary, "server")
	cmd.Env = append([]string{"PATH=" + r.path}, strings.Fields(string(env))...)
	cmd.Stdout, cmd.Stderr = log, log
	r.nodes[id] = cmd
	return cmd.Start()
}

func (r *reader) stopNode(id string) {
	cmd := r.nodes[id]
	if cmd == nil || cmd.ProcessState != nil {
		return
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(stopTimeout, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait()
}

// startAtlantis has the file open as an Atlantis has.
func (r *reader) startAtlantis(t *testing.T) {
	t.Helper()
	db, err := bolt.Open(r.vars["ATLANTIS_DB"], 0o600, &bolt.Options{Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	r.atlantis = db
}

// startRedis starts an Atlantis's Redis, with the locks of the file.
func (r *reader) startRedis(t *testing.T) {
	t.Helper()
	_, port, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(r.vars["ATLANTIS_REDIS"], "redis://"), "/0"), ":")
	server := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", r.dir)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	testutil.WaitFor(t, startTimeout, func() error {
		return exec.Command("redis-cli", "-p", port, "ping").Run()
	})
	db, err := bolt.Open(r.vars["ATLANTIS_DB"], 0o600, &bolt.Options{ReadOnly: true, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var commands bytes.Buffer // in Redis's own protocol
	err = db.View(func(tx *bolt.Tx) error {
		for bucket, key := range map[string]string{"runLocks": "pr/%s", "pulls": "%s", "globalLocks": "global/%s"} {
			b := tx.Bucket([]byte(bucket))
			if b == nil {
				return fmt.Errorf("no bucket %s", bucket)
			}
			if err := b.ForEach(func(k, v []byte) error {
				name := fmt.Sprintf(key, k)
				_, err := fmt.Fprintf(&commands, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(name), name, len(v), v)
				return err
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	load := exec.Command("redis-cli", "-p", port, "--pipe")
	load.Stdin = &commands
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	source, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(target, source); err != nil {
		t.Fatal(err)
	}
	if err := target.Close(); err != nil {
		t.Fatal(err)
	}
}
