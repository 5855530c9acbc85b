package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
)

// verifyTail checks the segment that raft-wal in dir appends to. raft-wal reads it
// up to the first thing that is not valid, and goes on there: it does not tell a
// write that a crash has cut short from what was acknowledged and damaged later.
// What is cut short is cleared here, so that the next time, too, it is the last.
func verifyTail(dir string) error {
	name, size, err := tailSegment(dir)
	if name == "" || err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a crash came between noting it and making it
	}
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	good, damaged := damagedFrom(b, size)
	if damaged {
		return fmt.Errorf("%s: %w at byte %d or behind", name, errDamaged, good)
	}
	end := len(bytes.TrimRight(b, "\x00"))
	if end <= good {
		return nil
	}
	if _, err := f.WriteAt(make([]byte, end-good), int64(good)); err != nil {
		return fmt.Errorf("clear what a crash has left in %s: %w", name, err)
	}
	return syncData(f)
}

// tailSegment returns the name and the size of the segment that is not complete,
// or no name.
func tailSegment(dir string) (name string, size int, err error) {
	var meta metadb.BoltMetaDB
	persisted, err := meta.Load(dir)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, meta.Close()) }()
	if len(persisted.Segments) == 0 {
		return "", 0, nil
	}
	last := persisted.Segments[len(persisted.Segments)-1]
	if !last.SealTime.IsZero() {
		return "", 0, nil
	}
	return segment.FileName(last), int(last.SizeLimit), nil
}

// A segment is a header and frames; a frame begins with its type and its length,
// or its checksum if it is the commit that ends what was written at once. What
// was never written is zeros. See package segment of raft-wal.
const (
	walHeader  = 32
	walFrame   = 8 // of its beginning, and what its length is rounded up to
	sectorSize = 512
)

// damagedFrom reports whether a segment holds what was written as a whole and is
// not valid any more, and where that begins. What a crash has cut short is no
// damage: it is the last that was written, and its end is missing or whole
// sectors before that.
func damagedFrom(b []byte, sizeMin int) (good int, damaged bool) {
	good = committedTo(b)
	if good > 0 && len(b) < sizeMin {
		return len(b), true // a segment has its full size before it is used
	}
	end := len(bytes.TrimRight(b, "\x00"))
	if end <= good {
		return good, false
	}
	if commitsFollow(b, good) {
		return good, true
	}
	frame := (end - 1) &^ (walFrame - 1)
	switch {
	case frame <= good || frame+walFrame > len(b):
		return good, false
	case checksumOf(b[frame:]) == crc32.Checksum(b[good:frame], castagnoli):
		return good, true // all is there, but it does not begin as a commit
	}
	return good, isCommit(b[frame:]) && !sectorMissing(b, good, frame+walFrame)
}

// sectorMissing reports whether a sector, or what of it lies within the bounds,
// was never written.
func sectorMissing(b []byte, from, to int) bool {
	for from < to {
		next := min(from&^(sectorSize-1)+sectorSize, to)
		if len(bytes.TrimRight(b[from:next], "\x00")) == 0 {
			return true
		}
		from = next
	}
	return false
}

// commitsFollow reports whether a valid write follows one that is not: the next
// is only begun when the one before has been acknowledged.
func commitsFollow(b []byte, from int) bool {
	last := -1
	for at := from; at+walFrame <= len(b); at += walFrame {
		if !isCommit(b[at:]) {
			continue
		}
		if last >= 0 && crc32.Checksum(b[last:at], castagnoli) == checksumOf(b[at:]) {
			return true
		}
		last = at + walFrame
	}
	return false
}

// committedTo returns the end of the last write up to which all are valid.
func committedTo(b []byte) int {
	good, at := 0, walHeader
	for at+walFrame <= len(b) {
		switch n := uint64(checksumOf(b[at:])); {
		case isCommit(b[at:]):
			if crc32.Checksum(b[good:at], castagnoli) != checksumOf(b[at:]) {
				return good
			}
			at += walFrame
			good = at
		case b[at] == segment.FrameEntry || b[at] == segment.FrameIndex:
			if n > uint64(len(b)-at-walFrame) { //nolint:gosec // not negative
				return good
			}
			at += (walFrame + int(n) + walFrame - 1) &^ (walFrame - 1)
		default:
			return good
		}
	}
	return good
}

func isCommit(b []byte) bool { return b[0] == segment.FrameCommit && b[1]|b[2]|b[3] == 0 }

// checksumOf returns the second half of a frame's beginning, which is a length
// unless the frame is a commit.
func checksumOf(b []byte) uint32 { return binary.LittleEndian.Uint32(b[4:walFrame]) }
