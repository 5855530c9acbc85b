package cluster_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/cluster/clustertest"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// Three nodes over TCP and on disk, in real time: requests, a crash, a restart,
// a graceful stop; nothing is left behind.
func TestOverTCP(t *testing.T) {
	for _, store := range []string{cluster.LogStoreWAL, cluster.LogStoreBoltDB} {
		t.Run(store, func(t *testing.T) {
			o := onDisk(store, nil)
			o.TCP = true
			c := clustertest.Start(t, o)
			defer c.Stop()
			for i, id := range c.Running() {
				mustDo(t, c, id, acquire("acme/app", i+1))
			}
			old := c.Leader()
			c.Crash(old)
			if res := mustDo(t, c, c.Leader(), acquire("acme/app", 7)); res.Status != lockcluster.StatusHeld {
				t.Errorf("after failover: %v", res.Status)
			}
			c.Up(old)
			if l := mustHolder(t, c, old, acquire("acme/app", 1)); l == nil || l.Owner.Pull != 1 {
				t.Errorf("after restart: %v", l)
			}
			leader := c.Leader()
			start := time.Now()
			c.Down(leader)
			mustDo(t, c, c.Leader(), acquire("acme/other", 1))
			t.Logf("graceful stop of the leader and the next write took %s", time.Since(start))
		})
	}
}

// A port in use fails the start with advice and leaves nothing running.
func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", testutil.FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().String()
	_, err = cluster.Open(cluster.Config{
		NodeID: "n1", DataDir: t.TempDir(), RaftAddr: addr, InitialCluster: []cluster.Member{{ID: "n1", RaftAddr: addr}},
	}, cluster.WithHalt(func(error) {}))
	if err == nil || !strings.Contains(err.Error(), "give another --raft-addr") {
		t.Errorf("got %v", err)
	}
}
