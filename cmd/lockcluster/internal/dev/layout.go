package dev

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/lockcluster/lockcluster/cluster"
)

// Options say what cluster to run.
type Options struct {
	Executable string // of lockcluster
	Nodes      int
	DataDir    string // empty: a temporary one, removed at the end
	BasePort   int
	LogStore   string
	// LegacyBoltDB is an Atlantis's own file, which the first node serves as the
	// legacy system; empty: none.
	LegacyBoltDB string
	Environ      []string // as os.Environ gives it
}

// Limits of [Options].
const (
	nodesMax     = 9
	basePortMin  = 1024
	basePortMax  = 65535 - 300 - nodesMax
	clusterFile  = "dev.json"
	lockFileName = "dev.lock"
	nodeLockFile = "lock" // a running node holds it
)

// Validate reports the first option that cannot work.
func (o Options) Validate() error {
	switch {
	case o.Nodes < 1 || o.Nodes > nodesMax:
		return fmt.Errorf("--nodes %d: 1 to %d nodes are possible, 3 or 5 are sensible", o.Nodes, nodesMax)
	case o.BasePort < basePortMin || o.BasePort > basePortMax:
		return fmt.Errorf("--base-port %d: use %d to %d", o.BasePort, basePortMin, basePortMax)
	case o.LogStore != cluster.LogStoreWAL && o.LogStore != cluster.LogStoreBoltDB:
		return fmt.Errorf("--log-store %q: use %q or %q", o.LogStore, cluster.LogStoreWAL, cluster.LogStoreBoltDB)
	}
	return o.validateLegacy()
}

// validateLegacy checks the place of the legacy file, not what is in it.
func (o Options) validateLegacy() error {
	if o.LegacyBoltDB == "" {
		return nil
	}
	if info, err := os.Stat(filepath.Dir(o.LegacyBoltDB)); err != nil || !info.IsDir() {
		return fmt.Errorf("--legacy-boltdb %s: there is no directory %s", o.LegacyBoltDB, filepath.Dir(o.LegacyBoltDB))
	}
	if info, err := os.Stat(o.LegacyBoltDB); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("--legacy-boltdb %s: want an Atlantis's file, atlantis.db, and this is none", o.LegacyBoltDB)
	}
	return nil
}

// Node is one node's place: its addresses and files.
type Node struct {
	ID       string `json:"id"`
	PID      int    `json:"pid,omitempty"`
	DataDir  string `json:"data_dir"`
	LogFile  string `json:"log"`
	RaftAddr string `json:"raft_address"`
	GRPCAddr string `json:"grpc_address"`
	HTTPAddr string `json:"http_address"`
	RESPAddr string `json:"resp_address"`
}

// GRPCAddrs returns the gRPC addresses of n nodes, which is where client
// commands look for a cluster.
func GRPCAddrs(basePort, n int) []string {
	var addrs []string
	for i := 1; i <= n; i++ {
		addrs = append(addrs, local(basePort+100+i))
	}
	return addrs
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// layout returns the places of all nodes below dir.
func layout(o Options, dir string) []Node {
	var nodes []Node
	for i := 1; i <= o.Nodes; i++ {
		id := "n" + strconv.Itoa(i)
		home := filepath.Join(dir, id)
		nodes = append(nodes, Node{
			ID: id, DataDir: home, LogFile: filepath.Join(home, "log"),
			RaftAddr: local(o.BasePort + i), GRPCAddr: local(o.BasePort + 100 + i),
			HTTPAddr: local(o.BasePort + 200 + i), RESPAddr: local(o.BasePort + 300 + i),
		})
	}
	return nodes
}

func (n *Node) pidFile() string { return filepath.Join(n.DataDir, "pid") }

// args are the arguments of the node's process.
func (n *Node) args(o Options, all []Node) []string {
	var members []string
	for _, m := range all {
		members = append(members, m.ID+"="+m.RaftAddr)
	}
	args := []string{
		"server", "--node-id", n.ID, "--data-dir", n.DataDir, "--initial-cluster", strings.Join(members, ","),
		"--raft-addr", n.RaftAddr, "--grpc-addr", n.GRPCAddr, "--http-addr", n.HTTPAddr, "--resp-addr", n.RESPAddr,
		"--log-store", o.LogStore,
	}
	if o.LegacyBoltDB != "" && n.ID == all[0].ID {
		args = append(args, "--legacy-boltdb", o.LegacyBoltDB)
	}
	return args
}

// claim locks dir against a second dev cluster. The kernel lets go of the lock
// when this process ends, however it ends.
func claim(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFileName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("data directory %s: another \"lockcluster dev\" uses it; stop that one, or give another --data-dir", dir)
	}
	return f, nil
}

// lockNode takes the lock of a node's directory; nil if no node was ever there.
// It reports false if a running node has it.
func lockNode(dir string) (lock *os.File, free bool) {
	f, err := os.OpenFile(filepath.Join(dir, nodeLockFile), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true
	}
	if err != nil {
		return nil, false // not to be told, so not to be touched
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, false
	}
	return f, true
}

// held reports whether a node runs in dir.
func held(dir string) bool {
	lock, free := lockNode(dir)
	if lock != nil {
		_ = lock.Close()
	}
	return !free
}

// shape is what must be equal at every start on one data directory: the nodes'
// addresses are in their data.
type shape struct {
	Nodes    int    `json:"nodes"`
	BasePort int    `json:"base_port"`
	LogStore string `json:"log_store"`
}

// checkShape refuses options that the data in dir was not made with, and notes
// those of a first start.
func checkShape(o Options, dir string) error {
	want := shape{o.Nodes, o.BasePort, o.LogStore}
	path := filepath.Join(dir, clusterFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if b, err = json.Marshal(want); err != nil {
			return fmt.Errorf("encode %s: %w", clusterFile, err)
		}
		if err := os.WriteFile(path, append(b, '\n'), 0o600); err != nil {
			return fmt.Errorf("write data directory: %w", err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read data directory: %w", err)
	}
	var had shape
	if err := json.Unmarshal(b, &had); err != nil {
		return fmt.Errorf("data directory %s: %s is damaged; give another --data-dir", dir, clusterFile)
	}
	if had != want {
		return fmt.Errorf("data directory %s was made with --nodes %d --base-port %d --log-store %s: start with these, or give another --data-dir",
			dir, had.Nodes, had.BasePort, had.LogStore)
	}
	return nil
}

// checkDir refuses a directory with other people's files.
func checkDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("data directory %s cannot be read: %w; give another --data-dir", dir, err)
	}
	for _, e := range entries {
		if e.Name() == clusterFile {
			return nil
		}
	}
	for _, e := range entries {
		if e.Name() != lockFileName && e.Name() != "lost+found" {
			return fmt.Errorf("data directory %s holds %q but no %s: it is not of \"lockcluster dev\"; give another --data-dir, or an empty one",
				dir, e.Name(), clusterFile)
		}
	}
	return nil
}

// checkRunning refuses to start where a node of an earlier run lives on.
func checkRunning(nodes []Node) error {
	for _, n := range nodes {
		b, err := os.ReadFile(n.pidFile())
		if err != nil {
			continue // the first start, or the node's own check will tell
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil || pid <= 0 {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if err == nil && strings.Contains(string(cmdline), "\x00--data-dir\x00"+n.DataDir+"\x00") {
			return fmt.Errorf("node %s of an earlier run is still there as process %d; press Ctrl-C where \"lockcluster dev\" runs, or if that is gone: kill %[2]d", n.ID, pid)
		}
	}
	return nil
}

// checkPorts refuses to start where another program listens.
func checkPorts(nodes []Node) error {
	for _, n := range nodes {
		for _, door := range []struct{ name, addr string }{
			{"raft", n.RaftAddr}, {"gRPC", n.GRPCAddr}, {"HTTP", n.HTTPAddr}, {"Redis", n.RESPAddr},
		} {
			l, err := net.Listen("tcp", door.addr)
			if err != nil {
				return fmt.Errorf("%s, the %s port of node %s, is not free: %w; stop what uses it, or give another --base-port",
					door.addr, door.name, n.ID, errors.Unwrap(err))
			}
			_ = l.Close()
		}
	}
	return nil
}
