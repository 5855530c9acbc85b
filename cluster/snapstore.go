package cluster

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// installsMax is how often the same snapshot may be installed before the node
// gives up: raft would do it for ever (hashicorp/raft#697).
const installsMax = 3

// guardedSnapshots is the snapshot store that raft gets. It watches over the
// writes, and it puts the log right when a snapshot of the leader arrives that
// the log disagrees with (see checkLog).
type guardedSnapshots struct {
	raft.SnapshotStore
	guard *guard
	log   *guardedLog

	lastIndex atomic.Uint64 // of the newest snapshot
	lastSize  atomic.Uint64

	mu           sync.Mutex // guards what follows
	installIndex uint64     // the snapshot installed last
	installs     int        // how often in a row
}

func (s *guardedSnapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, trans raft.Transport,
) (raft.SnapshotSink, error) {
	var sink raft.SnapshotSink
	err := s.guard.write(opSnapshot, func() (err error) {
		sink, err = s.SnapshotStore.Create(version, index, term, configuration, configurationIndex, trans)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &guardedSink{SnapshotSink: sink, store: s, index: index, term: term}, nil
}

// guardedSink writes one snapshot. Whoever does not call own is raft itself,
// writing down a snapshot that came from outside: from the leader, or from an
// operator's restore.
type guardedSink struct {
	raft.SnapshotSink
	store       *guardedSnapshots
	index, term uint64
	isOwn       bool
	size        uint64
}

// own marks a snapshot of this node's own state.
func (s *guardedSink) own() { s.isOwn = true }

func (s *guardedSink) Write(p []byte) (n int, err error) {
	err = s.store.guard.write(opSnapshot, func() (err error) {
		n, err = s.SnapshotSink.Write(p)
		return err
	})
	s.size += uint64(n)
	return n, err
}

func (s *guardedSink) Close() error {
	if err := s.store.guard.write(opSnapshot, s.SnapshotSink.Close); err != nil {
		return err
	}
	s.store.lastIndex.Store(s.index)
	s.store.lastSize.Store(s.size)
	if s.isOwn {
		return nil
	}
	return s.store.installed(s.index, s.term)
}

// installed runs on raft's main goroutine after a foreign snapshot is on disk
// and before raft restores it.
func (s *guardedSnapshots) installed(index, term uint64) error {
	if n := s.countInstall(index); n >= installsMax {
		s.guard.halter.stop(&HaltError{
			Cause: ErrStuck, Op: fmt.Sprintf("the snapshot at log index %d was installed %d times", index, n),
			Advice: "remove this node from the cluster and add a new one with an empty data directory",
		})
	}
	verdict, err := judgeLog(s.log, index, term)
	if err != nil {
		return s.guard.corrupt(opLogRead, err)
	}
	switch {
	case verdict == logBehind:
		// Nothing above the snapshot: what is below may never have been
		// committed, and must not be sent to anyone later.
		return s.log.deleteAll()
	case verdict == logConflicts:
		// Figure 13 of the Raft paper, rule 7. Raft has the old last index in
		// memory and would refuse all entries, so the process starts again.
		if err := s.log.deleteAll(); err != nil {
			return err
		}
		s.guard.halter.stop(&HaltError{
			Cause: ErrRestart, Op: fmt.Sprintf("the log disagreed with the snapshot at log index %d and was emptied", index),
		})
	case verdict == logAgreesBeyond && s.log.monotonic:
		// Rule 6: keep the log. Raft would empty a monotonic store and lose
		// entries that this node has acknowledged; a restart keeps them.
		s.guard.halter.stop(&HaltError{
			Cause: ErrRestart, Op: fmt.Sprintf("the log goes on after the installed snapshot at log index %d", index),
		})
	}
	return nil
}

func (s *guardedSnapshots) countInstall(index uint64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.installIndex != index {
		s.installIndex, s.installs = index, 0
	}
	s.installs++
	return s.installs
}

// logVerdict is how the log stands to a snapshot.
type logVerdict int

const (
	logEmpty        logVerdict = iota + 1
	logBehind                  // it ends before the snapshot's index
	logAgrees                  // it ends at the snapshot's index, with its term
	logAgreesBeyond            // it has the snapshot's entry, and more
	logConflicts               // it has another entry at the snapshot's index
	logGap                     // entries below and above the index, but none at it
	logAbove                   // it begins right after the snapshot's index
	logTooFarAbove             // it begins later: entries are missing
)

func judgeLog(log raft.LogStore, index, term uint64) (logVerdict, error) {
	first, err := log.FirstIndex()
	if err != nil {
		return 0, err
	}
	last, err := log.LastIndex()
	if err != nil {
		return 0, err
	}
	switch {
	case first == 0 || last == 0:
		return logEmpty, nil
	case last < index:
		return logBehind, nil
	case first == index+1:
		return logAbove, nil
	case first > index+1:
		return logTooFarAbove, nil
	}
	var entry raft.Log
	switch err := log.GetLog(index, &entry); {
	case errors.Is(err, raft.ErrLogNotFound):
		return logGap, nil
	case err != nil:
		return 0, err
	case entry.Term != term:
		return logConflicts, nil
	case last == index:
		return logAgrees, nil
	}
	return logAgreesBeyond, nil
}

// repairLog makes the log fit the newest snapshot before raft starts. It
// finishes what a crash between installing a snapshot and purging the log has
// left undone, and gives the same result however often it runs.
func (s *guardedSnapshots) repairLog() (repaired bool, err error) {
	snapshots, err := s.List()
	if err != nil || len(snapshots) == 0 {
		return false, err
	}
	newest := snapshots[0]
	s.lastIndex.Store(newest.Index)
	s.lastSize.Store(uint64(newest.Size))
	verdict, err := judgeLog(s.log, newest.Index, newest.Term)
	if err != nil {
		return false, err
	}
	switch verdict {
	case logBehind, logConflicts:
		return true, s.log.deleteAll()
	case logGap:
		return true, s.log.DeleteRange(1, newest.Index)
	case logTooFarAbove:
		return false, fmt.Errorf("log begins after the newest snapshot at index %d: entries are missing", newest.Index)
	}
	return false, nil
}
