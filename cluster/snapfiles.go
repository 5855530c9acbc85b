package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// The names that raft's file snapshot store gives: a directory for each
// snapshot, which ends with tmpSuffix until it is complete.
const (
	snapDir       = "snapshots"
	snapStateFile = "state.bin"
	tmpSuffix     = ".tmp"
)

const (
	// syncEvery is how much of a snapshot may be unsynced. An fsync of the log
	// waits for the file system's journal, and that for what is unsynced of other
	// files: one fsync at the end of a snapshot of 400 MB stalled the log on the
	// same disk for 130 ms, one each 4 MiB for 3 ms.
	syncEvery = 4 << 20
	// To delete a large file at once is as bad, so it is shortened in steps.
	shortenStep     = 32 << 20
	shortenPause    = 10 * time.Millisecond
	shortenStepsMax = 64
)

// fileSnapshots keeps snapshots in files and spares the log on the same disk.
type fileSnapshots struct {
	raft.SnapshotStore // keeps one more than is wanted, so that deleting is ours
	dir                string
}

// openFileSnapshots opens the snapshots in dir and removes what a crash has
// left of unfinished ones.
func openFileSnapshots(dir string, c Config) (*fileSnapshots, error) {
	inner, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsKept+1, newRaftLogger(c.Logger))
	if err != nil {
		return nil, err
	}
	s := &fileSnapshots{SnapshotStore: inner, dir: filepath.Join(dir, snapDir)}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), tmpSuffix) {
			if err := os.RemoveAll(filepath.Join(s.dir, e.Name())); err != nil {
				return nil, fmt.Errorf("remove an unfinished snapshot: %w", err)
			}
		}
	}
	return s, nil
}

// List implements [raft.SnapshotStore].
func (s *fileSnapshots) List() ([]*raft.SnapshotMeta, error) {
	all, err := s.SnapshotStore.List()
	return all[:min(len(all), snapshotsKept)], err
}

// Create implements [raft.SnapshotStore].
func (s *fileSnapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, trans raft.Transport,
) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(version, index, term, configuration, configurationIndex, trans)
	if err != nil {
		return nil, err
	}
	// A second handle: raft's own is not to be had. What is synced is the file.
	file, err := os.OpenFile(filepath.Join(s.dir, sink.ID()+tmpSuffix, snapStateFile), os.O_WRONLY, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the snapshot's file: %w", err), sink.Cancel())
	}
	return &fileSink{SnapshotSink: sink, store: s, file: file}, nil
}

// fileSink writes a snapshot and syncs it bit by bit.
type fileSink struct {
	raft.SnapshotSink
	store    *fileSnapshots
	file     *os.File
	unsynced int
	over     bool // closed or cancelled
}

func (s *fileSink) Write(p []byte) (written int, err error) {
	for len(p) > 0 {
		n, err := s.SnapshotSink.Write(p[:min(len(p), syncEvery-s.unsynced)])
		written += n
		if err != nil {
			return written, err
		}
		p = p[n:]
		if s.unsynced += n; s.unsynced >= syncEvery {
			s.unsynced = 0
			if err := s.file.Sync(); err != nil {
				return written, fmt.Errorf("sync snapshot: %w", err)
			}
		}
	}
	return written, nil
}

// Close completes the snapshot; raft calls it again.
func (s *fileSink) Close() error {
	if s.over {
		return nil
	}
	s.over = true
	if err := errors.Join(s.file.Close(), s.SnapshotSink.Close()); err != nil {
		return err
	}
	return s.store.removeOldest()
}

// Cancel drops the snapshot; after Close it does nothing.
func (s *fileSink) Cancel() error {
	if s.over {
		return nil
	}
	s.over = true
	return errors.Join(s.file.Close(), s.SnapshotSink.Cancel())
}

// removeOldest deletes the snapshots that are too many.
func (s *fileSnapshots) removeOldest() error {
	all, err := s.SnapshotStore.List()
	if err != nil || len(all) <= snapshotsKept {
		return err
	}
	for _, old := range all[snapshotsKept:] {
		// From here on it is none any more, and a crash leaves it to the next start.
		path := filepath.Join(s.dir, old.ID)
		if err := os.Rename(path, path+tmpSuffix); err != nil {
			return fmt.Errorf("remove a snapshot: %w", err)
		}
		path += tmpSuffix
		if err := shorten(filepath.Join(path, snapStateFile)); err != nil {
			return fmt.Errorf("remove a snapshot: %w", err)
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove a snapshot: %w", err)
		}
	}
	return nil
}

// shorten empties a file step by step.
func shorten(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	step := max(shortenStep, size/shortenStepsMax)
	for size > step {
		size -= step
		if err := f.Truncate(size); err != nil {
			return err
		}
		time.Sleep(shortenPause)
	}
	return nil
}
