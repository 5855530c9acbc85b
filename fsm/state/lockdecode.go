package state

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lockcluster/lockcluster/fsm/state/statepb"
)

// decodeLock is [decode] for lock records, in a quarter of the time: it copies
// no bytes, so what rec holds is the store's, and must not be changed. Records
// are never changed in place either.
func decodeLock(key string, b []byte, rec *statepb.LockRecord) {
	if !scanLock(b, rec) {
		rec.Reset()
		decode(key, b, rec)
	}
}

// scanLock reads the fields it knows. It reports false when there is anything
// else.
func scanLock(b []byte, rec *statepb.LockRecord) bool {
	for len(b) > 0 {
		tag, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		num, kind := protowire.DecodeTag(tag)
		switch kind {
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 || !setLockNumber(rec, num, v) {
				return false
			}
			b = b[n:]
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 || !setLockBytes(rec, num, v[:len(v):len(v)]) {
				return false
			}
			b = b[n:]
		default:
			return false
		}
	}
	return true
}

//nolint:gosec // protobuf cuts numbers to their field's size, too
func setLockNumber(rec *statepb.LockRecord, num protowire.Number, v uint64) bool {
	switch num {
	case 1:
		rec.RepoLen = uint32(v)
	case 2:
		rec.PathLen = uint32(v)
	case 3:
		rec.WorkspaceLen = uint32(v)
	case 4:
		rec.Kind = uint32(v)
	case 7:
		rec.Pull = int64(v)
	case 10:
		rec.Priority = uint32(v)
	case 11:
		rec.TokenEpoch = v
	case 12:
		rec.TokenCounter = v
	case 13:
		rec.AcquiredUnixNs = int64(v)
	case 14:
		rec.AcquiredOffsetSeconds = int32(v)
	case 15:
		rec.RenewedUnixMs = int64(v)
	case 16:
		rec.TtlNs = int64(v)
	case 17:
		rec.LeaseEpoch = v
	case 18:
		rec.Revision = v
	case 20:
		rec.HomeSystem = uint32(v)
	case 21:
		rec.HomeEpoch = v
	default:
		return false
	}
	return true
}

func setLockBytes(rec *statepb.LockRecord, num protowire.Number, v []byte) bool {
	switch num {
	case 5:
		rec.Host = v
	case 6:
		rec.OwnerRepo = v
	case 8:
		rec.OwnerId = v
	case 9:
		rec.User = v
	case 19:
		rec.Value = v
	default:
		return false
	}
	return true
}
