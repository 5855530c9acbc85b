package cluster

import (
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// logLimit takes a snapshot when the log has grown by bytes rather than by
// entries. It is for one goroutine.
type logLimit struct {
	since   uint64 // bytes appended when the newest snapshot was first seen
	newest  uint64 // its index
	running atomic.Bool
}

func (l *logLimit) check(n *Node) {
	appended := n.log.appended.Load()
	if newest := n.snaps.lastIndex.Load(); newest != l.newest {
		l.newest, l.since = newest, appended
	}
	limit := max(n.cfg.SnapshotBytes, 4*n.snaps.lastSize.Load())
	if appended-l.since < limit || !l.running.CompareAndSwap(false, true) {
		return
	}
	l.since = appended
	n.wg.Go(func() {
		defer l.running.Store(false)
		n.snapshotNow()
	})
}

// snapshotNow takes a snapshot and cuts the log back to the oldest snapshot
// that is kept, instead of by the number of entries that normally trail.
func (n *Node) snapshotNow() {
	kept, err := n.snaps.List()
	if err != nil {
		n.logger.Warn("snapshots cannot be listed", "err", err)
		return
	}
	normal := n.raft.ReloadableConfig()
	defer n.setTrailing(normal)
	if len(kept) >= snapshotsKept-1 {
		short := normal
		oldest := kept[snapshotsKept-2].Index // still there when the new one is written
		if last := n.raft.LastIndex(); last > oldest {
			// The log grows while the snapshot is written: leave room for that.
			short.TrailingLogs = min(normal.TrailingLogs, last-oldest+(last-oldest)/2)
		}
		n.setTrailing(short)
	}
	if err := n.raft.Snapshot().Error(); err != nil {
		n.logger.Warn("snapshot was not taken", "err", err)
	}
}

func (n *Node) setTrailing(c raft.ReloadableConfig) {
	if err := n.raft.ReloadConfig(c); err != nil {
		n.logger.Warn("length of the log was not changed", "err", err)
	}
}
