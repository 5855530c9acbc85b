package command

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command/logpb"
)

// The envelope: magic (1 byte), version (1 byte), payload length (4 bytes, big
// endian), CRC32C of version, length and payload (4 bytes), payload.
const (
	envelopeMagic   = 0xA9 // persisted; changing it makes every log unreadable
	envelopeVersion = 1    // 1: first version, payload is a logpb.Entry
	envelopeSize    = 10
)

// EntrySizeMax bounds one log entry. A single command may carry one value of
// the largest size; a group commit of several stays far below.
const EntrySizeMax = 64 << 20

// ErrCorrupt marks an entry that cannot be trusted: bad checksum, unknown
// version or type. A node that reads one must halt.
var ErrCorrupt = errors.New("log entry is corrupt or from a newer version")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Entry is the decoded payload of one log entry.
type Entry struct {
	Time     time.Time // the leader's wall time, millisecond precision
	Commands []Command
}

// Command is one request of an entry.
type Command struct {
	ID      lockcluster.RequestID
	Request lockcluster.Request
	// Digest tells requests apart that come under one id; only decoding sets it.
	Digest uint64
}

// EncodeEntry puts commands that [EncodeCommand] has encoded into one log entry.
func EncodeEntry(now time.Time, commands [][]byte) ([]byte, error) {
	size := envelopeSize + 16
	for _, c := range commands {
		size += len(c) + 8
	}
	if size > EntrySizeMax {
		return nil, fmt.Errorf("%w: a log entry of %d bytes exceeds %d", lockcluster.ErrInvalid, size, EntrySizeMax)
	}
	b := make([]byte, envelopeSize, size)
	b = protowire.AppendTag(b, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(now.UnixMilli()))
	for _, c := range commands {
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendBytes(b, c)
	}
	b[0], b[1] = envelopeMagic, envelopeVersion
	binary.BigEndian.PutUint32(b[2:6], uint32(len(b)-envelopeSize))
	binary.BigEndian.PutUint32(b[6:10], envelopeSum(b))
	return b, nil
}

func envelopeSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[1:6], castagnoli), castagnoli, b[envelopeSize:])
}

// CheckEnvelope verifies an entry without decoding it. Every error wraps
// [ErrCorrupt].
func CheckEnvelope(b []byte) error {
	switch {
	case len(b) < envelopeSize:
		return fmt.Errorf("%w: %d bytes are too few for an envelope", ErrCorrupt, len(b))
	case b[0] != envelopeMagic:
		return fmt.Errorf("%w: magic 0x%02x", ErrCorrupt, b[0])
	case b[1] != envelopeVersion:
		return fmt.Errorf("%w: envelope version %d, this build knows %d", ErrCorrupt, b[1], envelopeVersion)
	case int64(binary.BigEndian.Uint32(b[2:6])) != int64(len(b)-envelopeSize):
		return fmt.Errorf("%w: length field does not match", ErrCorrupt)
	case binary.BigEndian.Uint32(b[6:10]) != envelopeSum(b):
		return fmt.Errorf("%w: checksum mismatch", ErrCorrupt)
	}
	return nil
}

// DecodeEntry verifies and decodes what [EncodeEntry] made. Every error wraps
// [ErrCorrupt].
func DecodeEntry(b []byte) (Entry, error) {
	if err := CheckEnvelope(b); err != nil {
		return Entry{}, err
	}
	return decodeEntry(b[envelopeSize:])
}

// decodeEntry decodes a payload field by field: nothing may stand in it but the
// time, once and first, and commands.
func decodeEntry(b []byte) (Entry, error) {
	at := int64(0)
	if num, typ, tag := protowire.ConsumeTag(b); num == 1 && typ == protowire.VarintType {
		v, n := protowire.ConsumeVarint(b[tag:])
		if n < 0 {
			return Entry{}, fmt.Errorf("%w: %v", ErrCorrupt, protowire.ParseError(n))
		}
		at, b = int64(v), b[tag+n:] //nolint:gosec // as package proto cuts it
	}
	entry := Entry{Time: time.UnixMilli(at).UTC(), Commands: make([]Command, 0, countFields(b))}
	for i := 0; len(b) > 0; i++ {
		num, typ, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return Entry{}, fmt.Errorf("%w: %v", ErrCorrupt, protowire.ParseError(tag))
		}
		if num != 2 || typ != protowire.BytesType {
			return Entry{}, fmt.Errorf("%w: unknown entry field", ErrCorrupt)
		}
		encoded, n := protowire.ConsumeBytes(b[tag:])
		if n < 0 {
			return Entry{}, fmt.Errorf("%w: %v", ErrCorrupt, protowire.ParseError(n))
		}
		cmd, err := DecodeCommand(encoded)
		if err != nil {
			return Entry{}, fmt.Errorf("%w: command %d: %v", ErrCorrupt, i, err)
		}
		entry.Commands = append(entry.Commands, cmd)
		b = b[tag+n:]
	}
	return entry, nil
}

// countFields returns how many fields b begins with.
func countFields(b []byte) (n int) {
	for len(b) > 0 {
		_, _, size := protowire.ConsumeField(b)
		if size < 0 {
			break
		}
		b = b[size:]
		n++
	}
	return n
}

// digest digests an encoded command without its id (fields 1 to 3), as it
// stands in the log, so that all nodes find the same. It tells honest mistakes
// apart, nothing else: two CRCs, which cost a tenth of a microsecond for a
// kilobyte where SHA-256 costs seven.
func digest(encoded []byte) uint64 {
	var a, b uint32
	for len(encoded) > 0 {
		num, _, size := protowire.ConsumeField(encoded)
		if size < 0 {
			size = len(encoded) // it has been decoded before; this cannot be
		}
		if num > 3 {
			a = crc32.Update(a, castagnoli, encoded[:size])
			b = crc32.Update(b, crc32.IEEETable, encoded[:size])
		}
		encoded = encoded[size:]
	}
	return uint64(a)<<32 | uint64(b)
}

// EncodeCommand encodes one request for [EncodeEntry] or for forwarding.
func EncodeCommand(id lockcluster.RequestID, req lockcluster.Request) ([]byte, error) {
	if size := commandSize(id, req); size > 0 {
		if b, ok := appendCommand(make([]byte, 0, size), id, req); ok {
			return b, nil
		}
	}
	return encodeCommand(id, req)
}

func encodeCommand(id lockcluster.RequestID, req lockcluster.Request) ([]byte, error) {
	pb, err := commandToPB(req)
	if err != nil {
		return nil, err
	}
	pb.ClientId, pb.Sequence, pb.AckedBelow = id.ClientID, id.Sequence, id.AckedBelow
	return marshal.Marshal(pb)
}

// DecodeCommand decodes what [EncodeCommand] made. The command may share the
// bytes of its value with b.
func DecodeCommand(b []byte) (Command, error) {
	c, ok := readCommand(b)
	if !ok {
		var err error
		if c, err = decodeCommand(b); err != nil {
			return Command{}, err
		}
	}
	switch r := c.Request.(type) {
	case lockcluster.Pin: // stands for the request that it pins
		c.Digest = r.Digest
		return c, nil
	case lockcluster.Routed:
		b = routedBytes(b)
	}
	c.Digest = digest(b)
	return c, nil
}

// DigestOf returns the digest that req has in the log.
func DigestOf(req lockcluster.Request) (uint64, error) {
	b, err := EncodeCommand(lockcluster.RequestID{}, req)
	return digest(b), err
}

// Field numbers of a routed request.
const (
	fieldRouted        = 28 // in Command
	fieldRoutedRequest = 5  // in Routed
)

// routedBytes returns the encoded request inside a routed one. The same request
// may come again by another way, when the mode or the leader has changed: it is
// the same for the table of remembered answers.
func routedBytes(encoded []byte) []byte {
	return fieldBytes(fieldBytes(encoded, fieldRouted), fieldRoutedRequest)
}

// fieldBytes returns the bytes of the last field of that number.
func fieldBytes(encoded []byte, want protowire.Number) (value []byte) {
	for len(encoded) > 0 {
		num, kind, size := protowire.ConsumeField(encoded)
		if size < 0 {
			break // it has been decoded before; this cannot be
		}
		if num == want && kind == protowire.BytesType {
			_, _, n := protowire.ConsumeTag(encoded)
			value, _ = protowire.ConsumeBytes(encoded[n:])
		}
		encoded = encoded[size:]
	}
	return value
}

func decodeCommand(b []byte) (Command, error) {
	var pb logpb.Command
	if err := proto.Unmarshal(b, &pb); err != nil {
		return Command{}, fmt.Errorf("decode command: %w", err)
	}
	return commandFromPB(&pb)
}

// EncodeResult encodes an answer, for remembering and forwarding it.
func EncodeResult(r lockcluster.Result) ([]byte, error) {
	if b, ok := appendResult(make([]byte, 0, resultSize(&r)), &r); ok {
		return b, nil
	}
	return encodeResult(r)
}

func encodeResult(r lockcluster.Result) ([]byte, error) { return marshal.Marshal(resultToPB(r)) }

// AppendResult appends what [EncodeResult] returns to b.
func AppendResult(b []byte, r *lockcluster.Result) ([]byte, error) {
	if out, ok := appendResult(b, r); ok {
		return out, nil
	}
	out, err := encodeResult(*r) // not MarshalAppend, which would move the caller's b from its stack
	return append(b, out...), err
}

// DecodeResult decodes what [EncodeResult] made.
func DecodeResult(b []byte) (lockcluster.Result, error) {
	var pb logpb.Result
	if err := proto.Unmarshal(b, &pb); err != nil {
		return lockcluster.Result{}, fmt.Errorf("decode result: %w", err)
	}
	return resultFromPB(&pb), nil
}

// marshal makes equal messages equal bytes, which the state hash relies on.
var marshal = proto.MarshalOptions{Deterministic: true}
