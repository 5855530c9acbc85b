package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"

	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
	"go.etcd.io/bbolt"
)

// errDamaged marks what was acknowledged and is not there any more. The libraries
// take some kinds of damage for what a crash leaves of a write that was never
// acknowledged, and go on without it, so it is looked for before they open the files.
var errDamaged = errors.New("damaged")

// verifyStores refuses such damage in the bbolt files of a settled node.
func verifyStores(path, logStore string) error {
	vote := filepath.Join(path, voteFile)
	log := filepath.Join(path, walDir, walMetaFile)
	if logStore == LogStoreBoltDB {
		log = filepath.Join(path, logFile)
	}
	for _, f := range []string{vote, log} {
		if err := verifyBolt(f); err != nil {
			return err
		}
	}
	return verifyVote(vote)
}

// verifyVote refuses a stable store that lacks what it had: raft would take it
// that it has not voted. A lost key is told from one that never was by the name
// that it has now, and by the others, which are written before it.
func verifyVote(path string) (err error) {
	defer orPanic(&err)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: boltOpenTimeout})
	if err != nil {
		return err
	}
	defer db.Close()
	missing := func(key string) error { return fmt.Errorf("%s: %w: %s is not there", voteFile, errDamaged, key) }
	return db.View(func(tx *bbolt.Tx) error {
		conf := tx.Bucket([]byte(boltConf))
		if conf == nil {
			return missing(boltConf)
		}
		keys := map[string]bool{keyCurrentTerm: false, keyLastVoteTerm: false, keyLastVoteCand: false}
		err := conf.ForEach(func(key, value []byte) error {
			if _, known := keys[string(key)]; !known || len(value) == 0 {
				return fmt.Errorf("%s: %w: it has %d bytes under the key %.32q", voteFile, errDamaged, len(value), key)
			}
			keys[string(key)] = true
			_, err := openStable(key, value)
			return err
		})
		switch {
		case err != nil:
			return err
		case !keys[keyCurrentTerm]:
			return missing(keyCurrentTerm)
		case keys[keyLastVoteCand] && !keys[keyLastVoteTerm]:
			return missing(keyLastVoteTerm)
		}
		return nil
	})
}

// orPanic turns a panic, which is how bbolt and raft-wal meet some kinds of
// damage, into an error.
func orPanic(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the files are %w: %v", errDamaged, r)
	}
}

// verifySegments checks what raft-wal in dir has noted of its segments, which has
// no checksum: a segment that it has not noted it deletes, one that is not there
// it makes anew.
func verifySegments(dir string, s types.PersistentState) error {
	files, err := walfs.New().ListDir(dir)
	if err != nil {
		return err
	}
	files = slices.DeleteFunc(files, func(name string) bool { return filepath.Ext(name) != ".wal" })
	if len(s.Segments) == 0 {
		if len(files) > 0 || s.NextSegmentID > 0 {
			return fmt.Errorf("%s: %w: it has no segment", walMetaFile, errDamaged)
		}
		return nil
	}
	for i, seg := range s.Segments {
		last := i == len(s.Segments)-1
		sound := seg.BaseIndex > 0 && seg.MinIndex >= seg.BaseIndex && seg.SealTime.IsZero() == last
		if last {
			sound = sound && seg.ID+1 == s.NextSegmentID && seg.MaxIndex == 0
		} else {
			next := s.Segments[i+1]
			sound = sound && next.ID > seg.ID && seg.MinIndex <= seg.MaxIndex &&
				next.BaseIndex == seg.MaxIndex+1 && next.MinIndex == next.BaseIndex
		}
		if !sound {
			return fmt.Errorf("%s: %w: what it says of segment %d cannot be", walMetaFile, errDamaged, seg.ID)
		}
	}
	// What is noted of the last is right if it has a file: what else there is was
	// given up. Without, no other file can be of the same or of a later segment.
	tail := s.Segments[len(s.Segments)-1]
	if _, err := os.Stat(filepath.Join(dir, segment.FileName(tail))); err == nil {
		return nil
	}
	for _, name := range files {
		var base, id uint64
		if _, err := fmt.Sscanf(name, "%d-%x.wal", &base, &id); err != nil || id >= tail.ID {
			return fmt.Errorf("%s: %w: it does not know %s", walMetaFile, errDamaged, name)
		}
	}
	return nil
}

// bbolt keeps the root of its tree in two pages by turns, each with a checksum,
// and goes on from the older one when the newer is not valid. That loses the
// last commit: a vote, or acknowledged entries. No crash leaves such a page,
// because what is in it lies in one sector of a disk.
const (
	boltPageHeader = 16
	boltMagic      = 0xED0CDAED
	boltSummed     = 56 // bytes of a root before its checksum
	boltPages      = 40 // where a root says how many pages there are
)

// verifyBolt checks both roots of a bbolt file.
func verifyBolt(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	pageSize := int64(0)
	for page := range int64(2) {
		b := make([]byte, boltPageHeader+boltSummed+8)
		if _, err := f.ReadAt(b, page*pageSize); err != nil {
			return fmt.Errorf("%s: %w: root %d cannot be read: %w", filepath.Base(path), errDamaged, page, err)
		}
		root := b[boltPageHeader:]
		sum := fnv.New64a()
		sum.Write(root[:boltSummed])
		if binary.NativeEndian.Uint32(root) != boltMagic || binary.NativeEndian.Uint64(root[boltSummed:]) != sum.Sum64() {
			return fmt.Errorf("%s: %w: root %d does not match its checksum", filepath.Base(path), errDamaged, page)
		}
		pageSize = int64(binary.NativeEndian.Uint32(root[8:]))
		pages := binary.NativeEndian.Uint64(root[boltPages:])
		if info, err := f.Stat(); err != nil || uint64(info.Size()) < pages*uint64(pageSize) { //nolint:gosec // neither is negative
			return errors.Join(fmt.Errorf("%s: %w: it has fewer than %d pages", filepath.Base(path), errDamaged, pages), err)
		}
	}
	return nil
}
