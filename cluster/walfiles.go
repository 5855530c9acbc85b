package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/types"
)

const (
	// walSegmentSize is the size of a segment of the log: to write one in advance
	// must not take long, see [walFiles].
	walSegmentSize = 16 << 20
	// walSpareFile is the next segment, until it is one; in raftDir.
	walSpareFile = "wal-spare"
	// A spare is written while the log is in use: in small steps.
	spareStep  = 1 << 20
	sparePause = 5 * time.Millisecond
)

// walFiles are raft-wal's files, with two differences. Segments are deleted in
// the background, see [walFiles.Delete]. And a segment is written with zeros
// before it is used. To raft-wal that is the same as room that was only
// set aside, but then each sync of an appended entry has to wait for the file
// system's journal, where it meets whatever else is being written. With two
// nodes on a disk a sync takes a quarter less, beside a backup much less.
type walFiles struct {
	*walfs.FS
	spare string // where the next segment is made

	ctx    context.Context //nolint:containedctx // ends with close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	making atomic.Bool
	ready  atomic.Uint64 // size of the spare, 0 while there is none

	mu       sync.Mutex // guards what follows
	unwanted []string   // segments to delete
	deleting bool
}

var _ types.VFS = (*walFiles)(nil)

// newWALFiles is for the log in raftPath/walDir. It has to be closed after the log.
func newWALFiles(raftPath string) *walFiles {
	w := &walFiles{FS: walfs.New(), spare: filepath.Join(raftPath, walSpareFile)}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// Close stops what is written in advance, and what is deleted.
func (w *walFiles) Close() error {
	w.cancel()
	w.wg.Wait()
	if err := os.Remove(w.spare); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the spare segment: %w", err)
	}
	return nil
}

// Create implements [types.VFS].
func (w *walFiles) Create(dir, name string, size uint64) (types.WritableFile, error) {
	path := filepath.Join(dir, name)
	defer w.prepare(size)
	switch {
	case w.ready.CompareAndSwap(size, 0):
		if err := w.useSpare(path); err != nil {
			return nil, err
		}
	case w.making.Load(): // the log grows faster than spares are made, and must not wait
		return w.FS.Create(dir, name, size)
	default: // the first of all
		if err := writeZeros(w.ctx, path, size, 0); err != nil {
			return nil, err
		}
	}
	return w.OpenWriter(dir, name)
}

func (w *walFiles) useSpare(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("create %s: %w", path, fs.ErrExist)
	}
	if err := os.Rename(w.spare, path); err != nil {
		return fmt.Errorf("use the spare segment: %w", err)
	}
	return nil
}

// OpenWriter implements [types.VFS].
func (w *walFiles) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &walFile{File: f, dir: dir}, nil
}

// Delete implements [types.VFS]. It returns before the file is gone: when a
// snapshot has made a long log superfluous, raft-wal deletes many segments while
// appends wait. What a crash or [walFiles.Close] leaves raft-wal deletes when it
// is opened, because it has noted before which segments count, and uses no name
// twice.
func (w *walFiles) Delete(dir, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unwanted = append(w.unwanted, filepath.Join(dir, name))
	if !w.deleting {
		w.deleting = true
		w.wg.Go(w.deleteUnwanted)
	}
	return nil
}

// deleteUnwanted deletes one file after the other, with pauses in which the file
// system can serve the log.
func (w *walFiles) deleteUnwanted() {
	for {
		w.mu.Lock()
		if len(w.unwanted) == 0 || w.ctx.Err() != nil {
			w.deleting = false
			w.mu.Unlock()
			return
		}
		path := w.unwanted[0]
		w.unwanted = w.unwanted[1:]
		w.mu.Unlock()
		_ = os.Remove(path) // raft-wal tries again when it is opened
		select {
		case <-time.After(sparePause):
		case <-w.ctx.Done():
		}
	}
}

// prepare has a spare of that size made, if there is none yet. Without one the
// next segment is set aside in raft-wal's own way, so an error here is none.
func (w *walFiles) prepare(size uint64) {
	if w.ready.Load() != 0 || !w.making.CompareAndSwap(false, true) {
		return
	}
	w.wg.Go(func() {
		defer w.making.Store(false)
		_ = os.Remove(w.spare) // what a crash has left
		if writeZeros(w.ctx, w.spare, size, sparePause) == nil {
			w.ready.Store(size)
		}
	})
}

// writeZeros makes a file of zeros that are on the disk. It pauses after each
// step.
func writeZeros(ctx context.Context, path string, size uint64, pause time.Duration) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(path) // it is of no use
		}
	}()
	zeros := make([]byte, spareStep)
	for left := size; left > 0; {
		n, err := f.Write(zeros[:min(left, spareStep)])
		if err != nil {
			return fmt.Errorf("write a log segment in advance: %w", err)
		}
		left -= uint64(n) //nolint:gosec // at most left
		if err := syncData(f); err != nil {
			return fmt.Errorf("write a log segment in advance: %w", err)
		}
		if pause == 0 {
			continue
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// walFile is an open segment.
type walFile struct {
	*os.File
	dir   string
	named atomic.Bool // that it is in dir has been synced
}

// Sync makes durable what was written and, the first time, that there is the file.
func (f *walFile) Sync() error {
	if err := syncData(f.File); err != nil {
		return err
	}
	if f.named.Load() {
		return nil
	}
	d, err := os.Open(f.dir)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return err
	}
	f.named.Store(true)
	return nil
}
