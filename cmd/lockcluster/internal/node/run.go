package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/cmd/lockcluster/internal/config"
	"github.com/lockcluster/lockcluster/compat/resp"
	"github.com/lockcluster/lockcluster/internal/buildinfo"
	"github.com/lockcluster/lockcluster/rpc"
)

// Bounds of a graceful stop; together less than what "lockcluster dev" and the
// Compose file grant.
const (
	transferTimeout = 4 * time.Second
	doorsTimeout    = 6 * time.Second
	nodeTimeout     = 6 * time.Second
)

// Run runs a node until ctx ends, then stops it gracefully. An error means
// that it did not start, or did not stop cleanly. Log lines go to logOut.
func Run(ctx context.Context, s config.Server, logOut io.Writer) error {
	if err := s.Complete(); err != nil {
		return err
	}
	password, err := s.RESPPassword()
	if err != nil {
		return err
	}
	// Before anything is made on disk: a port in use must change nothing.
	if err := probe(s); err != nil {
		return err
	}
	defer tuneHeap()()
	defer tuneProcessors()()
	before := lookAt(s.DataDir)
	r := &runner{settings: s, logger: newLogger(logOut, s), registry: newRegistry()}
	quietRedis(r.logger)
	if err := r.start(password); err != nil { //nolint:contextcheck // a signal while the parts start is handled when they run
		err = errors.Join(err, r.stop()) //nolint:contextcheck // stopping has time limits of its own
		return errors.Join(err, before.undo())
	}
	r.announce(ctx)
	<-ctx.Done()
	r.logger.Info("node stops", "node_id", s.NodeID)
	if err := r.stop(); err != nil { //nolint:contextcheck // ctx has ended: stopping has time limits of its own
		return err
	}
	r.logger.Info("node has stopped", "node_id", s.NodeID)
	return nil
}

// readyPause is between two looks at whether the node is ready.
const readyPause = 100 * time.Millisecond

// announce says in the log that the node listens, and when it is ready to
// serve; it returns then, or when ctx ends.
func (r *runner) announce(ctx context.Context) {
	s := r.settings
	r.logger.Info("node listens", "node_id", s.NodeID, "version", buildinfo.Get().Version, "data_dir", s.DataDir,
		"raft", s.RaftAddr, "grpc", s.GRPCAddr, "http", s.HTTPAddr, "resp", s.RESPAddr)
	tick := time.NewTicker(readyPause)
	defer tick.Stop()
	for r.node.Ready() != nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	r.logger.Info("node serves", "node_id", s.NodeID)
}

// probe finds out whether the node could listen on its addresses.
func probe(s config.Server) error {
	for _, l := range []struct{ flag, addr string }{
		{"--raft-addr", s.RaftAddr}, {"--grpc-addr", s.GRPCAddr}, {"--http-addr", s.HTTPAddr}, {"--resp-addr", s.RESPAddr},
	} {
		listener, err := net.Listen("tcp", l.addr)
		if err != nil {
			return fmt.Errorf("cannot listen on %s %s: %w; %s", l.flag, l.addr, cause(err), listenAdvice(err))
		}
		_ = listener.Close()
	}
	return nil
}

// listenAdvice says what to do about an address that cannot be listened on.
func listenAdvice(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "stop what uses it, or give another address"
	case errors.Is(err, syscall.EACCES):
		return "give a port from 1024 on, or the right to use this one"
	}
	return "give an address of this machine"
}

// cause takes the operation and the address off a network error: they are in
// our text.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func newLogger(w io.Writer, s config.Server) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(s.LogLevel)) // Complete has checked it
	o := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// runner holds the running parts of a node; those that did not start are nil.
type runner struct {
	settings config.Server
	logger   *slog.Logger
	registry *prometheus.Registry

	peers *rpc.Peers
	road  *road
	node  *cluster.Node
	door  *rpc.Server  // gRPC and HTTP
	redis *resp.Server // the Redis protocol
}

// start starts the parts. What has started when it fails is for stop.
func (r *runner) start(password string) (err error) {
	s := r.settings
	initial, err := cluster.ParseInitialCluster(s.InitialCluster)
	if err != nil {
		return err
	}
	// The connections to other nodes come first: the node asks them at once
	// whom to follow, or to let it join.
	r.peers = rpc.NewPeers(nil)
	intents := resp.NewIntentTable(r.holds, 0)
	// The road knows no node yet, but the node tells it from its first entry on.
	if r.road, err = newRoad(s, r.peers, settle(intents), r.registry, r.logger); err != nil {
		return err
	}
	// The node next: the doors have nothing to serve without it. It knows the
	// addresses that the doors will listen on.
	r.node, err = cluster.Open(cluster.Config{
		NodeID: s.NodeID, DataDir: s.DataDir, RaftAddr: s.RaftAdvertise, RaftBind: s.RaftAddr,
		GRPCAddr: s.GRPCAdvertise, HTTPAddr: s.HTTPAdvertise, RESPAddr: s.RESPAdvertise,
		InitialCluster: initial, Join: splitList(s.Join), LogStore: s.LogStore, NoEarlySend: !s.SendEarly,
		Logger: r.logger, Registerer: r.registry, Version: buildinfo.Get().Version,
	}, cluster.WithPeers(r.peers), cluster.WithHalt(halt(r.logger)), cluster.WithGrants(settle(intents)),
		cluster.WithChanges(r.road.controller.NoteChanges), cluster.WithMigration(r.road.controller.NoteMigration), cluster.WithRestored(r.road.controller.NoteRestored))
	if err != nil {
		return err
	}
	r.road.start(r.node)
	members := newMemberList(r.node, s.NodeID)
	// gRPC before Redis: other nodes forward to this one over gRPC, and the
	// Redis doors of the cluster need that.
	r.door, err = rpc.Open(rpc.Config{
		GRPCAddr: s.GRPCAddr, HTTPAddr: s.HTTPAddr, Logger: r.logger, Registerer: r.registry, Gatherer: r.registry,
		API: r.road.api(),
	}, r.system(intents))
	if err != nil {
		return err
	}
	// Redis last: a client that gets through finds everything behind it.
	r.redis, err = resp.Open(resp.Config{
		Addr: s.RESPAddr, Username: s.RESPUsername, Password: password,
		ExactRepoMatch: &s.ExactRepoMatch, RedactStoredCredentials: s.RedactCredentials,
		Intents: rpc.NewSharedIntents(s.NodeID, r.road.controller, intents, r.peers), Nodes: members.list,
		Logger: r.logger, Registerer: r.registry, Version: buildinfo.Get().Version,
	}, r.road.controller)
	return err
}

// stop stops what runs, so that clients notice as little as possible.
func (r *runner) stop() error {
	var errs []error
	// Not ready first, so that nothing new is sent here. Then leadership: while
	// the doors are open, requests in hand go on through the next leader.
	if r.door != nil {
		r.door.Drain()
		r.handOver()
	}
	// The doors finish what they have, which needs the node.
	ctx, cancel := context.WithTimeout(context.Background(), doorsTimeout)
	defer cancel()
	if r.redis != nil {
		errs = append(errs, closed("Redis door", r.redis.Close(ctx)))
	}
	if r.door != nil {
		errs = append(errs, closed("gRPC and HTTP doors", r.door.Close(ctx)))
	}
	// The legacy system before the node: whoever leads next may then have it.
	if r.road != nil {
		errs = append(errs, closed("legacy system", r.road.close()))
	}
	// Raft and the stores last: nobody asks them any more.
	if r.node != nil {
		ctx, cancel := context.WithTimeout(context.Background(), nodeTimeout)
		defer cancel()
		errs = append(errs, closed("node", r.node.Close(ctx)))
	}
	if r.peers != nil {
		errs = append(errs, closed("connections to other nodes", r.peers.Close()))
	}
	return errors.Join(errs...)
}

// closed says what could not be closed. That calls were cut off at the end of
// the time they had is no failure: their clients ask another node.
func closed(what string, err error) error {
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return fmt.Errorf("stop %s: %w", what, err)
}

// handOver gives leadership to the voter that is furthest among those that
// answer. If none does, the others elect one when this node is gone.
func (r *runner) handOver() {
	if !r.node.IsLeader() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), transferTimeout)
	defer cancel()
	to, err := r.successor(ctx)
	if err == nil && to != "" {
		err = r.node.TransferLeader(ctx, to)
	}
	if err != nil {
		r.logger.Warn("leadership was not handed over", "err", err)
	}
}

func (r *runner) successor(ctx context.Context) (string, error) {
	s, err := r.node.Status(ctx)
	if err != nil {
		return "", err
	}
	best := cluster.MemberStatus{}
	for _, m := range s.Members {
		if m.ID != r.settings.NodeID && m.Reachable && m.Suffrage == "voter" && (best.ID == "" || m.AppliedIndex > best.AppliedIndex) {
			best = m
		}
	}
	return best.ID, nil
}

func splitList(text string) []string {
	var parts []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
