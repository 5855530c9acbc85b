package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/fsm"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/internal/buildinfo"
	"github.com/lockcluster/lockcluster/migration/controller"
	"github.com/lockcluster/lockcluster/rpc"
)

// leaderPause is between two looks at who leads after a transfer.
const leaderPause = 10 * time.Millisecond

// system is what the gRPC door serves.
func (r *runner) system(intents rpc.Intents) rpc.System {
	return rpc.System{
		NodeID: r.settings.NodeID, Node: lockDoor{r.road.controller}, Cluster: membership{r.node, r.road.controller}, Backup: backup{r.node, r.road.controller}, Peer: r.node, Intents: intents,
		Caller: r.road.controller, Migration: roadDoor{r.road, r.node},
		Checks: []rpc.Check{
			{Name: "cluster", Run: func(context.Context) error { return r.node.Ready() }},
			// Without it requests wait and fail on every node alike: to take all of
			// them away would only hide their errors.
			{Name: "legacy", Advisory: true, Run: r.road.legacy.last},
		},
	}
}

// membership is the node as the cluster service needs it.
type membership struct {
	node       *cluster.Node
	controller *controller.Controller
}

// Status implements [rpc.Cluster].
func (m membership) Status(ctx context.Context, local bool) (rpc.ClusterStatus, error) {
	if local { // no question to another node outlives its context
		ended, cancel := context.WithCancel(ctx)
		cancel()
		ctx = ended
	}
	s, err := m.node.Status(ctx)
	if err != nil {
		return rpc.ClusterStatus{}, err
	}
	view, _ := m.node.StaleView()
	stats := state.GetStats(view)
	road := m.controller.Migration()
	out := rpc.ClusterStatus{
		NodeID: s.NodeID, ClusterID: s.ClusterID, Leader: s.Leader, Term: s.Term, CommitIndex: s.CommitIndex,
		Mode: road.Mode.String(), ActiveSystem: road.Decides(road.Namespace).String(), Epoch: stats.LastToken.Epoch, Version: buildinfo.Get().Version,
		Locks: stats.Locks, CommandLocks: stats.CommandLocks, Documents: stats.Documents,
	}
	_, out.LeaderGRPCAddr = m.node.Leader()
	if road.Legacy != "" {
		out.LegacyNamespace, out.GradualEpoch, out.GradualBase = road.Namespace, road.GradualEpoch, road.Active.String()
	}
	for _, member := range s.Members {
		ms := rpc.MemberStatus{
			ID: member.ID, Address: member.Address, Role: member.Role, Suffrage: member.Suffrage, Reachable: member.Reachable,
			AppliedIndex: member.AppliedIndex, StateHash: member.StateHash,
			GRPCAddr: member.GRPCAddr, HTTPAddr: member.HTTPAddr, RESPAddr: member.RESPAddr, Version: member.Version,
		}
		if !member.Reachable {
			ms.Role = ""
			if !local {
				ms.Problem = "no answer"
			}
		}
		out.Members = append(out.Members, ms)
	}
	return out, nil
}

// AddMember implements [rpc.Cluster].
func (m membership) AddMember(ctx context.Context, id, raftAddr string) (uint64, error) {
	if err := m.node.AddNode(ctx, cluster.Member{ID: id, RaftAddr: raftAddr}); err != nil {
		return 0, refused(err)
	}
	return m.commitIndex(ctx)
}

// RemoveMember implements [rpc.Cluster].
func (m membership) RemoveMember(ctx context.Context, id string) (uint64, error) {
	if err := m.node.RemoveNode(ctx, id); err != nil {
		return 0, refused(err)
	}
	return m.commitIndex(ctx)
}

// commitIndex is at least the index of a change that has just been made.
func (m membership) commitIndex(ctx context.Context) (uint64, error) {
	b, err := m.node.ServeNodeStatus(ctx)
	if err != nil {
		return 0, err
	}
	var s cluster.NodeStatus
	if err := json.Unmarshal(b, &s); err != nil {
		return 0, fmt.Errorf("read node status: %w", err)
	}
	return s.CommitIndex, nil
}

// TransferLeader implements [rpc.Cluster].
func (m membership) TransferLeader(ctx context.Context, to string) (string, error) {
	before, _ := m.node.Leader()
	if err := m.node.TransferLeader(ctx, to); err != nil {
		return "", refused(err)
	}
	tick := time.NewTicker(leaderPause)
	defer tick.Stop()
	for {
		if now, _ := m.node.Leader(); now != "" && (now == to || to == "" && now != before) {
			return now, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", fmt.Errorf("wait for the next leader: %w", ctx.Err())
		}
	}
}

// refused marks what the cluster's state forbids for the gRPC door.
func refused(err error) error {
	if errors.Is(err, cluster.ErrMembership) {
		return &refusedError{err}
	}
	return err
}

// refusedError keeps the text of an error and makes it an [rpc.ErrRefused].
type refusedError struct{ err error }

func (e *refusedError) Error() string        { return e.err.Error() }
func (e *refusedError) Unwrap() error        { return e.err }
func (e *refusedError) Is(target error) bool { return target == rpc.ErrRefused }

// backup is the node as the snapshot calls need it.
type backup struct {
	node       *cluster.Node
	controller *controller.Controller
}

// SnapshotSave implements [rpc.Backup].
func (b backup) SnapshotSave(ctx context.Context, w io.Writer) error {
	_, err := b.node.SaveSnapshot(ctx, w)
	return err
}

// SaveDeciding implements [rpc.Backup].
func (b backup) SaveDeciding(ctx context.Context, w io.Writer) error {
	view, err := b.controller.View(ctx)
	if err != nil {
		return refusedRoad(err)
	}
	return fsm.WriteSnapshot(w, view)
}

// SnapshotRestore implements [rpc.Backup].
func (b backup) SnapshotRestore(ctx context.Context, r io.Reader) (rpc.RestoreInfo, error) {
	result, err := b.node.RestoreSnapshot(ctx, r)
	if err != nil {
		return rpc.RestoreInfo{}, err
	}
	return rpc.RestoreInfo{Index: result.Index, Epoch: result.Token.Epoch}, nil
}
