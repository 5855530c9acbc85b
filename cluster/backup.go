package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// errFrozen is what a request gets while a backup is restored.
var errFrozen = fmt.Errorf("%w: a backup is being restored", lockcluster.ErrOverloaded)

// restoreTimeout bounds a restore once it has begun to change the cluster.
const restoreTimeout = 10 * time.Minute

// SaveSnapshot writes a consistent backup of the state, checksummed, to w: it
// has everything that was answered before the call. Writers do not wait for it.
func (n *Node) SaveSnapshot(ctx context.Context, w io.Writer) (fsm.SnapshotInfo, error) {
	view, err := n.View(ctx)
	if err != nil {
		return fsm.SnapshotInfo{}, err
	}
	if err := fsm.WriteSnapshot(w, view); err != nil {
		return fsm.SnapshotInfo{}, fmt.Errorf("write backup: %w", err)
	}
	return fsm.SnapshotInfo{
		Index: view.Index(), Term: view.Term(), Records: uint64(view.Len()), Hashes: view.Hashes(), Stats: state.GetStats(view),
	}, nil
}

// InspectSnapshot reads a whole backup, verifies it, and says what it holds.
func InspectSnapshot(r io.Reader) (fsm.SnapshotInfo, error) { return fsm.InspectSnapshot(r) }

// RestoreSnapshot replaces the state of the whole cluster by a backup. It is
// for disasters: what was changed since the backup is lost. The backup is read
// and verified before anything changes; requests are refused while it runs.
// The epoch of the fencing tokens is raised in the restored state itself, so
// that tokens granted since the backup are older than all new ones whatever
// happens next. If it fails half-way, either the old state goes on or the
// restored one with its new epoch. Only the leader can.
func (n *Node) RestoreSnapshot(ctx context.Context, r io.Reader) (lockcluster.Result, error) {
	if err := n.enter(); err != nil {
		return lockcluster.Result{}, err
	}
	defer n.leave()
	n.memberMu.Lock()
	defer n.memberMu.Unlock()
	if !n.IsLeader() {
		return lockcluster.Result{}, n.lead.notLeader()
	}
	mem, err := fsm.ReadSnapshot(r)
	if err != nil {
		return lockcluster.Result{}, fmt.Errorf("read backup: %w", err)
	}
	if err := state.CheckInvariants(mem.View()); err != nil {
		return lockcluster.Result{}, fmt.Errorf("check backup: %w", err)
	}

	n.batcher.setClosed(errFrozen)
	defer n.batcher.setClosed(nil)
	n.logger.Warn("restoring a backup", "index", mem.View().Index())
	if err := n.batcher.drain(ctx); err != nil {
		return lockcluster.Result{}, err
	}
	token, err := n.restoreState(mem)
	if err != nil {
		return lockcluster.Result{}, err
	}
	n.batcher.setClosed(nil)
	// Reads wait for an entry of the state machine behind the restore. It does
	// not depend on the caller, who may have gone.
	res, err := n.Do(context.WithoutCancel(ctx), lockcluster.RequestID{}, lockcluster.Checkpoint{})
	if err != nil {
		return lockcluster.Result{}, fmt.Errorf("the backup is restored, but the cluster does not answer: %w", err)
	}
	res.Token = token
	return res, nil
}

// restoreState gives mem to raft as a user snapshot, under an epoch of its own.
// Nothing is written meanwhile. It returns the greatest token so far.
func (n *Node) restoreState(mem *state.Mem) (token lockcluster.Token, err error) {
	// What earlier leaders have left in the log has granted tokens too.
	if err := n.raft.Barrier(restoreTimeout).Error(); err != nil {
		if errors.Is(err, raft.ErrNotLeader) {
			return token, n.lead.notLeader()
		}
		return token, fmt.Errorf("apply the log before the restore: %w", err)
	}
	before := n.machine.fsm.Store().View()
	// The log must go on after the restored state, in index and in term.
	mem.Update(n.raft.LastIndex(), n.raft.CurrentTerm(), func(tx state.Tx) { token = state.RaiseEpoch(tx, before) })
	return token, n.install(mem)
}

// install has raft replace the state of all nodes by mem.
func (n *Node) install(mem *state.Mem) error {
	file, err := os.CreateTemp(n.tempDir(), "restore-*")
	if err != nil {
		return fmt.Errorf("make temporary file: %w", err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if _, err := file.Write(encodeSnapshotHeader(0, 0)); err != nil {
		return fmt.Errorf("write temporary file: %w", err)
	}
	if err := fsm.WriteSnapshot(file, mem.View()); err != nil {
		return fmt.Errorf("write temporary file: %w", err)
	}
	size, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	meta := &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Index: n.raft.LastIndex(), Term: n.raft.CurrentTerm(), Size: size}
	if err := n.raft.Restore(meta, file, restoreTimeout); err != nil {
		if errors.Is(err, raft.ErrNotLeader) {
			return n.lead.notLeader()
		}
		return fmt.Errorf("restore backup: %w", err)
	}
	return nil
}

func (n *Node) tempDir() string {
	if n.dir != nil {
		return n.dir.path
	}
	return ""
}
