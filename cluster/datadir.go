package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// The layout of a data directory. Persisted: changing a name loses data.
const (
	stampFile = "node.json"
	lockFile  = "lock"
	raftDir   = "raft"
	walDir    = "wal"       // raft-wal's segments, in raftDir
	logFile   = "log.db"    // raft-boltdb's log, in raftDir
	voteFile  = "stable.db" // the stable store, in raftDir
)

// formatVersion is the version of the layout and of everything in it.
// 1: the first release.
const formatVersion = 1

// stamp says whose data a directory holds.
type stamp struct {
	Format    int       `json:"format"`
	ClusterID string    `json:"cluster_id"` // empty until a joining node was told
	NodeID    string    `json:"node_id"`
	LogStore  string    `json:"log_store"`
	CreatedAt time.Time `json:"created_at"`
	// Fresh is true until the node has once caught up with a leader: it may have
	// lost a disk that had voted and acknowledged, see vote.go.
	Fresh bool `json:"fresh,omitempty"`
}

// dataDir is an open data directory: locked, and stamped with this node's
// identity.
type dataDir struct {
	path  string
	lock  *os.File
	isNew bool

	mu    sync.Mutex // guards stamp
	stamp stamp
}

// openDataDir locks the directory of c and checks that it is this node's,
// making it if it is not there. It changes nothing in a directory that it
// refuses.
func openDataDir(c Config) (*dataDir, error) {
	refuse := func(reason, advice string) error {
		return &DataDirError{Dir: c.DataDir, Reason: reason, Advice: advice}
	}
	if err := checkDirEntry(c.DataDir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, refuse("cannot be made: "+err.Error(), "make it yourself and give it to this user, or give another --data-dir")
	}
	lock, err := os.OpenFile(filepath.Join(c.DataDir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, refuse("cannot be written to: "+err.Error(), "give this user the right to write there, or another --data-dir")
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, refuse("another process uses it", "stop that process, or give this node its own --data-dir")
	}
	d := &dataDir{path: c.DataDir, lock: lock}
	if err := d.loadStamp(c, refuse); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// checkDirEntry refuses a path that is no directory, or one with other
// people's files, before anything is made in it.
func checkDirEntry(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case errors.Is(err, syscall.ENOTDIR):
		return &DataDirError{Dir: path, Reason: "is a file, or below one", Advice: "give another --data-dir"}
	case err != nil:
		return &DataDirError{Dir: path, Reason: "cannot be read: " + err.Error(), Advice: "give this user the right to read it, or another --data-dir"}
	}
	for _, e := range entries {
		switch e.Name() {
		case stampFile:
			return nil
		case lockFile, "pid", "log", "lost+found", stampFile + ".new": // ours, of "lockcluster dev", or of a mount point
		default:
			return &DataDirError{
				Dir: path, Reason: fmt.Sprintf("holds %q but no %s: it is not the data directory of a node", e.Name(), stampFile),
				Advice: "give another --data-dir, or an empty one",
			}
		}
	}
	return nil
}

func (d *dataDir) loadStamp(c Config, refuse func(reason, advice string) error) error {
	b, err := os.ReadFile(filepath.Join(d.path, stampFile))
	if errors.Is(err, os.ErrNotExist) {
		d.isNew = true
		d.stamp = stamp{
			Format: formatVersion, NodeID: c.NodeID, LogStore: c.LogStore,
			CreatedAt: time.Now().UTC().Truncate(time.Second), Fresh: true,
		}
		if len(c.InitialCluster) > 0 {
			d.stamp.ClusterID = clusterID(c.InitialCluster)
		}
		if len(c.InitialCluster) == 0 && len(c.Join) == 0 {
			return refuse("is empty, and the node was told neither to found a cluster nor to join one", "give --initial-cluster or --join")
		}
		return d.writeStamp()
	}
	if err != nil {
		return refuse("cannot be read: "+err.Error(), "give this user the right to read it, or another --data-dir")
	}
	if err := json.Unmarshal(b, &d.stamp); err != nil || d.stamp.Format == 0 {
		return refuse(stampFile+" is damaged", "restore it from a backup, or remove the node from the cluster and add a new one with an empty directory")
	}
	return d.checkStamp(c, refuse)
}

func (d *dataDir) checkStamp(c Config, refuse func(reason, advice string) error) error {
	s := d.stamp
	switch {
	case s.Format > formatVersion:
		return refuse(fmt.Sprintf("has format %d, this build knows up to %d", s.Format, formatVersion), "start it with the newer build that wrote it")
	case s.NodeID != c.NodeID:
		return refuse(fmt.Sprintf("belongs to node %q, this is node %q", s.NodeID, c.NodeID),
			fmt.Sprintf("start it with --node-id %s, or give this node its own --data-dir", s.NodeID))
	case s.LogStore != c.LogStore:
		return refuse(fmt.Sprintf("keeps its log in %q, not in %q", s.LogStore, c.LogStore),
			fmt.Sprintf("start it with --log-store %s; to change the log store, replace the node by a new one", s.LogStore))
	case len(c.InitialCluster) > 0 && s.ClusterID != "" && s.ClusterID != clusterID(c.InitialCluster):
		return refuse("belongs to another cluster than the one --initial-cluster names",
			"give the --initial-cluster of the first start, or none at all; for a new cluster give an empty --data-dir")
	}
	return nil
}

// identity returns the stamp.
func (d *dataDir) identity() stamp {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stamp
}

// setStamp changes the stamp durably, if change changes it.
func (d *dataDir) setStamp(change func(*stamp)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.stamp
	if change(&d.stamp); d.stamp == old {
		return nil
	}
	return d.writeStamp()
}

func (d *dataDir) writeStamp() error {
	b, err := json.MarshalIndent(d.stamp, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", stampFile, err)
	}
	return replaceFile(filepath.Join(d.path, stampFile), append(b, '\n'))
}

// replaceFile writes a file so that after a crash it is the old or the new one.
func replaceFile(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	err = dir.Sync()
	if cerr := dir.Close(); err == nil {
		err = cerr
	}
	return err
}

// close gives the directory free.
func (d *dataDir) close() {
	d.lock.Close() // closing drops the flock
}
