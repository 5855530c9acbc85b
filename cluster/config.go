package cluster

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// The log stores of [Config.LogStore].
const (
	LogStoreWAL    = "wal"    // hashicorp/raft-wal
	LogStoreBoltDB = "boltdb" // hashicorp/raft-boltdb/v2
)

// nodeIDSizeMax bounds a node id; ids appear in metrics and in every log line.
const nodeIDSizeMax = 64

// Member is a node as the configuration of the cluster names it.
type Member struct {
	ID       string
	RaftAddr string // host:port that the other nodes dial
}

// Config is what a node needs to know. Zero durations and counts take the
// defaults written beside them.
type Config struct {
	NodeID  string // names the node for all time; never used for a second disk
	DataDir string // made with mode 0700 if it is not there

	RaftAddr string // host:port that other nodes dial
	RaftBind string // host:port to listen on; default RaftAddr
	GRPCAddr string // published to the other nodes: where Peers reaches this one
	HTTPAddr string // published
	RESPAddr string // published

	// InitialCluster is the same list on every node of a new cluster. It is used
	// once, when the data directory is empty.
	InitialCluster []Member
	// Join holds gRPC endpoints of a running cluster that a new node asks to be
	// added. Exactly one of InitialCluster and Join is needed for an empty data
	// directory.
	Join []string

	LogStore string // LogStoreWAL (default) or LogStoreBoltDB
	// NoEarlySend makes the leader send every entry only when it is on its own
	// disk, as raft does (docs/adr/0008).
	NoEarlySend bool

	HeartbeatTimeout time.Duration // 500 ms
	ElectionTimeout  time.Duration // 500 ms
	LeaderLease      time.Duration // 250 ms

	// SnapshotThreshold is the number of log entries after which a snapshot is
	// taken (8192), SnapshotInterval how often that is looked at (30 s).
	SnapshotThreshold uint64
	SnapshotInterval  time.Duration
	// SnapshotBytes is the size the log may grow between two snapshots (256 MiB);
	// it is raised to four times the last snapshot's size.
	SnapshotBytes uint64

	// DiskStallTimeout is how long one disk operation may take before the node
	// stops itself (5 s).
	DiskStallTimeout time.Duration
	// RequestTimeout bounds a call whose context has no deadline (10 s).
	RequestTimeout time.Duration
	// CheckpointInterval and CheckpointEntries say how often the nodes compare
	// their state (60 s, 1000 entries).
	CheckpointInterval time.Duration
	CheckpointEntries  uint64

	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // nil: no metrics
	Version    string                // published
}

// snapshotsKept is how many snapshots stay on disk, so that one that turns out
// corrupt can be passed over (reliability.md C5).
const snapshotsKept = 3

// featureLevel is the highest level of log commands this build understands.
// 1: the first release.
const featureLevel = 1

func (c Config) withDefaults() Config {
	c.RaftBind = cmp.Or(c.RaftBind, c.RaftAddr)
	c.LogStore = cmp.Or(c.LogStore, LogStoreWAL)
	c.HeartbeatTimeout = cmp.Or(c.HeartbeatTimeout, 500*time.Millisecond)
	c.ElectionTimeout = cmp.Or(c.ElectionTimeout, 500*time.Millisecond)
	c.LeaderLease = cmp.Or(c.LeaderLease, 250*time.Millisecond)
	c.SnapshotThreshold = cmp.Or(c.SnapshotThreshold, 8192)
	c.SnapshotInterval = cmp.Or(c.SnapshotInterval, 30*time.Second)
	c.SnapshotBytes = cmp.Or(c.SnapshotBytes, 256<<20)
	c.DiskStallTimeout = cmp.Or(c.DiskStallTimeout, 5*time.Second)
	c.RequestTimeout = cmp.Or(c.RequestTimeout, 10*time.Second)
	c.CheckpointInterval = cmp.Or(c.CheckpointInterval, time.Minute)
	c.CheckpointEntries = cmp.Or(c.CheckpointEntries, 1000)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports the first thing in c that cannot work, and what to change.
// It applies the defaults before it looks.
func (c Config) Validate() error {
	c = c.withDefaults()
	if err := validateNodeID(c.NodeID); err != nil {
		return err
	}
	if c.DataDir == "" {
		return fmt.Errorf("data directory is not set: give --data-dir")
	}
	for _, a := range []struct{ what, addr string }{{"raft address", c.RaftAddr}, {"raft bind address", c.RaftBind}} {
		if err := validateHostPort(a.addr); err != nil {
			return fmt.Errorf("%s: %w", a.what, err)
		}
	}
	if host, _, _ := net.SplitHostPort(c.RaftAddr); host == "" || host == "0.0.0.0" || host == "::" {
		return fmt.Errorf("raft address %q: other nodes cannot dial it, give a host name or address of this machine", c.RaftAddr)
	}
	if c.LogStore != LogStoreWAL && c.LogStore != LogStoreBoltDB {
		return fmt.Errorf("log store %q: use %q or %q", c.LogStore, LogStoreWAL, LogStoreBoltDB)
	}
	if len(c.InitialCluster) > 0 && len(c.Join) > 0 {
		return fmt.Errorf("initial cluster and join are both set: a node either founds a cluster or joins one")
	}
	if err := c.validateInitialCluster(); err != nil {
		return err
	}
	return c.validateTimes()
}

func (c Config) validateTimes() error {
	switch {
	case c.HeartbeatTimeout < 20*time.Millisecond:
		return fmt.Errorf("heartbeat timeout %s: less than 20ms makes leaders change for nothing", c.HeartbeatTimeout)
	case c.ElectionTimeout < c.HeartbeatTimeout:
		return fmt.Errorf("election timeout %s is shorter than the heartbeat timeout %s", c.ElectionTimeout, c.HeartbeatTimeout)
	case c.LeaderLease > c.HeartbeatTimeout:
		return fmt.Errorf("leader lease %s is longer than the heartbeat timeout %s", c.LeaderLease, c.HeartbeatTimeout)
	case c.LeaderLease < 10*time.Millisecond:
		return fmt.Errorf("leader lease %s: less than 10ms makes leaders step down for nothing", c.LeaderLease)
	case c.DiskStallTimeout < c.ElectionTimeout:
		return fmt.Errorf("disk stall timeout %s is shorter than the election timeout %s", c.DiskStallTimeout, c.ElectionTimeout)
	case c.SnapshotThreshold < 8:
		return fmt.Errorf("snapshot threshold %d: at least 8 entries", c.SnapshotThreshold)
	}
	return nil
}

func (c Config) validateInitialCluster() error {
	if len(c.InitialCluster) == 0 {
		return nil
	}
	ids, addrs := map[string]bool{}, map[string]bool{}
	self := false
	for _, m := range c.InitialCluster {
		if err := validateNodeID(m.ID); err != nil {
			return fmt.Errorf("initial cluster: %w", err)
		}
		if err := validateHostPort(m.RaftAddr); err != nil {
			return fmt.Errorf("initial cluster: node %s: %w", m.ID, err)
		}
		if ids[m.ID] {
			return fmt.Errorf("initial cluster: node id %s appears twice", m.ID)
		}
		if addrs[m.RaftAddr] {
			return fmt.Errorf("initial cluster: address %s appears twice", m.RaftAddr)
		}
		ids[m.ID], addrs[m.RaftAddr] = true, true
		if m.ID == c.NodeID {
			self = true
			if m.RaftAddr != c.RaftAddr {
				return fmt.Errorf("initial cluster names node %s at %s, but its raft address is %s: make them equal", m.ID, m.RaftAddr, c.RaftAddr)
			}
		}
	}
	if !self {
		return fmt.Errorf("initial cluster does not name this node, %s: add it, or use join to enter a running cluster", c.NodeID)
	}
	return nil
}

func validateNodeID(id string) error {
	if id == "" || len(id) > nodeIDSizeMax {
		return fmt.Errorf("node id %q: 1 to %d characters are needed", id, nodeIDSizeMax)
	}
	for _, r := range id {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
		default:
			return fmt.Errorf("node id %q: only letters, digits, '-', '_' and '.' are allowed", id)
		}
	}
	return nil
}

func validateHostPort(addr string) error {
	if addr == "" {
		return fmt.Errorf("no address: want host:port")
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		return fmt.Errorf("address %q: want host:port", addr)
	}
	if n, err := strconv.Atoi(port); err == nil && (n < 0 || n > math.MaxUint16) {
		return fmt.Errorf("address %q: a port is at most %d", addr, math.MaxUint16)
	}
	return nil
}

// ParseInitialCluster reads "n1=host:port,n2=host:port".
func ParseInitialCluster(s string) ([]Member, error) {
	var members []Member
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		id, addr, ok := strings.Cut(part, "=")
		if !ok || id == "" || addr == "" {
			return nil, fmt.Errorf("initial cluster: %q: want id=host:port", part)
		}
		members = append(members, Member{ID: id, RaftAddr: addr})
	}
	return members, nil
}

// clusterID is the identity of a cluster that was founded with this list: the
// nodes agree on it without a word, because the list is the same on each.
func clusterID(initial []Member) string {
	sorted := slices.SortedFunc(slices.Values(initial), func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	h := sha256.New()
	for _, m := range sorted {
		fmt.Fprintf(h, "%q=%q\n", m.ID, m.RaftAddr)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// raftConfig translates c for the library.
func (c Config) raftConfig() *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(c.NodeID)
	rc.HeartbeatTimeout = c.HeartbeatTimeout
	rc.ElectionTimeout = c.ElectionTimeout
	rc.LeaderLeaseTimeout = c.LeaderLease
	rc.SnapshotThreshold = c.SnapshotThreshold
	rc.SnapshotInterval = c.SnapshotInterval
	// The log must reach back to the oldest snapshot that may have to be used.
	rc.TrailingLogs = c.SnapshotThreshold*(snapshotsKept-1) + c.SnapshotThreshold/2
	rc.ShutdownOnRemove = true
	rc.NoLegacyTelemetry = true
	rc.Logger = newRaftLogger(c.Logger)
	return rc
}
