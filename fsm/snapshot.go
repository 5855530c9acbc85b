package fsm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/lockcluster/lockcluster/fsm/state"
)

// The snapshot format. A magic of 8 bytes, then frames:
//
//	type (1 byte) | payload length (4, big endian) | CRC32C of type, length, payload (4) | payload
//
// Frame 'h', first and once: index, term, record count (8 bytes each).
// Frame 'r', any number: records in key order, each as uvarint key length, key,
// uvarint value length, value.
// Frame 't', last and once: record count (8 bytes), data hash, books hash (32
// bytes each). Nothing may follow.
//
// Version history: "LCSNAP\x00\x01" first version.
const snapshotMagic = "LCSNAP\x00\x01"

const (
	frameHeader  = 'h'
	frameRecords = 'r'
	frameTrailer = 't'
	// frameTarget is the size at which a frame of records is closed.
	frameTarget = 256 << 10
	// frameSizeMax is the largest frame a reader accepts: one record of the
	// largest value and key, with room for the answers about many records that
	// earlier versions remembered with all their values.
	frameSizeMax = 256 << 20
)

// ErrCorruptSnapshot marks a snapshot that cannot be trusted. Nothing was changed.
var ErrCorruptSnapshot = errors.New("snapshot is corrupt or from a newer version")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SnapshotInfo is what a snapshot says of itself.
type SnapshotInfo struct {
	Index   uint64
	Term    uint64
	Records uint64
	Hashes  state.Hashes
	Stats   state.Stats
}

// WriteSnapshot writes view to w.
func WriteSnapshot(w io.Writer, view *state.View) error {
	bw := bufio.NewWriterSize(w, 2*frameTarget)
	if _, err := bw.WriteString(snapshotMagic); err != nil {
		return err
	}
	var head []byte
	head = binary.BigEndian.AppendUint64(head, view.Index())
	head = binary.BigEndian.AppendUint64(head, view.Term())
	head = binary.BigEndian.AppendUint64(head, uint64(view.Len()))
	if err := writeFrame(bw, frameHeader, head); err != nil {
		return err
	}
	if err := writeRecords(bw, view); err != nil {
		return err
	}
	tail := binary.BigEndian.AppendUint64(nil, uint64(view.Len()))
	tail = appendHash(tail, view.Hashes().Data)
	tail = appendHash(tail, view.Hashes().Books)
	if err := writeFrame(bw, frameTrailer, tail); err != nil {
		return err
	}
	return bw.Flush()
}

func writeRecords(w io.Writer, view *state.View) error {
	buf := make([]byte, 0, frameTarget+frameTarget/4)
	var failed error
	view.Scan("", "", func(key string, value []byte) bool {
		buf = binary.AppendUvarint(buf, uint64(len(key)))
		buf = append(buf, key...)
		buf = binary.AppendUvarint(buf, uint64(len(value)))
		buf = append(buf, value...)
		if len(buf) >= frameTarget {
			failed = writeFrame(w, frameRecords, buf)
			buf = buf[:0]
		}
		return failed == nil
	})
	if failed == nil && len(buf) > 0 {
		failed = writeFrame(w, frameRecords, buf)
	}
	return failed
}

func writeFrame(w io.Writer, kind byte, payload []byte) error {
	var head [9]byte
	head[0] = kind
	binary.BigEndian.PutUint32(head[1:5], uint32(len(payload)))
	binary.BigEndian.PutUint32(head[5:9], frameSum(head[:5], payload))
	if _, err := w.Write(head[:]); err != nil {
		return err
	}
	_, err := w.Write(payload)
	return err
}

func frameSum(head, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, payload)
}

func appendHash(b []byte, h state.Hash) []byte {
	for _, lane := range h {
		b = binary.BigEndian.AppendUint64(b, lane)
	}
	return b
}

// ReadSnapshot reads what [WriteSnapshot] wrote into a new store. It verifies
// every checksum, the record count and both hashes; every error wraps
// [ErrCorruptSnapshot] or is the reader's own.
func ReadSnapshot(r io.Reader) (*state.Mem, error) {
	br := bufio.NewReaderSize(r, 1<<20)
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(br, magic); err != nil || string(magic) != snapshotMagic {
		return nil, fmt.Errorf("%w: it does not begin as a snapshot of this version", ErrCorruptSnapshot)
	}
	kind, head, err := readFrame(br, nil)
	if err != nil {
		return nil, err
	}
	if kind != frameHeader || len(head) != 24 {
		return nil, fmt.Errorf("%w: no header", ErrCorruptSnapshot)
	}
	index, term := binary.BigEndian.Uint64(head), binary.BigEndian.Uint64(head[8:])
	want := binary.BigEndian.Uint64(head[16:])
	mem := state.NewMem()
	err = mem.Restore(index, term, func(put func(string, []byte)) error {
		return readRecords(br, want, put, func() state.Hashes { return mem.RestoringHashes() })
	})
	if err != nil {
		return nil, err
	}
	if _, err := br.ReadByte(); err != io.EOF {
		return nil, fmt.Errorf("%w: data after the end", ErrCorruptSnapshot)
	}
	return mem, nil
}

func readRecords(br *bufio.Reader, want uint64, put func(string, []byte), hashes func() state.Hashes) error {
	var count uint64
	var buf []byte
	last := ""
	for {
		kind, payload, err := readFrame(br, buf)
		if err != nil {
			return err
		}
		buf = payload
		switch kind {
		case frameRecords:
			for len(payload) > 0 {
				key, value, rest, ok := cutRecord(payload)
				if !ok || key <= last {
					return fmt.Errorf("%w: record %d cannot be read or is out of order", ErrCorruptSnapshot, count)
				}
				put(key, value)
				last, payload = key, rest
				count++
			}
		case frameTrailer:
			return checkTrailer(payload, count, want, hashes())
		default:
			return fmt.Errorf("%w: unknown frame 0x%02x", ErrCorruptSnapshot, kind)
		}
	}
}

func checkTrailer(payload []byte, count, want uint64, hashes state.Hashes) error {
	expect := binary.BigEndian.AppendUint64(nil, count)
	expect = appendHash(expect, hashes.Data)
	expect = appendHash(expect, hashes.Books)
	if count != want || string(expect) != string(payload) {
		return fmt.Errorf("%w: record count or hash does not match its content", ErrCorruptSnapshot)
	}
	return nil
}

// cutRecord takes one record off b; the value is a copy.
func cutRecord(b []byte) (key string, value, rest []byte, ok bool) {
	k, b, ok := cutBytes(b)
	if !ok || len(k) == 0 {
		return "", nil, nil, false
	}
	v, b, ok := cutBytes(b)
	if !ok {
		return "", nil, nil, false
	}
	return string(k), append([]byte(nil), v...), b, true
}

func cutBytes(b []byte) (field, rest []byte, ok bool) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, nil, false
	}
	return b[used : used+int(n)], b[used+int(n):], true
}

// readFrame reads one frame, into buf if it is large enough.
func readFrame(br *bufio.Reader, buf []byte) (kind byte, payload []byte, err error) {
	var head [9]byte
	if _, err := io.ReadFull(br, head[:]); err != nil {
		return 0, nil, fmt.Errorf("%w: it ends early: %v", ErrCorruptSnapshot, err)
	}
	size := binary.BigEndian.Uint32(head[1:5])
	if size > frameSizeMax {
		return 0, nil, fmt.Errorf("%w: a frame of %d bytes", ErrCorruptSnapshot, size)
	}
	if cap(buf) < int(size) {
		buf = make([]byte, size)
	}
	payload = buf[:size]
	if _, err := io.ReadFull(br, payload); err != nil {
		return 0, nil, fmt.Errorf("%w: it ends early: %v", ErrCorruptSnapshot, err)
	}
	if binary.BigEndian.Uint32(head[5:9]) != frameSum(head[:5], payload) {
		return 0, nil, fmt.Errorf("%w: checksum mismatch", ErrCorruptSnapshot)
	}
	return head[0], payload, nil
}

// InspectSnapshot reads and verifies a whole snapshot, checks the invariants
// of its content and returns what it holds.
func InspectSnapshot(r io.Reader) (SnapshotInfo, error) {
	mem, err := ReadSnapshot(r)
	if err != nil {
		return SnapshotInfo{}, err
	}
	view := mem.View()
	if err := state.CheckInvariants(view); err != nil {
		return SnapshotInfo{}, fmt.Errorf("%w: %v", ErrCorruptSnapshot, err)
	}
	return SnapshotInfo{
		Index: view.Index(), Term: view.Term(), Records: uint64(view.Len()), Hashes: view.Hashes(), Stats: state.GetStats(view),
	}, nil
}
