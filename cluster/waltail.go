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
	"time"

	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// recoverTail makes the segment that raft-wal in dir appends to one that it can
// go on with. raft-wal reads it up to the first thing that is not valid: it does
// not tell a write that a crash has cut short from what was acknowledged and
// damaged later, which is refused here. What is cut short is cleared, so that the
// next time, too, it is the last.
func recoverTail(dir string) (err error) {
	defer orPanic(&err)
	var meta metadb.BoltMetaDB
	defer func() { err = errors.Join(err, meta.Close()) }()
	state, err := meta.Load(dir)
	if err != nil {
		return err
	}
	if err := verifySegments(dir, state); err != nil || len(state.Segments) == 0 {
		return err
	}
	info := state.Segments[len(state.Segments)-1]
	f, err := os.OpenFile(filepath.Join(dir, segment.FileName(info)), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a crash came between noting it and making it
	}
	if err != nil {
		return err
	}
	defer f.Close()
	t, err := recoverSegment(f, info)
	if err != nil || t.indexStart == 0 {
		return err
	}
	return meta.CommitState(rotated(state, t))
}

// rotated returns what raft-wal notes after it has completed the open segment. If
// a crash keeps it from doing so, it refuses all further entries.
func rotated(s types.PersistentState, t walTail) types.PersistentState {
	now := time.Now()
	last := &s.Segments[len(s.Segments)-1]
	last.SealTime, last.IndexStart = now, uint64(t.indexStart) //nolint:gosec // not negative
	last.MaxIndex = t.next - 1
	s.Segments = append(s.Segments, types.SegmentInfo{
		ID: s.NextSegmentID, BaseIndex: t.next, MinIndex: t.next, SizeLimit: walSegmentSize, Codec: last.Codec, CreateTime: now,
	})
	s.NextSegmentID++
	return s
}

// recoverSegment checks a segment, clears what a crash has left at its end, and
// gives it its full size if a crash or a full disk came before it had it.
func recoverSegment(f *os.File, info types.SegmentInfo) (walTail, error) {
	b, err := io.ReadAll(f)
	if err != nil {
		return walTail{}, err
	}
	t := readTail(b, info.BaseIndex)
	if t.damaged(b, int(info.SizeLimit)) {
		return t, fmt.Errorf("%s: %w at byte %d or behind", filepath.Base(f.Name()), errDamaged, t.good)
	}
	end := len(bytes.TrimRight(b, "\x00"))
	if end <= t.good && len(b) >= int(info.SizeLimit) {
		return t, nil
	}
	if end > t.good {
		_, err = f.WriteAt(make([]byte, end-t.good), int64(t.good))
	}
	if len(b) < int(info.SizeLimit) {
		err = errors.Join(err, f.Truncate(int64(info.SizeLimit)))
	}
	if err = errors.Join(err, syncData(f)); err != nil {
		return t, fmt.Errorf("clear what a crash has left in %s: %w", f.Name(), err)
	}
	return t, nil
}

// A segment is a header and frames; a frame begins with its type and its length,
// or its checksum if it is the commit that ends what was written at once. What
// was never written is zeros. See package segment of raft-wal.
const (
	walHeader  = 32
	walFrame   = 8 // of its beginning, and what its length is rounded up to
	sectorSize = 512
)

// walTail is how far a segment is valid.
type walTail struct {
	good       int    // end of the last write up to which all are valid
	next       uint64 // index of the next entry
	indexStart int    // of the offsets that complete the segment, 0 if it is not
}

// readTail reads the segment whose first entry has that index.
func readTail(b []byte, base uint64) walTail {
	t := walTail{next: base}
	now, at := t, walHeader
	for at+walFrame <= len(b) {
		if isCommit(b[at:]) {
			if crc32.Checksum(b[t.good:at], castagnoli) != checksumOf(b[at:]) {
				return t
			}
			at += walFrame
			now.good = at
			t = now
			continue
		}
		end, ok := frameEnd(b, at)
		switch {
		case !ok:
			return t
		case b[at] == segment.FrameEntry:
			now.next++
		default:
			now.indexStart = at + walFrame
		}
		at = end
	}
	return t
}

// frameEnd returns the end of the entry, or of the offsets, that are at at.
func frameEnd(b []byte, at int) (end int, ok bool) {
	if b[at] != segment.FrameEntry && b[at] != segment.FrameIndex || b[at+1]|b[at+2]|b[at+3] != 0 {
		return 0, false
	}
	n := uint64(checksumOf(b[at:]))
	return (at + 2*walFrame - 1 + int(n)) &^ (walFrame - 1), n <= uint64(len(b)-at-walFrame) //nolint:gosec // neither overflows
}

// damaged reports whether a segment holds, from good on, what was written as a
// whole and is not valid any more. What a crash has cut short is no damage: it is
// the last that was written, and its end is missing or whole sectors before that.
func (t walTail) damaged(b []byte, size int) bool {
	good, end := t.good, len(bytes.TrimRight(b, "\x00"))
	switch {
	case end <= good:
		return false
	case good > 0 && len(b) < size && end+sectorSize > len(b):
		return true // it has been cut off, because it has its full size before it is used
	}
	from := t.entriesTo(b)
	if t.commitsFollow(b, from) {
		return true
	}
	frame := (end - 1) &^ (walFrame - 1)
	switch {
	case frame < from || frame == good || frame+walFrame > len(b):
		return false
	case checksumOf(b[frame:]) == crc32.Checksum(b[good:frame], castagnoli):
		return true // all is there, but it does not begin as a commit
	}
	return isCommit(b[frame:]) && !sectorMissing(b, good, frame+walFrame)
}

// entriesTo returns the end, which may lie behind that of b, of the entries from
// good on whose lengths are beyond doubt: what is within one may be anything a
// client has sent, also what looks like a commit.
func (t walTail) entriesTo(b []byte) int {
	at := t.good
	if at == 0 {
		at = walHeader
	}
	for next := t.next; at+walFrame <= len(b) && b[at] == segment.FrameEntry; next++ {
		n := int(checksumOf(b[at:]))
		if n != entrySize(b[at+walFrame:], next) {
			break
		}
		at = (at + 2*walFrame - 1 + n) &^ (walFrame - 1)
	}
	return at
}

// entrySize returns how long an entry is by its own account, see raft-wal's
// BinaryCodec, and 0 if it is not the one of that index.
func entrySize(b []byte, index uint64) int {
	const noExtensions, aTime = 1, 15
	size := 0
	var fields [4]uint64 // index, term, type, length of the data
	for i := range fields {
		v, n := binary.Uvarint(b[min(size, len(b)):])
		if n <= 0 {
			return 0
		}
		fields[i], size = v, size+n
	}
	if fields[0] != index || fields[3] > segment.MaxEntrySize {
		return 0
	}
	return size + int(fields[3]) + noExtensions + aTime //nolint:gosec // bounded above
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
func (t walTail) commitsFollow(b []byte, from int) bool {
	last := -1
	for at := from; at+walFrame <= len(b); at += walFrame {
		if !isCommit(b[at:]) {
			continue
		}
		if last >= 0 && t.isLaterWrite(b[:at+walFrame], last) {
			return true
		}
		last = at + walFrame
	}
	return false
}

// isLaterWrite reports whether the bytes from from on are a write, up to its
// commit, of entries behind the next one. What a client has sent may be a copy of
// this log: its entries are earlier ones.
func (t walTail) isLaterWrite(b []byte, from int) bool {
	commit := len(b) - walFrame
	at, index := from, uint64(0)
	for at < commit {
		end, ok := frameEnd(b, at)
		if !ok {
			return false
		}
		if b[at] == segment.FrameEntry {
			i, _ := binary.Uvarint(b[at+walFrame : min(end, len(b))])
			if i <= t.next || index > 0 && i != index+1 {
				return false
			}
			index = i
		}
		at = end
	}
	return from < at && at == commit && crc32.Checksum(b[from:at], castagnoli) == checksumOf(b[at:])
}

func isCommit(b []byte) bool { return b[0] == segment.FrameCommit && b[1]|b[2]|b[3] == 0 }

// checksumOf returns the second half of a frame's beginning, which is a length
// unless the frame is a commit.
func checksumOf(b []byte) uint32 { return binary.LittleEndian.Uint32(b[4:walFrame]) }
