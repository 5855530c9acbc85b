package rpc

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/lockcluster/lockcluster"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// lockEncoder writes locks the way they go over the wire. A listing spends most
// of its time on making messages and encoding them; this makes none. What it
// writes is what protobuf makes of [lockToPB], see TestLockEncoder.
type lockEncoder struct {
	includeValue bool
	lock, part   []byte // scratch
}

// The fields of [pb.ListResponse].
const (
	listLocksField = 1
	listInfoField  = 2
)

// append adds a lock to an encoded [pb.ListResponse].
func (e *lockEncoder) append(b []byte, l *lockcluster.Lock) []byte {
	m := e.lock[:0]
	m = e.message(m, 1, e.key(&l.Key))
	m = appendKeyText(m, 2, &l.Key)
	m = appendNumber(m, 3, int64(l.Kind))
	m = e.message(m, 4, e.owner(&l.Owner))
	m = appendText(m, 5, l.User)
	m = appendNumber(m, 6, int64(l.Priority))
	if !l.Token.IsZero() {
		m = e.message(m, 7, appendUnsigned(appendUnsigned(e.part[:0], 1, l.Token.Epoch), 2, l.Token.Counter))
	}
	m = e.time(m, 8, l.AcquiredAt)
	m = appendNumber(m, 9, int64(offsetOf(l.AcquiredAt)))
	m = e.time(m, 10, l.RenewedAt)
	if l.TTL != 0 {
		m = e.message(m, 11, appendSeconds(e.part[:0], int64(l.TTL/time.Second), int64(l.TTL%time.Second)))
	}
	m = e.time(m, 12, l.ExpiresAt())
	m = appendUnsigned(m, 13, l.LeaseEpoch)
	m = appendUnsigned(m, 14, l.Revision)
	if v := sanitized(l.Value, e.includeValue); len(v) > 0 {
		m = protowire.AppendBytes(protowire.AppendTag(m, 15, protowire.BytesType), v)
	}
	m = appendUnsigned(m, 16, uint64(l.Home.System))
	m = appendUnsigned(m, 17, l.Home.Epoch)
	e.lock = m
	return protowire.AppendBytes(protowire.AppendTag(b, listLocksField, protowire.BytesType), m)
}

func (e *lockEncoder) key(k *lockcluster.Key) []byte {
	b := appendText(e.part[:0], 1, k.Namespace)
	b = appendText(b, 2, k.Repo)
	b = appendText(b, 3, k.Path)
	b = appendText(b, 4, k.Workspace)
	return appendText(b, 5, k.Project)
}

func (e *lockEncoder) owner(o *lockcluster.Owner) []byte {
	b := appendText(e.part[:0], 1, o.Host)
	b = appendText(b, 2, o.Repo)
	b = appendNumber(b, 3, int64(o.Pull))
	return appendText(b, 4, o.ID)
}

func (e *lockEncoder) time(b []byte, field protowire.Number, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return e.message(b, field, appendSeconds(e.part[:0], t.Unix(), int64(t.Nanosecond())))
}

// message adds a message that was made in e.part.
func (e *lockEncoder) message(b []byte, field protowire.Number, part []byte) []byte {
	e.part = part
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), part)
}

// appendSeconds makes a Timestamp or a Duration.
func appendSeconds(b []byte, seconds, nanos int64) []byte {
	return appendNumber(appendNumber(b, 1, seconds), 2, nanos)
}

func appendText(b []byte, field protowire.Number, text string) []byte {
	if text == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), validText(text))
}

// appendKeyText adds the key's text form, see [lockcluster.Key.Text].
func appendKeyText(b []byte, field protowire.Number, k *lockcluster.Key) []byte {
	parts := [...]string{validText(k.Repo), validText(k.Path), validText(k.Workspace), validText(k.Project)}
	size := len(parts) - 1
	for _, p := range parts {
		size += len(p)
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, field, protowire.BytesType), uint64(size)) //nolint:gosec // a length
	for i, p := range parts {
		if i > 0 {
			b = append(b, '/')
		}
		b = append(b, p...)
	}
	return b
}

func appendNumber(b []byte, field protowire.Number, n int64) []byte {
	return appendUnsigned(b, field, uint64(n)) //nolint:gosec // protobuf's own way with negative numbers
}

func appendUnsigned(b []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

// appendInfo completes an encoded [pb.ListResponse].
func appendInfo(b []byte, info *pb.ReadInfo) ([]byte, error) {
	m, err := proto.Marshal(info)
	if err != nil {
		return nil, err
	}
	return protowire.AppendBytes(protowire.AppendTag(b, listInfoField, protowire.BytesType), m), nil
}
