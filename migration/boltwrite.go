package migration

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// What can be wrong with the place of a new file.
var (
	// ErrExists: there is a file already, and it was not to be replaced.
	ErrExists = errors.New("the file is there already")
	// ErrInUse: a process has the file open as a database.
	ErrInUse = errors.New("another process has the file open")
)

// writeBatch is how many records go into one transaction of a new file.
const writeBatch = 5000

// BoltFile is a file that was written.
type BoltFile struct {
	Digest string // as [Report.Digest] of its import
	SHA256 string
	Size   int64
}

// WriteBolt writes records of Atlantis's buckets to a new database, with mode
// 0600, beside its place; reads it back; and moves it there. A record without
// a value is refused.
//
// Errors: as [ExportBolt].
func WriteBolt(ctx context.Context, records []SourceRecord, o ExportOptions) (out *BoltFile, err error) {
	if err := checkPlace(o.File, o.Overwrite); err != nil {
		return nil, err
	}
	dir := filepath.Dir(o.File)
	part, err := os.CreateTemp(dir, "."+filepath.Base(o.File)+".part-*") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("make the file: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part.Name()))
		}
	}()
	if err := part.Close(); err != nil {
		return nil, fmt.Errorf("make the file: %w", err)
	}
	records = slices.Clone(records)
	slices.SortFunc(records, compareRecords)
	if err := fillBolt(ctx, part.Name(), records, o.Progress); err != nil {
		return nil, err
	}
	if out, err = readBack(ctx, part.Name(), records); err != nil {
		return nil, err
	}
	// Again: reading back took its time, and an Atlantis may have started.
	if err := checkPlace(o.File, o.Overwrite); err != nil {
		return nil, err
	}
	if err := os.Rename(part.Name(), o.File); err != nil {
		return nil, fmt.Errorf("name the file: %w", err)
	}
	return out, syncDir(dir)
}

// checkPlace refuses a place that may not be written to.
func checkPlace(path string, overwrite bool) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		dir := filepath.Dir(path)
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("there is no directory %s: make it, or give another name", dir)
		}
		return nil
	case err != nil:
		return fmt.Errorf("look at the file's place: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: %w, and is no regular file: give another name", path, ErrExists)
	case !overwrite:
		return fmt.Errorf("%s: %w: give another name, or replace it with --overwrite", path, ErrExists)
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("look at the file that is to be replaced: %w", err)
	}
	locked := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	ours := info.Size() == 0 || looksLikeBolt(f)
	if err := f.Close(); err != nil { // drops the lock
		return fmt.Errorf("look at the file that is to be replaced: %w", err)
	}
	if locked != nil {
		return fmt.Errorf("%s: %w: stop the Atlantis that uses it first", path, ErrInUse)
	}
	if !ours {
		return fmt.Errorf("%s: %w, and is no BoltDB file: give another name", path, ErrExists)
	}
	return nil
}

// looksLikeBolt reports whether a file begins as BoltDB's do: with a page header
// and the magic number of a meta page.
func looksLikeBolt(f *os.File) bool {
	var b [20]byte
	_, err := f.ReadAt(b[:], 0)
	return err == nil && binary.NativeEndian.Uint32(b[16:]) == 0xED0CDAED
}

// fillBolt writes records, which are in order, into an empty file.
func fillBolt(ctx context.Context, path string, records []SourceRecord, progress func(done, total int)) (err error) {
	// NoSync: one fsync at the end is enough for a file that has no name yet.
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: copyOpenTimeout, NoSync: true})
	if err != nil {
		return fmt.Errorf("make the database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	report := func(done int) {
		if progress != nil {
			progress(done, len(records))
		}
	}
	report(0)
	for done := 0; done == 0 || done < len(records); {
		batch := records[done:min(done+writeBatch, len(records))]
		if err := db.Update(func(tx *bolt.Tx) error { return putAll(tx, batch) }); err != nil {
			return fmt.Errorf("write the database: %w", err)
		}
		done += len(batch)
		report(done)
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(batch) == 0 {
			break
		}
	}
	if err := db.Sync(); err != nil {
		return fmt.Errorf("write the database: %w", err)
	}
	return nil
}

func putAll(tx *bolt.Tx, batch []SourceRecord) error {
	buckets := map[string]*bolt.Bucket{}
	for _, name := range []string{BucketLocks, BucketPulls, BucketCommandLocks} {
		b, err := tx.CreateBucketIfNotExists([]byte(name))
		if err != nil {
			return err
		}
		b.FillPercent = 0.9 // the records come in order
		buckets[name] = b
	}
	for _, r := range batch {
		b := buckets[r.Bucket]
		if b == nil || r.Value == nil {
			return fmt.Errorf("record %q of %q has no bucket of Atlantis's or no value", r.Key, r.Bucket)
		}
		if err := b.Put([]byte(r.Key), r.Value); err != nil {
			return err
		}
	}
	return nil
}

// readBack checks that a file holds exactly records.
func readBack(ctx context.Context, path string, records []SourceRecord) (*BoltFile, error) {
	c, err := CopyBolt(ctx, path, filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("read the new file back: %w", err)
	}
	src, err := ReadBolt(c)
	if err := errors.Join(err, c.Close()); err != nil {
		return nil, fmt.Errorf("read the new file back: %w", err)
	}
	slices.SortFunc(src.Records, compareRecords)
	same := slices.EqualFunc(src.Records, records, func(a, b SourceRecord) bool {
		return a.Bucket == b.Bucket && a.Key == b.Key && a.Problem == "" && bytes.Equal(a.Value, b.Value)
	})
	if !same {
		return nil, fmt.Errorf("the new file was read back and does not hold what was written (%d of %d records)", len(src.Records), len(records))
	}
	plan, err := BuildPlan(src, PlanOptions{})
	if err != nil {
		return nil, err
	}
	return &BoltFile{Digest: plan.DryRun().Digest, SHA256: c.SHA256, Size: c.size}, nil
}

// syncDir makes a rename durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
