package migration

import (
	"encoding/binary"
	"fmt"
	"io"
)

// The element headers of BoltDB pages.
const (
	branchFlag   = 0x01
	leafFlag     = 0x02
	freelistFlag = 0x10

	elementSize   = 16 // of branch and leaf elements alike
	bucketFlag    = 0x01
	bucketSize    = 16 // header of a bucket in its parent's value
	treeDepthMax  = 64
	freelistCount = 0xFFFF // the real count is the first id
)

// verifier walks the structure of a database without trusting a byte of it.
//
// bbolt maps the file and follows what it finds there: on a damaged file it
// panics, recurses without end or touches memory that is not there, which
// nothing can recover from. After this walk it cannot: every page that it
// would follow lies inside the file, is of the right type, is used once, and
// holds its elements.
type verifier struct {
	src  io.ReaderAt
	meta boltMeta
	used []bool // by page
}

// verifyBolt checks the structure of the database that m describes; all its
// pages lie within the file.
func verifyBolt(src io.ReaderAt, m boltMeta) error {
	v := &verifier{src: src, meta: m, used: make([]bool, m.pages)}
	if m.pages < 3 {
		return v.damaged("it has %d pages", m.pages)
	}
	v.used[0], v.used[1] = true, true
	if m.freelist != noFreelist {
		if err := v.freelist(m.freelist); err != nil {
			return err
		}
	}
	return v.tree(m.root, 0)
}

func (v *verifier) damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)
}

// page reads page id with its overflow pages and marks them as used.
func (v *verifier) page(id uint64) (b []byte, flags uint16, count int, err error) {
	if id < 2 || id >= v.meta.pages {
		return nil, 0, 0, v.damaged("it refers to page %d of %d", id, v.meta.pages)
	}
	var header [pageHeaderSize]byte
	if _, err := v.src.ReadAt(header[:], int64(id)*v.meta.pageSize); err != nil {
		return nil, 0, 0, fmt.Errorf("read page %d: %w", id, err)
	}
	ne := binary.NativeEndian
	overflow := uint64(ne.Uint32(header[12:]))
	if ne.Uint64(header[:]) != id || id+overflow >= v.meta.pages {
		return nil, 0, 0, v.damaged("page %d is not what it should be", id)
	}
	for i := id; i <= id+overflow; i++ {
		if v.used[i] {
			return nil, 0, 0, v.damaged("page %d is used twice", i)
		}
		v.used[i] = true
	}
	b = make([]byte, int64(overflow+1)*v.meta.pageSize)
	if _, err := v.src.ReadAt(b, int64(id)*v.meta.pageSize); err != nil {
		return nil, 0, 0, fmt.Errorf("read page %d: %w", id, err)
	}
	return b, ne.Uint16(header[8:]), int(ne.Uint16(header[10:])), nil
}

// freelist checks the page that lists the free pages.
func (v *verifier) freelist(id uint64) error {
	b, flags, count, err := v.page(id)
	if err != nil {
		return err
	}
	if flags != freelistFlag {
		return v.damaged("page %d is no free list", id)
	}
	ids := b[pageHeaderSize:]
	n := uint64(count)
	if count == freelistCount {
		n, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if n > uint64(len(ids)/8) {
		return v.damaged("the free list is longer than its page")
	}
	for i := range n {
		if free := binary.NativeEndian.Uint64(ids[i*8:]); free < 2 || free >= v.meta.pages {
			return v.damaged("the free list refers to page %d of %d", free, v.meta.pages)
		}
	}
	return nil
}

// tree checks the page and everything below it.
func (v *verifier) tree(id uint64, depth int) error {
	if depth > treeDepthMax {
		return v.damaged("its tree is deeper than %d pages", treeDepthMax)
	}
	b, flags, count, err := v.page(id)
	if err != nil {
		return err
	}
	switch flags {
	case branchFlag:
		if count == 0 {
			return v.damaged("branch page %d is empty", id)
		}
		return v.branch(b, id, count, depth)
	case leafFlag:
		return v.leaf(b, id, count, depth)
	}
	return v.damaged("page %d is of unknown type", id)
}

func (v *verifier) branch(b []byte, id uint64, count, depth int) error {
	for i := range count {
		at := pageHeaderSize + i*elementSize
		if at+elementSize > len(b) {
			return v.damaged("page %d has more elements than room", id)
		}
		e := b[at:]
		pos, key := binary.NativeEndian.Uint32(e), binary.NativeEndian.Uint32(e[4:])
		if int64(at)+int64(pos)+int64(key) > int64(len(b)) {
			return v.damaged("an element of page %d lies outside", id)
		}
		if err := v.tree(binary.NativeEndian.Uint64(e[8:]), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// leaf checks a leaf page and the buckets in it. Depth below zero marks a
// bucket that is kept inside its parent's value: it holds no further buckets.
func (v *verifier) leaf(b []byte, id uint64, count, depth int) error {
	ne := binary.NativeEndian
	for i := range count {
		at := pageHeaderSize + i*elementSize
		if at+elementSize > len(b) {
			return v.damaged("page %d has more elements than room", id)
		}
		e := b[at:]
		pos, key, size := int64(ne.Uint32(e[4:])), int64(ne.Uint32(e[8:])), int64(ne.Uint32(e[12:]))
		from := int64(at) + pos + key
		if from+size > int64(len(b)) {
			return v.damaged("an element of page %d lies outside", id)
		}
		switch flags := ne.Uint32(e); {
		case flags == 0:
		case flags != bucketFlag || depth < 0:
			return v.damaged("an element of page %d is of unknown type", id)
		default:
			if err := v.bucket(b[from:from+size], id, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *verifier) bucket(value []byte, id uint64, depth int) error {
	if len(value) < bucketSize {
		return v.damaged("a bucket on page %d is cut short", id)
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return v.tree(root, depth+1)
	}
	inline := value[bucketSize:]
	if len(inline) < pageHeaderSize || binary.NativeEndian.Uint16(inline[8:]) != leafFlag {
		return v.damaged("a bucket inside page %d is cut short", id)
	}
	return v.leaf(inline, id, int(binary.NativeEndian.Uint16(inline[10:])), -1)
}
