package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
	"go.etcd.io/bbolt"
)

// Stores are the three stores raft keeps its data in.
type Stores struct {
	Log       raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
}

// logCacheEntries is how many entries stay in memory for followers and for the
// state machine. An entry is at most batchBytesMax, unless one value is larger.
const logCacheEntries = 256

// boltOpenTimeout bounds the wait for bbolt's own file lock. The directory lock
// is held already, so it can only be a tool that has the file open.
const boltOpenTimeout = 2 * time.Second

// openStores opens the stores in dir as c asks. A settled node has voted and
// acknowledged: it must find what it left.
func openStores(dir string, c Config, settled bool) (s Stores, closers []io.Closer, err error) {
	fail := func(what string, err error) (Stores, []io.Closer, error) {
		_ = closeAll(closers) // the error of the opening counts
		return Stores{}, nil, &DataDirError{
			Dir: dir, Reason: fmt.Sprintf("open %s: %v", what, err),
			Advice: "if the data is damaged, remove the node from the cluster and add a new one with an empty directory",
		}
	}
	path := filepath.Join(dir, raftDir)
	if settled {
		if err := checkSettled(path, c.LogStore); err != nil {
			return fail("stores", err)
		}
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fail(raftDir, err)
	}
	stable, err := openBolt(filepath.Join(path, voteFile))
	if err != nil {
		return fail("stable store", err)
	}
	closers = append(closers, stable)
	s.Stable = stable

	logger := newRaftLogger(c.Logger)
	switch c.LogStore {
	case LogStoreBoltDB:
		log, err := openBolt(filepath.Join(path, logFile))
		if err != nil {
			return fail("log store", err)
		}
		closers = append(closers, log)
		s.Log = log
	default:
		walPath := filepath.Join(path, walDir)
		if err := os.MkdirAll(walPath, 0o700); err != nil {
			return fail("log store", err)
		}
		if err := recoverTail(walPath); err != nil {
			return fail("log store", err)
		}
		files := newWALFiles(path)
		closers = append(closers, files)
		log, err := openWAL(walPath, files, logger)
		if err != nil {
			return fail("log store", err)
		}
		closers = append(closers, log)
		files.prepare(walSegmentSize)
		s.Log = log
	}
	snapshots, err := openFileSnapshots(path, c)
	if err != nil {
		return fail("snapshot store", err)
	}
	s.Snapshots = snapshots
	return s, closers, nil
}

// checkSettled refuses what raft would silently start anew: without its stable
// store a node could vote twice in one term, without its log it would forget
// what it acknowledged.
func checkSettled(path, logStore string) error {
	files := []string{voteFile, logFile}
	if logStore != LogStoreBoltDB {
		files = []string{voteFile, filepath.Join(walDir, walMetaFile)}
	}
	for _, f := range files {
		info, err := os.Stat(filepath.Join(path, f))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return fmt.Errorf("%s is gone, though this node has held data", f)
		case err != nil:
			return err
		case info.Size() == 0:
			return fmt.Errorf("%s is empty, though this node has held data", f)
		}
	}
	return verifyStores(path, logStore)
}

// walMetaFile is raft-wal's own database of its segments.
const walMetaFile = "wal-meta.db"

// openWAL opens raft-wal, which panics on some kinds of damage.
func openWAL(path string, files types.VFS, logger hclog.Logger) (log *wal.WAL, err error) {
	defer orPanic(&err)
	return wal.Open(path, wal.WithLogger(logger), wal.WithSegmentSize(walSegmentSize),
		wal.WithSegmentFiler(segment.NewFiler(path, files)))
}

// openBolt opens a raft-boltdb store. NoFreelistSync keeps commits cheap after
// the file has grown; NoSync is never set.
func openBolt(path string) (store *raftboltdb.BoltStore, err error) {
	defer orPanic(&err)
	return raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout: boltOpenTimeout, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
		},
	})
}

func closeAll(closers []io.Closer) error {
	var errs []error
	for i := len(closers) - 1; i >= 0; i-- {
		errs = append(errs, closers[i].Close())
	}
	return errors.Join(errs...)
}
