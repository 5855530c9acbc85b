package state

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state/statepb"
)

// This file writes and reads by hand the records that every request touches,
// in a fifth of the time. The bytes are those of [encode]; wire_test.go
// compares the two for every field there is. Reading does not copy: what it
// finds is the store's, and must not be changed.

// scratchSize is the room on the stack for a record of the usual size. A
// record is copied from there, so that it takes no byte more than it needs.
const scratchSize = 2048

func exactly(b []byte) []byte {
	out := make([]byte, len(b))
	copy(out, b)
	return out
}

// encodeLock is [encode] for the record of a lock.
func encodeLock(l *lockcluster.Lock) []byte {
	var scratch [scratchSize]byte
	b := scratch[:0]
	b = appendNumber(b, 1, uint64(uint32(len(l.Key.Repo))))
	b = appendNumber(b, 2, uint64(uint32(len(l.Key.Path))))
	b = appendNumber(b, 3, uint64(uint32(len(l.Key.Workspace))))
	b = appendNumber(b, 4, uint64(l.Kind))
	b = appendText(b, 5, l.Owner.Host)
	if l.Owner.Repo != l.Key.Repo {
		b = appendText(b, 6, l.Owner.Repo)
	}
	b = appendNumber(b, 7, uint64(l.Owner.Pull))
	b = appendText(b, 8, l.Owner.ID)
	b = appendText(b, 9, l.User)
	b = appendNumber(b, 10, uint64(l.Priority))
	b = appendNumber(b, 11, l.Token.Epoch)
	b = appendNumber(b, 12, l.Token.Counter)
	b = appendNumber(b, 13, uint64(l.AcquiredAt.UnixNano()))
	b = appendNumber(b, 14, uint64(int32(zoneOffset(l.AcquiredAt))))
	if !l.RenewedAt.IsZero() {
		b = appendNumber(b, 15, uint64(l.RenewedAt.UnixMilli()))
	}
	b = appendNumber(b, 16, uint64(l.TTL))
	b = appendNumber(b, 17, l.LeaseEpoch)
	b = appendNumber(b, 18, l.Revision)
	if len(l.Value) > 0 {
		b = protowire.AppendBytes(protowire.AppendTag(b, 19, protowire.BytesType), l.Value)
	}
	b = appendNumber(b, 20, uint64(l.Home.System))
	b = appendNumber(b, 21, l.Home.Epoch)
	return exactly(b)
}

// encodeAnswer is [encode] for the record of an answer.
func encodeAnswer(order uint64, unixMs int64, res *lockcluster.Result, digest uint64) ([]byte, error) {
	var scratch, inner [scratchSize]byte
	result, err := command.AppendResult(inner[:0], res)
	if err != nil {
		return nil, err
	}
	b := appendNumber(scratch[:0], 1, order)
	b = appendNumber(b, 2, uint64(unixMs))
	if len(result) > 0 {
		b = protowire.AppendBytes(protowire.AppendTag(b, 3, protowire.BytesType), result)
	}
	if digest != 0 {
		b = protowire.AppendFixed64(protowire.AppendTag(b, 4, protowire.Fixed64Type), digest)
	}
	return exactly(b), nil
}

// decodeAnswer is [decode] for the record of an answer.
func decodeAnswer(key string, b []byte, rec *statepb.AnswerRecord) {
	if !scanAnswer(b, rec) {
		rec.Reset()
		decode(key, b, rec)
	}
}

// scanAnswer reads the fields it knows. It reports false when there is
// anything else; so do the scans below.
func scanAnswer(b []byte, rec *statepb.AnswerRecord) bool {
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		var v uint64
		switch {
		case num == 3 && kind == protowire.BytesType:
			rec.Result, n = protowire.ConsumeBytes(b)
		case num == 4 && kind == protowire.Fixed64Type:
			rec.RequestDigest, n = protowire.ConsumeFixed64(b)
		case num == 1 && kind == protowire.VarintType:
			rec.Order, n = protowire.ConsumeVarint(b)
		case num == 2 && kind == protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
			rec.TimeUnixMs = int64(v) //nolint:gosec // as package proto cuts it
		default:
			return false
		}
		if n < 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

func encodeClient(rec *statepb.ClientRecord) []byte {
	var scratch [64]byte
	b := appendNumber(scratch[:0], 1, rec.AckedBelow)
	b = appendNumber(b, 3, rec.Order)
	return exactly(appendNumber(b, 4, uint64(rec.TimeUnixMs)))
}

// decodeClient is [decode] for the record of a client.
func decodeClient(key string, b []byte, rec *statepb.ClientRecord) {
	if !scanClient(b, rec) {
		rec.Reset()
		decode(key, b, rec)
	}
}

func scanClient(b []byte, rec *statepb.ClientRecord) bool {
	return scanNumbers(b, func(num protowire.Number, v uint64) bool {
		switch num {
		case 1:
			rec.AckedBelow = v
		case 3:
			rec.Order = v
		case 4:
			rec.TimeUnixMs = int64(v) //nolint:gosec // as package proto cuts it
		default:
			return false
		}
		return true
	})
}

// scanNumbers calls set with each field of a record that has only numbers.
func scanNumbers(b []byte, set func(protowire.Number, uint64) bool) bool {
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 || kind != protowire.VarintType {
			return false
		}
		b = b[n:]
		v, n := protowire.ConsumeVarint(b)
		if n < 0 || !set(num, v) {
			return false
		}
		b = b[n:]
	}
	return true
}

func appendMeta(b []byte, rec *statepb.MetaRecord) []byte {
	b = appendNumber(b, 1, rec.TokenEpoch)
	b = appendNumber(b, 2, rec.TokenCounter)
	b = appendNumber(b, 3, rec.LeaseCounter)
	b = appendNumber(b, 4, rec.Locks)
	b = appendNumber(b, 5, rec.Documents)
	b = appendNumber(b, 6, rec.CommandLocks)
	return appendNumber(b, 7, protowire.EncodeBool(rec.Mirrored))
}

func scanMeta(b []byte, rec *statepb.MetaRecord) bool {
	return scanNumbers(b, func(num protowire.Number, v uint64) bool {
		switch num {
		case 1:
			rec.TokenEpoch = v
		case 2:
			rec.TokenCounter = v
		case 3:
			rec.LeaseCounter = v
		case 4:
			rec.Locks = v
		case 5:
			rec.Documents = v
		case 6:
			rec.CommandLocks = v
		case 7:
			rec.Mirrored = protowire.DecodeBool(v)
		default:
			return false
		}
		return true
	})
}

func appendBooks(b []byte, rec *statepb.RequestMetaRecord) []byte {
	b = appendNumber(b, 1, rec.Count)
	b = appendNumber(b, 2, rec.SizeBytes)
	b = appendNumber(b, 3, uint64(rec.ClockUnixMs))
	b = appendNumber(b, 4, rec.Clients)
	return appendNumber(b, 5, rec.NextOrder)
}

func scanBooks(b []byte, rec *statepb.RequestMetaRecord) bool {
	return scanNumbers(b, func(num protowire.Number, v uint64) bool {
		switch num {
		case 1:
			rec.Count = v
		case 2:
			rec.SizeBytes = v
		case 3:
			rec.ClockUnixMs = int64(v) //nolint:gosec // as package proto cuts it
		case 4:
			rec.Clients = v
		case 5:
			rec.NextOrder = v
		default:
			return false
		}
		return true
	})
}

func encodeRepo(host string, hosted uint64) []byte {
	var scratch [256]byte
	return exactly(appendNumber(appendText(scratch[:0], 1, host), 2, hosted))
}

// scanRepo reads the record of a repository.
func scanRepo(b []byte, rec *statepb.RepoRecord) bool {
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		switch {
		case num == 1 && kind == protowire.BytesType:
			rec.Host, n = protowire.ConsumeBytes(b)
		case num == 2 && kind == protowire.VarintType:
			rec.Hosted, n = protowire.ConsumeVarint(b)
		default:
			return false
		}
		if n < 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

func getRepo(r Reader, ns, repo string, rec *statepb.RepoRecord) bool {
	key := repoKey(ns, repo)
	b, ok := r.Get(key)
	if ok && !scanRepo(b, rec) {
		rec.Reset()
		decode(key, b, rec)
	}
	return ok
}

func appendNumber(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func appendText(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}
