package migration

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// The buckets of an atlantis.db.
const (
	BucketLocks        = "runLocks"
	BucketPulls        = "pulls"
	BucketCommandLocks = "globalLocks"
)

// copyOpenTimeout bounds the wait for the lock on a copy that nobody else has.
const copyOpenTimeout = 2 * time.Second

// SourceRecord is one stored record of a legacy system.
type SourceRecord struct {
	Bucket string
	Key    string
	Value  []byte // holds secrets; nil when Problem is set
	// Problem says why there is no value, "" when there is one.
	Problem string
}

// Source is everything that a legacy system stores.
type Source struct {
	Records []SourceRecord
	// Ignored names the buckets that are not Atlantis's.
	Ignored []string
}

// ReadBolt checks the structure of a copy and reads Atlantis's buckets.
func ReadBolt(c *Copy) (src *Source, err error) {
	if err := verifyCopy(c); err != nil {
		return nil, err
	}
	// A second line of defence behind the verification: a fault in the mapped
	// file becomes a panic, and a panic an error.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			src, err = nil, fmt.Errorf("%w: it cannot be read", ErrDamaged)
		}
	}()
	db, err := bolt.Open(c.Path, 0o600, &bolt.Options{ReadOnly: true, Timeout: copyOpenTimeout})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	src = &Source{}
	err = db.View(func(tx *bolt.Tx) error {
		if err := checkTx(tx); err != nil {
			return err
		}
		return src.read(tx)
	})
	if err != nil {
		return nil, err
	}
	return src, nil
}

func verifyCopy(c *Copy) error {
	f, err := os.Open(c.Path)
	if err != nil {
		return fmt.Errorf("open the copy: %w", err)
	}
	err = verifyBolt(f, c.meta)
	return errors.Join(err, f.Close())
}

// checkTx runs BoltDB's own check. Pages that belong to nothing are let pass:
// they waste room and hide no record. The check's texts quote keys, so only
// their number is told.
func checkTx(tx *bolt.Tx) error {
	found := 0
	for err := range tx.Check() {
		if !strings.HasSuffix(err.Error(), "unreachable unfreed") {
			found++
		}
	}
	if found > 0 {
		return fmt.Errorf("%w: its consistency check finds %d errors; restore it from a backup", ErrDamaged, found)
	}
	return nil
}

func (s *Source) read(tx *bolt.Tx) error {
	known := []string{BucketLocks, BucketPulls, BucketCommandLocks}
	if tx.Bucket([]byte(BucketLocks)) == nil {
		return fmt.Errorf("%w: it has no bucket %s", ErrNotAtlantis, BucketLocks)
	}
	return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
		bucket := string(name)
		if !slices.Contains(known, bucket) {
			s.Ignored = append(s.Ignored, bucket)
			return nil
		}
		return b.ForEach(func(k, v []byte) error {
			r := SourceRecord{Bucket: bucket, Key: string(k)}
			if v == nil { // so BoltDB marks a bucket within a bucket
				r.Problem = "it is a nested bucket, not a record"
			} else {
				r.Value = slices.Clone(v)
			}
			s.Records = append(s.Records, r)
			return nil
		})
	})
}
