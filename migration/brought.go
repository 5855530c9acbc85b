package migration

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

const (
	// broughtBits is how many bits a record gets in what is kept of an import, and
	// broughtMarks how many of them it marks: one of a hundred others is taken for it.
	broughtBits, broughtMarks = 10, 7
	// broughtSizeMax bounds the bytes that are kept; of more records than have room
	// more are taken for one that was brought.
	broughtSizeMax = 2048
)

// Brings returns what to keep of the records of a plan in [Imported]: enough to
// tell later of a record that the import did not bring it. It is never wrong about
// one that it brought.
func Brings(plan *Plan) string {
	b := make([]byte, min((len(plan.Records)*broughtBits+7)/8+1, broughtSizeMax))
	for _, rec := range plan.Records {
		for _, bit := range marks(idOf(rec), len(b)) {
			b[bit/8] |= 1 << (bit % 8)
		}
	}
	return base64.RawStdEncoding.EncodeToString(b)
}

// mayHaveBrought reports false for a record that the import surely did not bring.
func (i *Imported) mayHaveBrought(rec PlanRecord) bool {
	b, err := base64.RawStdEncoding.DecodeString(i.Brought)
	if err != nil || len(b) == 0 {
		return true // it is not known
	}
	for _, bit := range marks(idOf(rec), len(b)) {
		if b[bit/8]&(1<<(bit%8)) == 0 {
			return false
		}
	}
	return true
}

// marks are the bits of a record among those of size bytes.
func marks(id recordID, size int) (bits [broughtMarks]uint32) {
	sum := sha256.Sum256([]byte(id.bucket + "\x00" + id.identity))
	for i := range bits {
		bits[i] = binary.BigEndian.Uint32(sum[4*i:]) % uint32(8*size) //nolint:gosec // at most broughtSizeMax
	}
	return bits
}
