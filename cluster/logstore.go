package cluster

import (
	"errors"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster/fsm/command"
)

// guardedLog is the log store that raft gets, below its cache: every change is
// watched over, every unreadable entry stops the node.
type guardedLog struct {
	raft.LogStore
	guard     *guard
	monotonic bool
	appended  atomic.Uint64 // bytes appended since the node started
	// storing and stored, if set, are told what is about to be appended, and what
	// was.
	storing, stored func([]*raft.Log)
}

func newGuardedLog(inner raft.LogStore, g *guard) *guardedLog {
	m, ok := inner.(raft.MonotonicLogStore)
	return &guardedLog{LogStore: inner, guard: g, monotonic: ok && m.IsMonotonic()}
}

// IsMonotonic tells raft what the inner store says: a store that cannot have
// gaps (raft-wal) is emptied by raft when a snapshot is installed.
func (l *guardedLog) IsMonotonic() bool { return l.monotonic }

// GetLog verifies what it reads: a damaged entry must stop this node, not be
// replicated and stop the others.
func (l *guardedLog) GetLog(index uint64, log *raft.Log) error {
	err := l.LogStore.GetLog(index, log)
	if err == nil && log.Type == raft.LogCommand {
		err = command.CheckEnvelope(log.Data)
	}
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) && !l.guard.halter.halted() {
		return l.guard.corrupt(opLogRead, err)
	}
	return err
}

func (l *guardedLog) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

func (l *guardedLog) StoreLogs(logs []*raft.Log) error {
	if l.storing != nil {
		l.storing(logs)
	}
	err := l.guard.write(opLogAppend, func() error { return l.LogStore.StoreLogs(logs) })
	if err == nil {
		var n uint64
		for _, entry := range logs {
			n += uint64(len(entry.Data)) + 64
		}
		l.appended.Add(n)
		if l.stored != nil {
			l.stored(logs)
		}
	}
	return err
}

// DeleteRange forwards a range that exists and ignores an empty one: a purge
// may have taken what a compaction still counts on.
func (l *guardedLog) DeleteRange(from, to uint64) error {
	first, err := l.FirstIndex()
	if err != nil {
		return err
	}
	last, err := l.LastIndex()
	if err != nil {
		return err
	}
	if first == 0 || to < first || from > last {
		return nil
	}
	from, to = max(from, first), min(to, last)
	return l.guard.write(opLogTruncate, func() error { return l.LogStore.DeleteRange(from, to) })
}

// deleteAll empties the log.
func (l *guardedLog) deleteAll() error {
	first, err := l.FirstIndex()
	if err != nil {
		return err
	}
	last, err := l.LastIndex()
	if err != nil {
		return err
	}
	return l.DeleteRange(first, last)
}
