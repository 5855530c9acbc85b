package cluster

import (
	"strings"
	"testing"
	"time"
)

// Each setting that cannot work is refused with a text that names it.
func TestConfigValidate(t *testing.T) {
	cases := []struct {
		want   string // empty: valid
		change func(*Config)
	}{
		{"", func(*Config) {}},
		{"", func(c *Config) { c.InitialCluster, c.Join = nil, []string{"a:1"} }},
		{"node id", func(c *Config) { c.NodeID = "a b" }},
		{"node id", func(c *Config) { c.NodeID = "" }},
		{"data directory", func(c *Config) { c.DataDir = "" }},
		{"raft address", func(c *Config) { c.RaftAddr = "n1" }},
		{"cannot dial it", func(c *Config) { c.RaftAddr, c.InitialCluster = ":7", nil }},
		{"cannot dial it", func(c *Config) { c.RaftAddr, c.InitialCluster = "0.0.0.0:7", nil }},
		{"a port is at most 65535", func(c *Config) { c.RaftAddr, c.InitialCluster = "n1:99999", nil }},
		{"log store", func(c *Config) { c.LogStore = "paper" }},
		{"either founds", func(c *Config) { c.Join = []string{"a:1"} }},
		{"does not name this node", func(c *Config) { c.InitialCluster[0].ID = "n2" }},
		{"appears twice", func(c *Config) { c.InitialCluster = append(c.InitialCluster, Member{"n1", "x:1"}) }},
		{"appears twice", func(c *Config) { c.InitialCluster = append(c.InitialCluster, Member{"n2", "n1:1"}) }},
		{"make them equal", func(c *Config) { c.RaftAddr = "other:1" }},
		{"heartbeat timeout", func(c *Config) { c.HeartbeatTimeout = time.Millisecond }},
		{"election timeout", func(c *Config) { c.ElectionTimeout = 100 * time.Millisecond }},
		{"leader lease", func(c *Config) { c.LeaderLease = time.Minute }},
		{"disk stall timeout", func(c *Config) { c.DiskStallTimeout = 100 * time.Millisecond }},
		{"snapshot threshold", func(c *Config) { c.SnapshotThreshold = 1 }},
	}
	for _, tc := range cases {
		cfg := testConfig("/data")
		tc.change(&cfg)
		err := cfg.Validate()
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("valid configuration refused: %v", err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("got %v, want a text with %q", err, tc.want)
		}
	}
}

// The log reaches back to the oldest snapshot that is kept (C5), and the
// library finds the configuration valid.
func TestRaftConfig(t *testing.T) {
	rc := testConfig("/data").withDefaults().raftConfig()
	if rc.TrailingLogs <= rc.SnapshotThreshold*(snapshotsKept-1) {
		t.Errorf("%d entries trail a snapshot, threshold %d, %d snapshots kept", rc.TrailingLogs, rc.SnapshotThreshold, snapshotsKept)
	}
	if rc.PreVoteDisabled || rc.BatchApplyCh || rc.NoSnapshotRestoreOnStart || !rc.ShutdownOnRemove {
		t.Errorf("raft is not set up as reliability demands: %+v", rc)
	}
}

// The list of founders is read as typed, and its order does not matter for the
// identity of the cluster.
func TestParseInitialCluster(t *testing.T) {
	a, err := ParseInitialCluster("n1=h1:1, n2=h2:2,")
	if err != nil || len(a) != 2 || a[1] != (Member{"n2", "h2:2"}) {
		t.Fatalf("got %v, %v", a, err)
	}
	b, _ := ParseInitialCluster("n2=h2:2,n1=h1:1")
	if clusterID(a) != clusterID(b) || clusterID(a) == clusterID(a[:1]) {
		t.Error("the cluster's identity depends on the order, or not on the members")
	}
	if _, err := ParseInitialCluster("n1:h1"); err == nil {
		t.Error("a member without '=' was accepted")
	}
}
