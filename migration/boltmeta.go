package migration

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// What can be wrong with a source file.
var (
	// ErrNotBolt: the file is something else than a BoltDB database.
	ErrNotBolt = errors.New("not a BoltDB file")
	// ErrTruncated: the file ends before its last page.
	ErrTruncated = errors.New("the BoltDB file is truncated")
	// ErrDamaged: the file's structure is broken.
	ErrDamaged = errors.New("the BoltDB file is damaged")
	// ErrNotAtlantis: a sound BoltDB file, but not of Atlantis.
	ErrNotAtlantis = errors.New("not an Atlantis database")
	// ErrBusy: the file changed faster than it could be copied.
	ErrBusy = errors.New("the file keeps changing")
)

// The file format of boltdb/bolt and bbolt, version 2, in the byte order of
// the machine that wrote it.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHeaderSize = 16
	metaSize       = 64
	metaSumOffset  = 56

	pageSizeMin = 512
	pageSizeMax = 16 << 20

	noFreelist = ^uint64(0)
)

// boltMeta is one of the two meta pages. A commit writes its data pages first
// and then the meta page that the state before the last one used.
type boltMeta struct {
	pageSize int64
	root     uint64
	freelist uint64
	pages    uint64 // high water mark: pages of the database
	txid     uint64
}

// parseMeta reads the meta page at b; ok is false when it is not a whole one.
func parseMeta(b []byte) (m boltMeta, ok bool) {
	if len(b) < pageHeaderSize+metaSize {
		return m, false
	}
	b = b[pageHeaderSize:]
	ne := binary.NativeEndian
	if ne.Uint32(b) != boltMagic || ne.Uint32(b[4:]) != boltVersion || ne.Uint64(b[metaSumOffset:]) != metaSum(b) {
		return m, false
	}
	m = boltMeta{
		pageSize: int64(ne.Uint32(b[8:])),
		root:     ne.Uint64(b[16:]),
		freelist: ne.Uint64(b[32:]),
		pages:    ne.Uint64(b[40:]),
		txid:     ne.Uint64(b[48:]),
	}
	size := m.pageSize
	return m, size >= pageSizeMin && size <= pageSizeMax && size&(size-1) == 0
}

// metaSum returns the checksum that belongs to the meta page body b.
func metaSum(b []byte) uint64 {
	sum := fnv.New64a()
	_, _ = sum.Write(b[:metaSumOffset]) // a hash's Write never fails
	return sum.Sum64()
}

// boltMetas is the first bytes of both meta pages and the one that counts.
// Two equal values mean that no commit has ended between their readings.
type boltMetas struct {
	raw  [2][pageHeaderSize + metaSize]byte
	best boltMeta
}

// readMetas reads the meta pages of a database that may be written to.
func readMetas(r io.ReaderAt) (boltMetas, error) {
	var ms boltMetas
	if err := readRaw(r, &ms.raw[0], 0); err != nil {
		return ms, err
	}
	first, ok := parseMeta(ms.raw[0][:])
	if ok {
		if err := readRaw(r, &ms.raw[1], first.pageSize); err != nil {
			return ms, err
		}
		return ms, ms.choose(first)
	}
	// The first page is torn or foreign: the second one tells its own size.
	for size := int64(pageSizeMin); size <= pageSizeMax; size *= 2 {
		if err := readRaw(r, &ms.raw[1], size); err != nil {
			return ms, err
		}
		if m, ok := parseMeta(ms.raw[1][:]); ok && m.pageSize == size {
			ms.best = m
			return ms, nil
		}
	}
	if binary.NativeEndian.Uint32(ms.raw[0][pageHeaderSize:]) == boltMagic {
		return ms, fmt.Errorf("%w: both meta pages are broken", ErrDamaged)
	}
	return ms, ErrNotBolt
}

// choose sets the meta page with the higher transaction id of those that are
// whole; first is the first of them.
func (ms *boltMetas) choose(first boltMeta) error {
	ms.best = first
	if second, ok := parseMeta(ms.raw[1][:]); ok {
		if second.pageSize != first.pageSize {
			return fmt.Errorf("%w: its meta pages disagree on the page size", ErrDamaged)
		}
		if second.txid > first.txid {
			ms.best = second
		}
	}
	return nil
}

// readRaw fills b from off; what lies behind the end of the file reads as zero.
func readRaw(r io.ReaderAt, b *[pageHeaderSize + metaSize]byte, off int64) error {
	clear(b[:])
	if _, err := r.ReadAt(b[:], off); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read meta page: %w", err)
	}
	return nil
}
