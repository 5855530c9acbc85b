package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// serverArguments are those of a node on free ports that founds a cluster of
// one.
func serverArguments(t *testing.T, dir string) []string {
	t.Helper()
	raft := testutil.FreeAddr(t)
	return []string{
		"server", "--node-id", "n1", "--data-dir", dir, "--raft-addr", raft, "--grpc-addr", testutil.FreeAddr(t),
		"--http-addr", testutil.FreeAddr(t), "--resp-addr", testutil.FreeAddr(t), "--initial-cluster", "n1=" + raft,
	}
}

// tree lists the files below dir with their contents, but for the lock file
// that marks a directory as in use.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "lock" {
			return err
		}
		b, err := os.ReadFile(path)
		lines = append(lines, path+"\n"+string(b))
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// A node that cannot start says why and what to do, leaves with exit code 1, or
// 2 for a wrong setting, and changes nothing on disk.
func TestServerRefusesToStart(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	write := func(dir, name, text string) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		prepare func(dir string)
		code    int // 1 if not given
		more    []string
		want    []string
	}{
		"raft port in use":       {more: []string{"--raft-addr", busy.Addr().String(), "--initial-cluster", "n1=" + busy.Addr().String()}, want: []string{"--raft-addr", "address already in use"}},
		"gRPC port in use":       {more: []string{"--grpc-addr", busy.Addr().String()}, want: []string{"--grpc-addr", "address already in use", "another address"}},
		"Redis port in use":      {more: []string{"--resp-addr", busy.Addr().String()}, want: []string{"--resp-addr", "address already in use"}},
		"address of nobody":      {more: []string{"--http-addr", "192.0.2.1:80", "--insecure"}, want: []string{"--http-addr", "give an address of this machine"}},
		"port that is none":      {code: 2, more: []string{"--http-addr", "127.0.0.1:99999"}, want: []string{"--http-addr", "at most 65535"}},
		"foreign directory":      {prepare: func(dir string) { write(dir, "photos", "x") }, want: []string{"photos", "--data-dir"}},
		"a file as directory":    {prepare: func(dir string) { write(filepath.Dir(dir), filepath.Base(dir), "x") }, want: []string{"is a file", "--data-dir"}},
		"directory nowhere":      {more: []string{"--data-dir", "/proc/nowhere"}, want: []string{"cannot be made", "another --data-dir"}},
		"wrong node id":          {prepare: func(dir string) { write(dir, "node.json", `{"format":1,"node_id":"n7","log_store":"wal"}`) }, want: []string{`"n7"`, "--node-id n7"}},
		"newer format":           {prepare: func(dir string) { write(dir, "node.json", `{"format":9,"node_id":"n1","log_store":"wal"}`) }, want: []string{"format 9", "newer build"}},
		"other log store":        {prepare: func(dir string) { write(dir, "node.json", `{"format":1,"node_id":"n1","log_store":"boltdb"}`) }, want: []string{"--log-store boltdb"}},
		"damaged stamp":          {prepare: func(dir string) { write(dir, "node.json", `{`) }, want: []string{"node.json is damaged"}},
		"neither found nor join": {code: 2, more: []string{"--initial-cluster", ""}, want: []string{"--initial-cluster or --join"}},
		"node not in the list":   {code: 2, more: []string{"--initial-cluster", "n2=127.0.0.1:1"}, want: []string{"does not name this node"}},
		"node twice in the list": {code: 2, more: []string{"--initial-cluster", "n2=127.0.0.1:1,n2=127.0.0.1:2"}, want: []string{"twice"}},
		"list that is none":      {code: 2, more: []string{"--initial-cluster", "n1"}, want: []string{"want id=host:port"}},
		"unknown log store":      {code: 2, more: []string{"--log-store", "paper"}, want: []string{`"paper"`, `"wal"`}},
		"no password file":       {code: 2, more: []string{"--resp-password-file", "/nowhere"}, want: []string{"--resp-password-file", "/nowhere"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "node")
			if c.prepare != nil {
				c.prepare(dir)
			}
			before := tree(t, filepath.Dir(dir))
			a := lockclusterCommand(t, append(serverArguments(t, dir), c.more...)...)
			if want := max(c.code, 1); a.code != want {
				t.Errorf("want exit code %d, got %s", want, a)
			}
			last := lastLine(a.stderr)
			if !strings.HasPrefix(last, "lockcluster: ") {
				t.Errorf("the last line is not the error: %s", a)
			}
			for _, part := range c.want {
				if !strings.Contains(last, part) {
					t.Errorf("the error does not say %q: %s", part, last)
				}
			}
			if after := tree(t, filepath.Dir(dir)); after != before {
				t.Errorf("the directory has changed from\n%s\nto\n%s", before, after)
			}
		})
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// A bad configuration file is refused by file, line and key.
func TestServerRefusesConfiguration(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "node.yaml")
	if err := os.WriteFile(file, []byte("node-id: n1\ndatadir: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lockclusterCommand(t, "server", "--config", file).want(t, 2, file+`:2: unknown key "datadir", did you mean "data-dir"?`)
	lockclusterCommand(t, "server", "--config", file+"x").want(t, 2, "no such file")
}

// dev says what is in its way.
func TestDevRefusesToStart(t *testing.T) {
	t.Parallel()
	base := freeBasePort(t, 3)
	dir := filepath.Join(t.TempDir(), "data")
	d := startDev(t, "--base-port", base, "--data-dir", dir)
	lockclusterCommand(t, "dev", "--base-port", base).want(t, 1, "is not free")
	lockclusterCommand(t, "dev", "--base-port", freeBasePort(t, 3), "--data-dir", dir).want(t, 1, "earlier run")
	d.interrupt(t)
	lockclusterCommand(t, "dev", "--base-port", base, "--data-dir", dir, "--nodes", "5").want(t, 1, "--nodes 3 --base-port "+base)
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "photos"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	lockclusterCommand(t, "dev", "--base-port", base, "--data-dir", foreign).want(t, 1, "photos")
}

// Import and snapshot commands refuse files that are something else, or
// damaged, without asking any cluster.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text := file("text", []byte("this is not a database\n"))
	empty := file("empty", nil)
	zeros := file("zeros", bytes.Repeat([]byte{0}, 64<<10))
	for _, path := range []string{text, empty, zeros} {
		lockclusterCommand(t, "import", "--dry-run", "--from", "boltdb:"+path).want(t, 1, "BoltDB")
		lockclusterCommand(t, "cluster", "snapshot", "inspect", path).want(t, 1, "is not a sound backup")
		lockclusterCommand(t, "cluster", "snapshot", "restore", "--yes", path).want(t, 1, "is not a sound backup")
	}
	lockclusterCommand(t, "import", "--dry-run", "--from", "boltdb:"+dir).want(t, 1, dir)
	lockclusterCommand(t, "cluster", "snapshot", "inspect", filepath.Join(dir, "nothing")).want(t, 1, "no such file")
}
