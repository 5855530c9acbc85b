package rpc_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/internal/testutil"
	"github.com/lockcluster/lockcluster/rpc"
)

// Nodes get from each other exactly what the other's methods return, errors
// included, and nothing is followed or repeated.
func TestPeers(t *testing.T) {
	s := newSystem(t, 2)
	peers := rpc.NewPeers(nil)
	defer peers.Close()
	ctx := t.Context()
	leader, follower := s.endpoints()[0], s.endpoints()[1]
	batch := [][]byte{[]byte("a"), {}, []byte("\x00\xff")}
	got, err := peers.Propose(ctx, leader, batch)
	if err != nil || !slices.EqualFunc(got, batch, func(a, b []byte) bool { return string(a) == string(b) }) {
		t.Fatalf("%q, %v", got, err)
	}
	_, err = peers.Propose(ctx, follower, batch)
	var notLeader *lockcluster.NotLeaderError
	if !errors.As(err, &notLeader) || notLeader.LeaderID != "n1" || notLeader.LeaderAddr != leader {
		t.Fatalf("got %v", err)
	}
	if index, err := peers.ReadIndex(ctx, leader, "n22"); err != nil || index != 3 {
		t.Fatalf("%d, %v", index, err)
	}
	if hash, err := peers.Checkpoint(ctx, follower, 17); err != nil || hash != "hash of 17" {
		t.Fatalf("%s, %v", hash, err)
	}
	if st, err := peers.NodeStatus(ctx, follower); err != nil || string(st) != "n2" {
		t.Fatalf("%s, %v", st, err)
	}
	if reply, err := peers.Join(ctx, leader, []byte("me")); err != nil || string(reply) != "welcome me" {
		t.Fatalf("%s, %v", reply, err)
	}
	large := make([]byte, 12<<20) // more than a client may send
	if got, err := peers.Propose(ctx, leader, [][]byte{large}); err != nil || len(got[0]) != len(large) {
		t.Fatalf("a large command: %v", err)
	}
}

// A node of another cluster is told nothing and decides nothing, whatever it
// asks but its state and to be taken in; and it is certain that it did nothing.
func TestPeersOfAnotherCluster(t *testing.T) {
	s := newSystem(t, 1)
	addr := s.endpoints()[0]
	for _, c := range []struct {
		id     string
		served bool
	}{{"", true}, {clusterOfTests, true}, {"another", false}} {
		peers := rpc.NewPeers(nil)
		defer peers.Close()
		peers.Identify(func() string { return c.id })
		ctx := t.Context()
		_, proposed := peers.Propose(ctx, addr, [][]byte{[]byte("a")})
		_, read := peers.ReadIndex(ctx, addr, "n2")
		_, noted := peers.Checkpoint(ctx, addr, 1)
		_, reserved := peers.Reserve(ctx, addr, "default", "pr/x")
		_, called := peers.Call(ctx, addr, "m", nil)
		for what, err := range map[string]error{"Propose": proposed, "ReadIndex": read, "Checkpoint": noted, "Reserve": reserved, "Call": called} {
			if refused := errors.Is(err, lockcluster.ErrNoLeader); refused == c.served {
				t.Errorf("%s of cluster %q: %v", what, c.id, err)
			}
		}
		_, status := peers.NodeStatus(ctx, addr)
		_, joined := peers.Join(ctx, addr, []byte("me"))
		if status != nil || joined != nil {
			t.Errorf("of cluster %q: status %v, join %v", c.id, status, joined)
		}
	}
}

// A node that is not there is an error at once, and found again when it is back.
func TestPeersUnreachable(t *testing.T) {
	addr := testutil.FreeAddr(t)
	peers := rpc.NewPeers(nil)
	defer peers.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := peers.NodeStatus(ctx, addr); err == nil || ctx.Err() != nil {
		t.Fatalf("got %v", err)
	}
	s := newSystem(t, 1, func(c *rpc.Config, _ *rpc.System) { c.GRPCAddr = addr })
	testutil.WaitFor(t, 20*time.Second, func() error {
		_, err := peers.NodeStatus(ctx, addr)
		return err
	})
	s.nodes[0].close(t)
	if err := peers.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := peers.NodeStatus(ctx, addr); !errors.Is(err, lockcluster.ErrClosed) {
		t.Fatalf("got %v", err)
	}
}

// The Redis doors of all nodes share the leader's table of intents; without a
// leader nobody waits.
func TestSharedIntents(t *testing.T) {
	s := newSystem(t, 3)
	peers := rpc.NewPeers(nil)
	defer peers.Close()
	shared := func(i int) *rpc.SharedIntents {
		return rpc.NewSharedIntents(s.nodes[i].id, s.nodes[i], s.nodes[i].local, peers)
	}
	if shared(0).Reserve(t.Context(), "default", "pr/\xff") {
		t.Fatal("the first had to wait")
	}
	if !shared(2).Reserve(t.Context(), "default", "pr/\xff") {
		t.Fatal("the second, on another node, did not meet the first")
	}
	want := []string{"default pr/\xff", "default pr/\xff"}
	if got := s.nodes[0].local.reserved; !slices.Equal(got, want) {
		t.Fatalf("the leader's table holds %q", got)
	}
	s.setLeader(-1)
	if shared(1).Reserve(t.Context(), "default", "pr/x") {
		t.Fatal("somebody waits without a leader")
	}
	shared(1).Settle("default", "pr/x")
}
