package cluster

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// Node is one node of the cluster. Use [Open].
type Node struct {
	cfg      Config
	logger   *slog.Logger
	logLines *logQueue
	started  time.Time
	gate
	disk
	engine

	peers         Peers
	lead          *leadership
	session       *session
	batcher       *batcher
	forwarder     *forwarder
	leaderReads   *rounds
	followerReads *rounds
	expiry        *expiry
	checks        *checkpoints
	votes         *voteGuard
	metrics       *metrics
	adopts        atomic.Bool // see metCluster

	memberMu  sync.Mutex    // one membership change, transfer or restore at a time
	restoredC chan struct{} // the state was replaced by a snapshot

	ctx    context.Context // ends when the node closes
	cancel context.CancelFunc
	wg     sync.WaitGroup // all goroutines of the node
}

// disk is what a node keeps on disk.
type disk struct {
	halter  *halter
	guard   *guard
	dir     *dataDir // nil with WithStores
	log     *guardedLog
	stable  *guardedStable
	snaps   *guardedSnapshots
	closers []io.Closer
}

// engine is raft and what it runs on.
type engine struct {
	raft    *raft.Raft
	trans   *transport
	acks    *acks
	machine *machine
	logs    raft.LogStore // log behind its cache
}

// Open starts a node. It returns when the node takes part in the cluster, not
// when there is a leader: see [Node.Ready]. A node that joins is added first;
// if no endpoint answers within [Config.RequestTimeout] it goes on trying.
// On error nothing is left running; a data directory that is refused
// ([DataDirError]) is not changed.
func Open(cfg Config, opts ...Option) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if o.halt == nil {
		o.halt = exitOnHalt(cfg.Logger.With("node_id", cfg.NodeID)) // at once, not by the queue
	}
	lines := newLogQueue()
	n := &Node{
		cfg: cfg, started: time.Now(), restoredC: make(chan struct{}, 1), peers: o.peers, logLines: lines,
		logger: slog.New(queuedHandler{cfg.Logger.Handler(), lines}).With("node_id", cfg.NodeID),
	}
	n.cfg.Logger = n.logger
	if n.peers == nil {
		n.peers = noPeers{}
	}
	n.peers.Identify(n.ClusterID)
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.halter = newHalter(o.halt)
	n.lead = newLeadership(cfg.NodeID)
	if err := n.open(o); err != nil {
		n.abandon(o)
		return nil, err
	}
	return n, nil
}

// open builds the parts from the disk upwards and starts them.
func (n *Node) open(o options) error {
	var err error
	if n.metrics, err = newMetrics(n.cfg.Registerer, n.lead.leaderChanges, n.logLines.dropped.Load); err != nil {
		return err
	}
	if err := n.openDisk(o.stores); err != nil {
		return err
	}
	n.buildParts(o)
	if err := n.openTransport(o); err != nil {
		return err
	}
	if err := n.startRaft(); err != nil {
		return err
	}
	n.startParts()
	return n.startJoin()
}

func (n *Node) openDisk(given *Stores) error {
	var stores Stores
	if given != nil {
		stores = *given
	} else {
		var err error
		if n.dir, err = openDataDir(n.cfg); err != nil {
			return err
		}
		if stores, n.closers, err = openStores(n.dir.path, n.cfg, !n.dir.identity().Fresh); err != nil {
			return err
		}
	}
	n.guard = &guard{halter: n.halter, stall: n.cfg.DiskStallTimeout, observe: n.metrics.observeStore}
	n.log = newGuardedLog(stores.Log, n.guard)
	n.stable = &guardedStable{StableStore: stores.Stable, guard: n.guard}
	n.snaps = &guardedSnapshots{SnapshotStore: stores.Snapshots, guard: n.guard, log: n.log}
	repaired, err := n.snaps.repairLog()
	if err != nil {
		return &DataDirError{Dir: n.cfg.DataDir, Reason: err.Error(), Advice: "remove the node from the cluster and add a new one with an empty directory"}
	}
	if repaired {
		n.logger.Warn("the log did not fit the newest snapshot and was cut")
	}
	if n.logs, err = raft.NewLogCache(logCacheEntries, n.log); err != nil {
		return fmt.Errorf("make log cache: %w", err)
	}
	return nil
}

func (n *Node) buildParts(o options) {
	n.checks = newCheckpoints()
	n.session = newSession(n.cfg.NodeID)
	n.machine = newMachine(fsm.New(fsm.Hooks{
		Leases:     func(c []state.LeaseChange) { n.expiry.changed(c) },
		Checkpoint: n.checks.note,
		Restored:   func() { n.restored(); n.tellRestored(o.restored); n.tellMigration(o.migration) },
		Node:       n.lead.setNode,
		Granted:    o.grants,
		Changed:    o.changes,
		Migration:  o.migration,
	}), n.halter, n.metrics)
	n.tellMigration(o.migration)
	n.log.stored = n.machine.stored
	if !n.cfg.NoEarlySend {
		n.log.storing = n.sendEarly
	}
	n.expiry = newExpiry(n.proposeHere, func(yield func(state.Lease) bool) { state.Leases(n.machine.fsm.Store().View(), yield) })
	n.batcher = newBatcher(func(data []byte) raft.ApplyFuture { return n.raft.Apply(data, 0) }, n.machine, n.halter, n.metrics, n.cfg.ElectionTimeout)
	n.forwarder = newForwarder(n.peers, n.lead, n.metrics, n.cfg.RequestTimeout)
	readTimeout := 2 * n.cfg.ElectionTimeout
	n.leaderReads = &rounds{ask: n.confirmLeader, ctx: n.ctx, timeout: readTimeout, wg: &n.wg}
	n.followerReads = &rounds{ask: n.askLeader, ctx: n.ctx, timeout: 2 * readTimeout, wg: &n.wg}
	n.votes = &voteGuard{
		lastIndex: func() uint64 { return n.raft.LastIndex() },
		settle:    func() error { return n.dir.setStamp(func(s *stamp) { s.Fresh = false }) },
	}
	n.votes.fresh.Store(n.dir != nil && n.dir.identity().Fresh)
	n.stable.mayVote = n.votes.mayVote
	n.acks = newAcks()
}

func (n *Node) openTransport(o options) (err error) {
	inner := o.trans
	if inner == nil {
		layer := o.layer
		if layer == nil {
			if layer, err = listenTCP(n.cfg.RaftBind, n.cfg.RaftAddr); err != nil {
				return err
			}
		}
		inner = newNetworkTransport(newHelloLayer(layer, n.cfg.NodeID, n.ClusterID, n.metCluster, helloTimeout, n.logger), n.cfg)
	}
	n.trans, err = newTransport(inner, n.acks)
	return err
}

// unusable is the error of a data directory from which raft does not start.
func unusable(dir string, why any) error {
	return &DataDirError{
		Dir: dir, Reason: fmt.Sprintf("raft cannot start from it: %v", why),
		Advice: "if the data is damaged, remove the node from the cluster and add a new one with an empty directory",
	}
}

// startRaft founds the cluster if the stores are empty, and starts raft.
func (n *Node) startRaft() (err error) {
	defer func() {
		// Raft panics on a log that it cannot use.
		if r := recover(); r != nil {
			err = unusable(n.cfg.DataDir, r)
		}
	}()
	rc := n.cfg.raftConfig()
	hasState, err := raft.HasExistingState(n.logs, n.stable, n.snaps)
	if err != nil {
		return fmt.Errorf("look for existing state: %w", err)
	}
	if !hasState && n.dir != nil && !n.dir.isNew && n.dir.identity().ClusterID != "" && !n.dir.identity().Fresh {
		return &DataDirError{
			Dir: n.cfg.DataDir, Reason: "has lost its log: it took part in a cluster before",
			Advice: "remove the node from the cluster and add a new one with an empty directory",
		}
	}
	n.adopts.Store(hasState)
	if !hasState && len(n.cfg.InitialCluster) > 0 {
		var c raft.Configuration
		for _, m := range n.cfg.InitialCluster {
			c.Servers = append(c.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(m.ID), Address: raft.ServerAddress(m.RaftAddr)})
		}
		if err := raft.BootstrapCluster(rc, n.logs, n.stable, n.snaps, n.trans, c); err != nil {
			return fmt.Errorf("found the cluster: %w", err)
		}
	}
	n.guard.writesArmed.Store(true)
	if n.raft, err = raft.NewRaft(rc, n.machine, n.logs, n.stable, n.snaps, n.trans); err != nil {
		if hasState {
			return unusable(n.cfg.DataDir, err)
		}
		return fmt.Errorf("start raft: %w", err)
	}
	n.guard.readsArmed.Store(true)
	n.raft.RegisterObserver(n.votes.observer())
	n.votes.listening.Store(true)
	n.raft.RegisterObserver(n.lead.observer(n.raftStopped))
	for { // what happened before the observer was there
		addr, id := n.raft.LeaderWithID()
		n.lead.setLeader(id, addr)
		if again, _ := n.raft.LeaderWithID(); again == addr {
			return nil
		}
	}
}

// raftStopped is called when raft shuts down: by Close, or because the cluster
// has removed this node.
func (n *Node) raftStopped() {
	if n.ctx.Err() == nil {
		go n.halter.fail(&HaltError{
			Cause: ErrRemoved, Op: "raft stopped",
			Advice: "to come back, start it with a new id and an empty data directory",
		})
	}
}

func (n *Node) startParts() {
	n.wg.Go(func() { n.batcher.run(n.ctx) })
	n.wg.Go(func() { n.forwarder.run(n.ctx) })
	n.wg.Go(n.leadDuties)
	n.wg.Go(n.register)
	n.wg.Go(n.compareCheckpoints)
	n.wg.Go(n.watch)
	n.wg.Go(n.watchRemoval)
}

// startJoin asks to be added, if this node is new and was told to join.
func (n *Node) startJoin() error {
	if len(n.cfg.Join) == 0 || n.dir != nil && n.dir.identity().ClusterID != "" || len(n.servers()) > 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(n.ctx, n.cfg.RequestTimeout)
	defer cancel()
	if err := n.join(ctx); err == nil || ctx.Err() == nil {
		return err
	}
	n.wg.Go(func() {
		if err := n.join(n.ctx); err != nil && n.ctx.Err() == nil {
			n.halter.fail(&HaltError{Cause: ErrRemoved, Op: "join", Err: err})
		}
	})
	return nil
}

// noPeers is the Peers of a cluster of one.
type noPeers struct{}

func (noPeers) Identify(func() string) {}

func (noPeers) Propose(context.Context, string, [][]byte) ([][]byte, error) {
	return nil, lockcluster.ErrNoLeader
}

func (noPeers) ReadIndex(context.Context, string, string) (uint64, error) {
	return 0, lockcluster.ErrNoLeader
}

func (noPeers) Checkpoint(context.Context, string, uint64) (string, error) {
	return "", lockcluster.ErrNoLeader
}

func (noPeers) NodeStatus(context.Context, string) ([]byte, error) {
	return nil, lockcluster.ErrNoLeader
}

func (noPeers) Join(context.Context, string, []byte) ([]byte, error) {
	return nil, lockcluster.ErrNoLeader
}
