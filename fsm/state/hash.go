package state

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Hash is a digest of a set of records that can be updated record by record:
// the sum modulo 2^64, in four lanes, of the SHA-256 of each record (Bellare
// and Micciancio, "A New Paradigm for Collision-free Hashing", 1997, additive
// form). Equal sets have equal hashes whatever the order of the writes.
// It finds divergence by fault, it is no defence against an attacker.
type Hash [4]uint64

// String returns the hash in hexadecimal.
func (h Hash) String() string {
	var b [32]byte
	for i, lane := range h {
		binary.BigEndian.PutUint64(b[8*i:], lane)
	}
	return hex.EncodeToString(b[:])
}

// ParseHash reads what [Hash.String] writes; false if it cannot.
func ParseHash(s string) (Hash, bool) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 32 {
		return Hash{}, false
	}
	var h Hash
	for i := range h {
		h[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return h, true
}

func recordHash(buf *[]byte, key string, value []byte) Hash {
	b := binary.BigEndian.AppendUint32((*buf)[:0], uint32(len(key)))
	b = append(b, key...)
	b = append(b, value...)
	*buf = b
	sum := sha256.Sum256(b)
	var h Hash
	for i := range h {
		h[i] = binary.BigEndian.Uint64(sum[8*i:])
	}
	return h
}

func (h *Hash) add(x Hash) {
	for i := range h {
		h[i] += x[i]
	}
}

func (h *Hash) sub(x Hash) {
	for i := range h {
		h[i] -= x[i]
	}
}

// Hashes are the digests of the two parts of the state. Data is what clients
// stored: locks, documents, tokens. Books is what the cluster keeps for
// itself: remembered answers and node addresses. Repeating a request that
// changes nothing leaves Data as it is.
type Hashes struct {
	Data  Hash
	Books Hash
}

func (h *Hashes) of(key string) *Hash {
	if isBooks(key) {
		return &h.Books
	}
	return &h.Data
}
