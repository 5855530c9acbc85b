package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

const (
	checkpointsKept   = 64
	checkpointTries   = 5               // questions to a node that has no hash yet
	checkpointPause   = 2 * time.Second // between them
	checkpointTimeout = 2 * time.Second // of one question
)

// checkpoints keeps the state hashes that the log asked this node to note, and
// compares them with the other nodes'.
type checkpoints struct {
	mu     sync.Mutex // guards what follows
	hashes map[uint64]string
	order  []uint64
	newest uint64
	fresh  chan uint64 // the newest index, for the comparer
}

func newCheckpoints() *checkpoints {
	return &checkpoints{hashes: map[uint64]string{}, fresh: make(chan uint64, 1)}
}

// note is called on the apply goroutine.
func (c *checkpoints) note(index uint64, hashes state.Hashes) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.hashes[index]; ok {
		return
	}
	c.hashes[index] = hashes.Data.String() + hashes.Books.String()
	c.order = append(c.order, index)
	c.newest = index
	if len(c.order) > checkpointsKept {
		delete(c.hashes, c.order[0])
		c.order = c.order[1:]
	}
	select {
	case <-c.fresh: // the comparer has not looked at the last one: skip it
	default:
	}
	c.fresh <- index
}

func (c *checkpoints) get(index uint64) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hashes[index]
}

func (c *checkpoints) newestIndex() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest
}

// ServeCheckpoint answers [Peers.Checkpoint].
func (n *Node) ServeCheckpoint(_ context.Context, index uint64) (string, error) {
	return n.checks.get(index), nil
}

// proposeCheckpoints asks all nodes, through the log, to note their state hash:
// when CheckpointEntries entries were applied since the last time, or one was
// and CheckpointInterval has passed.
func (n *Node) proposeCheckpoints(ctx context.Context) {
	tick := time.NewTicker(min(time.Second, n.cfg.CheckpointInterval))
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		applied, _ := n.machine.position()
		since := applied - min(applied, n.checks.newestIndex())
		if since == 0 || since < n.cfg.CheckpointEntries && time.Since(last) < n.cfg.CheckpointInterval {
			continue
		}
		if n.proposeHere(ctx, lockcluster.Checkpoint{}).fate == fateDecided {
			last = time.Now()
		}
	}
}

// compareCheckpoints compares each noted hash with the other nodes' until the
// node closes.
func (n *Node) compareCheckpoints() {
	for {
		select {
		case index := <-n.checks.fresh:
			n.compareCheckpoint(index)
		case <-n.ctx.Done():
			return
		}
	}
}

func (n *Node) compareCheckpoint(index uint64) {
	mine := n.checks.get(index)
	votes := map[string]int{mine: 1}
	members := n.raft.GetConfiguration().Configuration().Servers
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, s := range members {
		if s.ID == raft.ServerID(n.cfg.NodeID) {
			continue
		}
		wg.Go(func() {
			hash := n.askCheckpoint(string(s.ID), index)
			if hash == "" {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			votes[hash]++
		})
	}
	wg.Wait()
	if len(votes) == 1 {
		return
	}
	n.metrics.mismatch.Inc()
	n.logger.Error("state hashes differ", "index", index, "hash", mine, "votes", fmt.Sprint(votes))
	if votes[mine] > len(members)/2 {
		return // the others are wrong, and find out by themselves
	}
	if !hasMajority(votes, len(members)) {
		// All that differ must stop: leave them the time to ask this node.
		select {
		case <-time.After(checkpointPause):
		case <-n.ctx.Done():
			return
		}
	}
	n.halter.fail(&HaltError{
		Cause: ErrDiverged, Op: fmt.Sprintf("compare state hashes at log index %d: this node has %s, among %d members the counts are %v", index, mine, len(members), votes),
		Advice: "keep the data directories for analysis; remove the node that differs and add a new one with an empty data directory",
	})
}

func hasMajority(votes map[string]int, members int) bool {
	for _, count := range votes {
		if count > members/2 {
			return true
		}
	}
	return false
}

// askCheckpoint asks one node for its hash, some times if it has none yet.
func (n *Node) askCheckpoint(id string, index uint64) string {
	for range checkpointTries {
		node, ok := n.lead.node(id)
		if ok {
			ctx, cancel := context.WithTimeout(n.ctx, checkpointTimeout)
			hash, err := n.peers.Checkpoint(ctx, node.GRPCAddr, index)
			cancel()
			if err != nil || hash != "" {
				return hash // a node that cannot be reached compares by itself later
			}
		}
		select {
		case <-time.After(checkpointPause):
		case <-n.ctx.Done():
			return ""
		}
	}
	return ""
}
