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
// The epoch of the fencing tokens is raised, so that tokens granted since the
// backup are older than all new ones. Only the leader can.
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
	epoch := n.tokenEpoch()

	n.batcher.setClosed(errFrozen)
	defer n.batcher.setClosed(nil)
	n.logger.Warn("restoring a backup", "index", mem.View().Index())
	if err := n.batcher.drain(ctx); err != nil {
		return lockcluster.Result{}, err
	}
	if err := n.restoreState(mem); err != nil {
		return lockcluster.Result{}, err
	}
	n.batcher.setClosed(nil)
	return n.raiseEpoch(ctx, epoch)
}

func (n *Node) tokenEpoch() (epoch uint64) {
	n.machine.fsm.Store().Read(func(r state.Reader, _ uint64) { epoch = state.GetStats(r).LastToken.Epoch })
	return epoch
}

// raiseEpoch makes every new token greater than all that were ever granted,
// before the restore and in the backup.
func (n *Node) raiseEpoch(ctx context.Context, before uint64) (lockcluster.Result, error) {
	for {
		res, err := n.Do(ctx, lockcluster.RequestID{}, lockcluster.BumpEpoch{Reason: "restore"})
		if err != nil {
			return lockcluster.Result{}, fmt.Errorf("raise the epoch after the restore (do it before any client works again): %w", err)
		}
		if res.Token.Epoch > before {
			return res, nil
		}
	}
}

// restoreState gives mem to raft as a user snapshot.
func (n *Node) restoreState(mem *state.Mem) error {
	// The log must go on after the restored state, in index and in term.
	mem.Update(n.raft.LastIndex(), n.raft.CurrentTerm(), func(state.Tx) {})
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
