package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

func testConfig(dir string) Config {
	return Config{
		NodeID: "n1", DataDir: dir, RaftAddr: "n1:1", GRPCAddr: "n1",
		InitialCluster: []Member{{ID: "n1", RaftAddr: "n1:1"}},
	}
}

func openTestNode(cfg Config) (*Node, error) {
	_, trans := raft.NewInmemTransport(raft.ServerAddress(cfg.RaftAddr))
	return Open(cfg, WithTransport(trans), WithHalt(func(error) {}))
}

func mustOpenClose(t *testing.T, cfg Config) {
	t.Helper()
	n, err := openTestNode(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// listing is everything under dir, with content.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		b.WriteString(path + "=" + string(content) + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A data directory that is not this node's is refused with a text that says
// what to do, and is not changed.
func TestForeignDataDirIsRefused(t *testing.T) {
	write := func(name, content string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	used := func(t *testing.T, dir string) {
		mustOpenClose(t, testConfig(dir))
		if err := os.Remove(filepath.Join(dir, lockFile)); err != nil { // made anew by each start
			t.Fatal(err)
		}
	}
	cases := []struct {
		name    string
		prepare func(*testing.T, string)
		change  func(*Config)
		want    string
	}{
		{"other files", write("notes.txt", "mine"), func(*Config) {}, "not the data directory of a node"},
		{"stamp is no JSON", write(stampFile, "hello"), func(*Config) {}, "is damaged"},
		{"stamp is empty", write(stampFile, ""), func(*Config) {}, "is damaged"},
		{"newer format", write(stampFile, `{"format":99,"node_id":"n1","log_store":"wal"}`), func(*Config) {}, "start it with the newer build"},
		{"other node id", used, func(c *Config) { c.NodeID, c.InitialCluster[0].ID = "n7", "n7" }, "start it with --node-id n1"},
		{"other log store", used, func(c *Config) { c.LogStore = LogStoreBoltDB }, "start it with --log-store wal"},
		{"other cluster", used, func(c *Config) { c.InitialCluster = append(c.InitialCluster, Member{"n2", "n2:1"}) }, "belongs to another cluster"},
		{"nothing to found or join", func(*testing.T, string) {}, func(c *Config) { c.InitialCluster = nil }, "give --initial-cluster or --join"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			tc.prepare(t, dir)
			before := listing(t, dir)
			cfg := testConfig(dir)
			tc.change(&cfg)
			n, err := openTestNode(cfg)
			var refused *DataDirError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), dir) {
				if n != nil {
					_ = n.Close(context.Background())
				}
				t.Fatalf("got %v, want a refusal that says %q", err, tc.want)
			}
			_ = os.Remove(filepath.Join(dir, lockFile))
			if after := listing(t, dir); after != before {
				t.Errorf("the directory was changed:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

// Two processes never use one data directory.
func TestDataDirInUseIsRefused(t *testing.T) {
	dir := t.TempDir()
	n, err := openTestNode(testConfig(dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openTestNode(testConfig(dir)); err == nil || !strings.Contains(err.Error(), "another process uses it") {
		t.Errorf("second open: %v", err)
	}
	if err := n.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	mustOpenClose(t, testConfig(dir))
}

// A path that is a file, and a store that is no store, are refused with advice.
func TestDamagedDataDirIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openTestNode(testConfig(file)); err == nil || !strings.Contains(err.Error(), "data directory") {
		t.Errorf("a file as data directory: %v", err)
	}
	for name, damage := range map[string]func(dir string) error{
		"stable store": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, raftDir, voteFile), []byte(strings.Repeat("garbage ", 2000)), 0o600)
		},
		"all lost":     func(dir string) error { return os.RemoveAll(filepath.Join(dir, raftDir)) },
		"log lost":     func(dir string) error { return os.RemoveAll(filepath.Join(dir, raftDir, walDir)) },
		"vote lost":    func(dir string) error { return os.Remove(filepath.Join(dir, raftDir, voteFile)) },
		"vote emptied": func(dir string) error { return os.Truncate(filepath.Join(dir, raftDir, voteFile), 0) },
		"log emptied":  func(dir string) error { return os.Truncate(filepath.Join(dir, raftDir, walDir, walMetaFile), 0) },
		"log damaged": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, raftDir, walDir, walMetaFile), []byte(strings.Repeat("garbage ", 2000)), 0o600)
		},
		"one byte of the log": func(dir string) error {
			names, err := filepath.Glob(filepath.Join(dir, raftDir, walDir, "*.wal"))
			if err != nil || len(names) != 1 {
				return fmt.Errorf("segments %q, %w", names, err)
			}
			return changeByte(names[0], 100)
		},
		"one byte of the vote": func(dir string) error {
			return changeByte(filepath.Join(dir, raftDir, voteFile), boltPageHeader+boltSummed)
		},
	} {
		dir := t.TempDir()
		cfg := testConfig(dir)
		n, err := openTestNode(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.View(t.Context()); err != nil { // so that it has led
			t.Fatal(err)
		}
		if err := n.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := damage(dir); err != nil {
			t.Fatal(err)
		}
		if n, err := openTestNode(cfg); err == nil || !strings.Contains(err.Error(), "remove the node from the cluster") {
			if n != nil {
				_ = n.Close(context.Background())
			}
			t.Errorf("%s: %v", name, err)
		}
	}
}

func changeByte(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= 1
	_, err = f.WriteAt(b, at)
	return err
}

// The data directory and what is in it are for its owner only.
func TestDataDirIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	mustOpenClose(t, testConfig(dir))
	for _, path := range []string{dir, filepath.Join(dir, raftDir)} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if perm := info.Mode().Perm(); perm != 0o700 {
			t.Errorf("%s has mode %o", path, perm)
		}
	}
}
