package cluster

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	walfs "github.com/hashicorp/raft-wal/fs"
	"go.etcd.io/bbolt"

	"github.com/lockcluster/lockcluster/fsm"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// OfflineInfo says what the data of a stopped node holds.
type OfflineInfo struct {
	NodeID    string `json:"node_id"`
	ClusterID string `json:"cluster_id"`
	LogStore  string `json:"log_store"`
	// The snapshot that the state begins with; zero if there was none.
	SnapshotIndex uint64 `json:"snapshot_index"`
	SnapshotTerm  uint64 `json:"snapshot_term"`
	// The last entry that the state includes: of a majority of nodes' data, that
	// with the highest term, and then the highest index, has everything that was
	// ever acknowledged.
	LastIndex uint64 `json:"last_index"`
	LastTerm  uint64 `json:"last_term"`
	// Entries counts those applied after the snapshot. How many of them were
	// committed is not on the disk: the last ones may not have been.
	Entries int `json:"entries"`
	// Warnings tell what was unusual, for people.
	Warnings []string `json:"warnings"`
}

// ReadOffline reads the state from the data directory of a stopped node: its
// newest sound snapshot and every log entry after it. Nothing in the directory
// is changed. logStore is what the node was started with; empty: what the
// directory says.
//
// What was acknowledged is in the state if the node had it, which a majority
// of nodes has. What was proposed last may be in it without ever having been
// committed, as with any recovery of Raft without a quorum: nobody was told
// that it was done.
//
// Errors: a [*DataDirError], or what cannot be read.
func ReadOffline(dataDir, logStore string) (*state.Mem, OfflineInfo, error) {
	info := OfflineInfo{Warnings: []string{}}
	unlock, err := holdStopped(dataDir)
	if err != nil {
		return nil, info, err
	}
	defer unlock()
	s, err := readStamp(dataDir)
	if err != nil {
		return nil, info, err
	}
	info.NodeID, info.ClusterID, info.LogStore = s.NodeID, s.ClusterID, s.LogStore
	if logStore != "" && logStore != s.LogStore {
		return nil, info, &DataDirError{
			Dir: dataDir, Reason: fmt.Sprintf("keeps its log in %q, not in %q", s.LogStore, logStore), Advice: "leave the log store to be found out",
		}
	}
	if s.Fresh {
		info.warn("this node had not caught up with a leader yet: use the data of another one if there is any")
	}
	r := &offlineReader{raftPath: filepath.Join(dataDir, raftDir), info: &info, fsm: fsm.New(fsm.Hooks{})}
	if err := r.read(); err != nil {
		return nil, info, fmt.Errorf("read %s: %w", dataDir, err)
	}
	if err := state.CheckInvariants(r.fsm.Store().View()); err != nil {
		return nil, info, fmt.Errorf("read %s: the state is not sound: %w", dataDir, err)
	}
	return r.fsm.Store(), info, nil
}

func (i *OfflineInfo) warn(format string, args ...any) {
	i.Warnings = append(i.Warnings, fmt.Sprintf(format, args...))
}

// holdStopped holds the lock of a data directory, without writing there, so
// that the node stays stopped until unlock is called.
func holdStopped(dir string) (unlock func(), err error) {
	lock, err := os.Open(filepath.Join(dir, lockFile))
	if errors.Is(err, os.ErrNotExist) {
		return func() {}, nil // a copy, for example
	}
	if err != nil {
		return nil, &DataDirError{Dir: dir, Reason: "cannot be read: " + err.Error(), Advice: "run this as the node's user"}
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close() // the error of the lock counts
		return nil, &DataDirError{
			Dir: dir, Reason: "another process uses it: its node is running",
			Advice: "export from the running cluster (without --offline), or stop the node first",
		}
	}
	return func() { _ = lock.Close() }, nil // opened for reading: nothing can be lost
}

func readStamp(dir string) (s stamp, err error) {
	b, err := os.ReadFile(filepath.Join(dir, stampFile))
	if errors.Is(err, os.ErrNotExist) {
		return s, &DataDirError{Dir: dir, Reason: "holds no " + stampFile + ": it is not the data directory of a node", Advice: "name the --data-dir of a node"}
	}
	if err != nil {
		return s, &DataDirError{Dir: dir, Reason: "cannot be read: " + err.Error(), Advice: "run this as the node's user"}
	}
	if err := json.Unmarshal(b, &s); err != nil || s.Format == 0 {
		return s, &DataDirError{Dir: dir, Reason: stampFile + " is damaged", Advice: "use the data of another node"}
	}
	if s.Format > formatVersion {
		return s, &DataDirError{
			Dir: dir, Reason: fmt.Sprintf("has format %d, this build knows up to %d", s.Format, formatVersion), Advice: "use the newer build that wrote it",
		}
	}
	return s, nil
}

// offlineReader rebuilds the state from raft's files.
type offlineReader struct {
	raftPath string
	info     *OfflineInfo
	fsm      *fsm.FSM
}

func (r *offlineReader) read() error {
	if err := r.snapshot(); err != nil {
		return err
	}
	log, done, err := r.openLog()
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	err = r.replay(log)
	return errors.Join(err, done())
}

// snapshotAt is a snapshot on the disk.
type snapshotAt struct {
	ID    string
	Index uint64
	Term  uint64
}

// snapshot restores the newest sound snapshot, as raft does at its start.
func (r *offlineReader) snapshot() error {
	all, err := r.snapshots()
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	for _, at := range all {
		err := r.restore(at)
		if err == nil {
			r.info.SnapshotIndex, r.info.SnapshotTerm = at.Index, at.Term
			r.info.LastIndex, r.info.LastTerm = at.Index, at.Term
			return nil
		}
		r.info.warn("the snapshot of log index %d cannot be used: %v", at.Index, err)
	}
	return nil
}

// snapshots returns the complete snapshots, the newest first. Raft's own store
// would write into the directory to see whether it can.
func (r *offlineReader) snapshots() ([]snapshotAt, error) {
	dir := filepath.Join(r.raftPath, snapDir)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var all []snapshotAt
	for _, e := range entries {
		if !e.IsDir() || strings.HasSuffix(e.Name(), tmpSuffix) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name(), "meta.json"))
		var at snapshotAt
		if err == nil {
			err = json.Unmarshal(b, &at)
		}
		if err != nil {
			r.info.warn("the snapshot %s cannot be used: %v", e.Name(), err)
			continue
		}
		at.ID = e.Name()
		all = append(all, at)
	}
	slices.SortFunc(all, func(a, b snapshotAt) int {
		return -cmp.Or(cmp.Compare(a.Term, b.Term), cmp.Compare(a.Index, b.Index), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

func (r *offlineReader) restore(at snapshotAt) error {
	f, err := os.Open(filepath.Join(r.raftPath, snapDir, at.ID, snapStateFile))
	if err != nil {
		return err
	}
	if _, _, err := readSnapshotHeader(f); err != nil {
		return errors.Join(err, f.Close())
	}
	return r.fsm.Restore(f) // closes f
}

// openLog opens the log so that nothing in the data directory is written.
func (r *offlineReader) openLog() (log raft.LogStore, done func() error, err error) {
	if r.info.LogStore == LogStoreBoltDB {
		if err := r.warnIfDamaged(verifyBolt(filepath.Join(r.raftPath, logFile))); err != nil {
			return nil, nil, err
		}
		log, err := raftboltdb.New(raftboltdb.Options{
			Path: filepath.Join(r.raftPath, logFile), BoltOptions: &bbolt.Options{ReadOnly: true, Timeout: boltOpenTimeout},
		})
		if err != nil {
			return nil, nil, err
		}
		return log, log.Close, nil
	}
	// raft-wal repairs what it opens, so it gets a copy.
	dir, err := os.MkdirTemp("", "lockcluster-offline-*") // mode 0700
	if err != nil {
		return nil, nil, err
	}
	remove := func() error { return os.RemoveAll(dir) }
	if err := os.CopyFS(filepath.Join(dir, walDir), os.DirFS(filepath.Join(r.raftPath, walDir))); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("copy it: %w", err), remove())
	}
	err = r.warnIfDamaged(verifyBolt(filepath.Join(dir, walDir, walMetaFile)))
	if err == nil {
		err = r.warnIfDamaged(recoverTail(filepath.Join(dir, walDir)))
	}
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	wal, err := openWAL(filepath.Join(dir, walDir), walfs.New(), newRaftLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	return wal, func() error { return errors.Join(wal.Close(), remove()) }, nil
}

// warnIfDamaged warns of damage that the libraries pass over without a word: they
// end the log there, as after a crash. Other errors it returns.
func (r *offlineReader) warnIfDamaged(err error) error {
	if !errors.Is(err, errDamaged) {
		return err
	}
	r.info.warn("the log is damaged (%v): what was written there and later may be left out, though it was acknowledged; "+
		"prefer another node's data", err)
	return nil
}

// replay applies what the log has after the snapshot, by the rules by which a
// starting node puts its log right (see repairLog).
func (r *offlineReader) replay(log raft.LogStore) error {
	verdict, err := judgeLog(log, r.info.SnapshotIndex, r.info.SnapshotTerm)
	if err != nil {
		return err
	}
	switch verdict {
	case logEmpty, logAgrees:
		return nil
	case logBehind:
		r.info.warn("the log ends before the snapshot and was left out")
		return nil
	case logConflicts:
		r.info.warn("the log disagrees with the snapshot and was left out")
		return nil
	case logTooFarAbove:
		return fmt.Errorf("the log begins after the newest sound snapshot at index %d: entries are missing; use the data of another node", r.info.SnapshotIndex)
	}
	last, err := log.LastIndex()
	if err != nil {
		return err
	}
	for index := r.info.SnapshotIndex + 1; index <= last; index++ {
		var entry raft.Log
		if err := log.GetLog(index, &entry); err != nil {
			return fmt.Errorf("log entry %d of %d: %w; use the data of another node", index, last, err)
		}
		if err := r.apply(&entry); err != nil {
			return fmt.Errorf("log entry %d of %d: %w; use the data of another node", index, last, err)
		}
		r.info.LastIndex, r.info.LastTerm = index, entry.Term
		r.info.Entries++
	}
	return nil
}

// apply applies one entry; what the state machine refuses is an error here.
func (r *offlineReader) apply(entry *raft.Log) (err error) {
	if entry.Type != raft.LogCommand {
		return nil
	}
	if err := command.CheckEnvelope(entry.Data); err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it cannot be applied: %v", p)
		}
	}()
	r.fsm.Apply(entry)
	return nil
}
