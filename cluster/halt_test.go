package cluster_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/cluster/clustertest"
	"github.com/lockcluster/lockcluster/fsm"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// A node whose disk fails stops itself; the others go on.
func TestDiskErrorHaltsOnlyThatNode(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		leader := c.Leader()
		c.Disk(leader).FailWrites(errors.New("input/output error"))
		go c.Node(leader).Do(t.Context(), noID, acquire("acme/app", 1))
		if err := c.Halted(leader, 10*time.Second); !errors.Is(err, cluster.ErrStorage) {
			t.Fatalf("halted with %v", err)
		}
		start := time.Now()
		mustDo(t, c, c.Leader(), acquire("acme/other", 1))
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("writes were back after %s", d)
		}
		c.Disk(leader).FailWrites(nil)
		c.Up(leader)
		mustDo(t, c, leader, acquire("acme/third", 1))
	})
}

// A leader whose disk hangs stops itself after 5 seconds, although raft's
// heartbeats would go on for ever; the others go on.
func TestHangingDiskHaltsTheLeader(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		leader := c.Leader()
		release := c.Disk(leader).HangWrites()
		go c.Node(leader).Do(t.Context(), noID, acquire("acme/app", 1))
		start := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			time.Sleep(5100 * time.Millisecond)
			release() // so that the goroutine can end: the process would be gone
		}()
		err := c.Halted(leader, time.Minute)
		if !errors.Is(err, cluster.ErrStorage) || cluster.ExitCode(err) != cluster.ExitCodeStorage {
			t.Fatalf("halted with %v", err)
		}
		<-done
		mustDo(t, c, c.Leader(), acquire("acme/other", 1))
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("writes were back after %s", d)
		}
	})
}

// A node whose state differs from the majority's stops itself within two
// comparisons, and only that node.
func TestDivergedNodeHalts(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		mustDo(t, c, "n1", acquire("acme/app", 1))
		follower := c.Followers()[0]
		c.Node(follower).Damage()
		mustDo(t, c, "n1", acquire("acme/other", 1))
		if err := c.Halted(follower, 3*time.Minute); !errors.Is(err, cluster.ErrDiverged) {
			t.Fatalf("halted with %v", err)
		}
		for _, id := range c.Running() {
			if err := c.Halted(id, time.Second); err != nil {
				t.Errorf("%s halted too: %v", id, err)
			}
		}
	})
}

// Two nodes that differ, with no majority to say who is right, both stop.
func TestDivergenceWithoutMajorityHaltsBoth(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		followers := c.Followers()
		c.Crash(followers[0])
		c.Node(followers[1]).Damage()
		leader := c.Leader()
		mustDo(t, c, leader, acquire("acme/other", 1))
		for _, id := range []string{followers[1], leader} {
			if err := c.Halted(id, 3*time.Minute); !errors.Is(err, cluster.ErrDiverged) {
				t.Errorf("%s halted with %v", id, err)
			}
		}
	})
}

// Equal nodes compare for hours and days and never halt.
func TestHealthyClusterNeverHalts(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		for i := range 200 {
			mustDo(t, c, c.Running()[i%3], acquire("acme/app", i+1))
			time.Sleep(13 * time.Second)
		}
		for _, id := range c.Running() {
			if err := c.Halted(id, time.Second); err != nil {
				t.Errorf("%s halted: %v", id, err)
			}
		}
		if c.Network.Calls("Checkpoint") == 0 {
			t.Error("no state was compared")
		}
	})
}

// An entry that cannot be read stops every node that comes to it: the leader,
// and the next one; the last has no majority to commit it. None skips it.
func TestUnreadableEntryHalts(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		leader := c.Leader()
		ids := c.Running()
		go c.Node(leader).ApplyRaw([]byte("not an entry"))
		halted := 0
		for _, id := range ids {
			switch err := c.Halted(id, 30*time.Second); {
			case errors.Is(err, cluster.ErrDiverged):
				halted++
			case err != nil:
				t.Errorf("%s halted with %v", id, err)
			case c.Node(id).IsLeader():
				t.Errorf("%s goes on", id)
			}
		}
		if halted < 2 {
			t.Errorf("%d nodes halted", halted)
		}
	})
}

// fakeLeader speaks raft to a node as a leader would.
type fakeLeader struct {
	t     *testing.T
	trans *raft.InmemTransport
	id    string
}

func (f fakeLeader) header() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: 3, ID: []byte(f.id), Addr: []byte(f.id + ":1")}
}

func (f fakeLeader) appendEntries(term, prevIndex, prevTerm uint64, entries ...*raft.Log) bool {
	f.t.Helper()
	var resp raft.AppendEntriesResponse
	err := f.trans.AppendEntries("n1", "n1:1", &raft.AppendEntriesRequest{
		RPCHeader: f.header(), Term: term, PrevLogEntry: prevIndex, PrevLogTerm: prevTerm, Entries: entries,
	}, &resp)
	if err != nil {
		f.t.Logf("append entries: %v", err)
	}
	return err == nil && resp.Success
}

func (f fakeLeader) installSnapshot(term, index, indexTerm uint64) bool {
	f.t.Helper()
	mem := state.NewMem()
	mem.Update(index, indexTerm, func(state.Tx) {})
	var b bytes.Buffer
	b.Write(cluster.SnapshotHeader(index, 1))
	if err := fsm.WriteSnapshot(&b, mem.View()); err != nil {
		f.t.Error(err)
		return false
	}
	var resp raft.InstallSnapshotResponse
	err := f.trans.InstallSnapshot("n1", "n1:1", &raft.InstallSnapshotRequest{
		RPCHeader: f.header(), SnapshotVersion: 1, Term: term, LastLogIndex: index, LastLogTerm: indexTerm, Size: int64(b.Len()),
		Configuration: raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{
			{ID: "n1", Address: "n1:1"}, {ID: "n9", Address: "n9:1"}, {ID: "n8", Address: "n8:1"},
		}}), ConfigurationIndex: 1,
	}, &resp, &b)
	return err == nil && resp.Success
}

// A snapshot that the log of a follower disagrees with empties the log and asks
// for a restart; then the node takes what comes after the snapshot. Without
// that raft installs the snapshot for ever (hashicorp/raft#697).
func TestConflictingSnapshotPurgesTheLog(t *testing.T) {
	for name, o := range map[string]clustertest.Options{
		"in memory": {},
		"wal":       {OnDisk: true, Configure: func(c *cluster.Config) { c.LogStore = cluster.LogStoreWAL }},
		"boltdb":    {OnDisk: true, Configure: func(c *cluster.Config) { c.LogStore = cluster.LogStoreBoltDB }},
	} {
		t.Run(name, func(t *testing.T) {
			o.Nodes = -1
			inBubble(t, o, func(t *testing.T, c *clustertest.Cluster) {
				c.Found("n1", "n8", "n9")
				c.Up("n1")
				f := fakeLeader{t, c.Network.Stranger("n9"), "n9"}
				var tail []*raft.Log
				for i := uint64(2); i <= 20; i++ {
					tail = append(tail, &raft.Log{Index: i, Term: 2, Type: raft.LogNoop})
				}
				if !f.appendEntries(2, 1, 1, tail...) {
					t.Fatal("the tail was not accepted")
				}
				go f.installSnapshot(3, 15, 3)
				if err := c.Halted("n1", time.Minute); !errors.Is(err, cluster.ErrRestart) {
					t.Fatalf("halted with %v", err)
				}
				c.Up("n1")
				f.trans = c.Network.Stranger("n9")
				if !f.appendEntries(3, 15, 3, &raft.Log{Index: 16, Term: 3, Type: raft.LogNoop}) {
					t.Error("the entry after the snapshot was not accepted")
				}
				if last := c.Node("n1").LastIndex(); last != 16 {
					t.Errorf("the log ends at %d", last)
				}
			})
		})
	}
}

// A snapshot that the log agrees with costs no entry that the node has
// acknowledged: raft would empty a monotonic store, so that node starts again.
func TestAgreeingSnapshotKeepsTheLog(t *testing.T) {
	bothStores(t, nil, func(t *testing.T, c *clustertest.Cluster) {
		c.Crash("n2")
		c.Crash("n3")
		leader := fakeLeader{t, c.Network.Stranger("n3"), "n3"}
		c.Eventually("n1 follows nobody", func() bool { id, _ := c.Node("n1").Leader(); return id == "" })
		last := c.Node("n1").LastIndex()
		var tail []*raft.Log
		for i := last + 1; i <= last+9; i++ {
			tail = append(tail, &raft.Log{Index: i, Term: 90, Type: raft.LogNoop})
		}
		if !leader.appendEntries(90, last, c.Node("n1").TermOf(last), tail...) {
			t.Fatal("the tail was not accepted")
		}
		go leader.installSnapshot(91, last+4, 90)
		if err := c.Halted("n1", 5*time.Second); err != nil {
			if !errors.Is(err, cluster.ErrRestart) {
				t.Fatalf("halted with %v", err)
			}
			c.Up("n1")
		}
		if got := c.Node("n1").LastIndex(); got != last+9 {
			t.Errorf("the log ends at %d, %d were acknowledged", got, last+9)
		}
		leader.trans = c.Network.Stranger("n3")
		if !leader.appendEntries(91, last+9, 90, &raft.Log{Index: last + 10, Term: 91, Type: raft.LogNoop}) {
			t.Error("the next entry was not accepted")
		}
	})
}
