package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
)

// errDamaged marks what was acknowledged and is not there any more. The libraries
// take some kinds of damage for what a crash leaves of a write that was never
// acknowledged, and go on without it, so it is looked for before they open the files.
var errDamaged = errors.New("damaged")

// verifyStores refuses such damage in the stores of a settled node, and clears
// what a crash has left in the log.
func verifyStores(path, logStore string) error {
	if err := verifyBolt(filepath.Join(path, voteFile)); err != nil {
		return err
	}
	if logStore == LogStoreBoltDB {
		return verifyBolt(filepath.Join(path, logFile))
	}
	wal := filepath.Join(path, walDir)
	if err := verifyBolt(filepath.Join(wal, walMetaFile)); err != nil {
		return err
	}
	return verifyTail(wal)
}

// bbolt keeps the root of its tree in two pages by turns, each with a checksum,
// and goes on from the older one when the newer is not valid. That loses the
// last commit: a vote, or acknowledged entries. No crash leaves such a page,
// because what is in it lies in one sector of a disk.
const (
	boltPageHeader = 16
	boltMagic      = 0xED0CDAED
	boltSummed     = 56 // bytes of a root before its checksum
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
	}
	return nil
}
