package migration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
)

const (
	// copyTimeout bounds how long a consistent copy is tried for.
	copyTimeout = 20 * time.Second
	// copyEager is how many tries follow each other without a pause.
	copyEager = 200
	// copyPause is the pause between later tries.
	copyPause = 2 * time.Millisecond
	// copyInMemory is up to which size a file is read into memory first, so that
	// a writer has the least time to come in between.
	copyInMemory = 64 << 20
	// copyReaders is how many read into memory at the same time, for the same
	// reason, and copyPiece how many bytes each reads in one go.
	copyReaders = 4
	copyPiece   = 512 << 10
	// metaTries is how often broken meta pages are read again: a commit may
	// have been in the middle of one.
	metaTries = 20
)

// errChanged: a commit has ended while the file was copied.
var errChanged = errors.New("a commit came in between")

// Copy is a consistent copy of a BoltDB file in a temporary file of its own.
type Copy struct {
	Path     string // readable by this user only
	SHA256   string // of the bytes that were copied
	Txid     uint64 // the transaction that it shows the state after
	Attempts int

	meta boltMeta
	size int64
}

// Close removes the copy, which holds secrets.
func (c *Copy) Close() error { return os.Remove(c.Path) }

// CopyBolt copies the BoltDB file at path, which another process may have open
// and be writing to. The source is only ever read, and not locked. The copy is
// made in tempDir, or in the system's directory for temporary files.
//
// Errors: [ErrNotBolt], [ErrTruncated], [ErrDamaged], [ErrBusy], or those of
// the file system.
func CopyBolt(ctx context.Context, path, tempDir string) (*Copy, error) {
	return copyBolt(ctx, path, tempDir, copyInMemory, true)
}

// copyBolt is CopyBolt with files of up to inMemory bytes read in one go, and a
// hash of them only if sum is set.
func copyBolt(ctx context.Context, path, tempDir string, inMemory int64, sum bool) (c *Copy, err error) {
	parent := ctx
	ctx, cancel := context.WithTimeout(parent, copyTimeout)
	defer cancel()
	// CreateTemp makes the file with mode 0600.
	dst, err := os.CreateTemp(tempDir, "lockcluster-import-*.db")
	if err != nil {
		return nil, fmt.Errorf("create the copy: %w", err)
	}
	defer func() {
		err = errors.Join(err, dst.Close())
		if err != nil {
			c = nil
			err = errors.Join(err, os.Remove(dst.Name()))
		}
	}()
	cp := copier{path: path, dst: dst, inMemory: inMemory, hash: sum}
	defer cp.close()
	for tries := 1; ; tries++ {
		done, err := cp.try()
		switch {
		case err != nil && (tries >= metaTries || !cp.transient(err)):
			return nil, err
		case done:
			return &Copy{
				Path: dst.Name(), SHA256: cp.sum, Txid: cp.metas.best.txid, Attempts: tries,
				meta: cp.metas.best, size: cp.size,
			}, nil
		}
		if err := pause(ctx, tries); err != nil {
			if parent.Err() != nil {
				return nil, fmt.Errorf("copy %s: %w", path, parent.Err())
			}
			return nil, fmt.Errorf("%s: %w: %d tries to copy it met a commit each; try again when fewer locks change", path, ErrBusy, tries)
		}
	}
}

// pause waits a little before the next try.
func pause(ctx context.Context, tries int) error {
	if tries < copyEager {
		return ctx.Err()
	}
	t := time.NewTimer(copyPause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// copier tries to copy one file until no commit comes in between.
type copier struct {
	path     string
	inMemory int64
	hash     bool
	src      *os.File
	dst      *os.File
	buf      []byte

	metas boltMetas
	size  int64
	sum   string
}

func (c *copier) close() {
	if c.src != nil {
		_ = c.src.Close() // opened for reading: nothing can be lost
		c.src = nil
	}
}

// transient reports whether err may come from reading in the middle of a
// write.
func (c *copier) transient(err error) bool {
	return errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotBolt) && c.size > 0
}

// try makes one copy; done is false when it cannot be trusted.
//
// Why it can be trusted when both meta pages are the same before and after: a
// commit writes a meta page last, so no commit has ended in between; and one
// that was under way writes only to pages that the present state does not use.
func (c *copier) try() (done bool, err error) {
	if err := c.open(); err != nil {
		return false, err
	}
	before, err := readMetas(c.src)
	if err != nil {
		return false, fmt.Errorf("%s: %w", c.path, err)
	}
	if err := c.copyAll(before); errors.Is(err, errChanged) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("copy %s: %w", c.path, err)
	}
	after, err := readMetas(c.src)
	if err != nil || after != before {
		return false, nil //nolint:nilerr // a page that was whole a moment ago is being written
	}
	if !c.inPlace() {
		c.close() // another file took its place: begin anew with that
		return false, nil
	}
	c.metas = after
	if need := int64(after.best.pages) * after.best.pageSize; after.best.pages > uint64(c.size) || need > c.size {
		return false, fmt.Errorf("%s: %w: it has %d bytes and should have %d; restore it from a backup, or import the file of a stopped Atlantis",
			c.path, ErrTruncated, c.size, need)
	}
	return true, c.finish()
}

// open opens the source, and refuses what is not a file.
func (c *copier) open() error {
	if c.src != nil {
		return nil
	}
	info, err := os.Stat(c.path)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w: it is no regular file; name the atlantis.db itself", c.path, ErrNotBolt)
	}
	c.size = info.Size()
	if c.size == 0 {
		return fmt.Errorf("%s: %w: it is empty", c.path, ErrNotBolt)
	}
	c.src, err = os.Open(c.path)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	return nil
}

// inPlace reports whether the path still names the file that was read.
func (c *copier) inPlace() bool {
	now, err := os.Stat(c.path)
	if err != nil {
		return false
	}
	was, err := c.src.Stat()
	return err == nil && os.SameFile(now, was)
}

// copyAll copies the whole file as it is now: into memory if it is small.
func (c *copier) copyAll(before boltMetas) error {
	info, err := c.src.Stat()
	if err != nil {
		return err
	}
	c.size = info.Size()
	if c.size <= c.inMemory {
		if int64(cap(c.buf)) < c.size {
			c.buf = make([]byte, c.size)
		}
		c.buf = c.buf[:c.size]
		return c.readAll(before)
	}
	c.buf = nil
	if err := c.dst.Truncate(0); err != nil {
		return err
	}
	h := sha256.New()
	w := io.MultiWriter(io.NewOffsetWriter(c.dst, 0), h)
	if _, err := io.Copy(w, io.NewSectionReader(c.src, 0, c.size)); err != nil {
		return err
	}
	c.sum = hex.EncodeToString(h.Sum(nil))
	return nil
}

// readAll fills the buffer. It stops early, with [errChanged], when a commit has
// ended: then the next try can begin at once, and has all the time until the next
// commit.
func (c *copier) readAll(before boltMetas) error {
	var next atomic.Int64
	errs := make(chan error, copyReaders)
	for range copyReaders {
		go func() { errs <- c.readPieces(before, &next) }()
	}
	var err error
	for range copyReaders {
		err = errors.Join(err, <-errs)
	}
	return err
}

// readPieces reads one piece after another, from next on, until none is left.
func (c *copier) readPieces(before boltMetas, next *atomic.Int64) error {
	for {
		off := next.Add(copyPiece) - copyPiece
		if off >= c.size {
			return nil
		}
		if now, err := readMetas(c.src); err != nil || now != before {
			next.Store(c.size) // nobody need go on
			return errChanged
		}
		if _, err := c.src.ReadAt(c.buf[off:min(off+copyPiece, c.size)], off); err != nil {
			return err
		}
	}
}

// finish writes a copy that was made in memory.
func (c *copier) finish() error {
	if c.buf == nil {
		return nil
	}
	if c.hash {
		sum := sha256.Sum256(c.buf)
		c.sum = hex.EncodeToString(sum[:])
	}
	err := c.dst.Truncate(0) // an earlier try may have copied a larger file
	if err == nil {
		_, err = c.dst.WriteAt(c.buf, 0)
	}
	if err != nil {
		return fmt.Errorf("write the copy: %w", err)
	}
	return nil
}

// hashFile returns the SHA-256 of a file as it is now.
func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("hash %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
