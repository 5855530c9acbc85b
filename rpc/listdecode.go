package rpc

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lockcluster/lockcluster"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// listDecoder makes locks of a listing's messages, without a message for each
// lock. What it makes is what [lockFromPB] does, see TestListDecoder.
type listDecoder struct {
	info *pb.ReadInfo
	// The texts of the lock before: most of them are those of the next, too.
	key   lockcluster.Key
	owner lockcluster.Owner
	user  string
	// Scratch.
	ts  timestamppb.Timestamp
	dur durationpb.Duration
}

// chunk calls yield with each lock of a message. What it is given belongs to
// the caller.
func (d *listDecoder) chunk(b []byte, yield func(*lockcluster.Lock) error) error {
	for len(b) > 0 {
		f, rest, err := nextField(b)
		if err != nil {
			return err
		}
		b = rest
		switch f.tag {
		case listLocksField<<3 | asBytes:
			l, err := d.lock(f.bytes)
			if err != nil {
				return err
			}
			if err := yield(l); err != nil {
				return err
			}
		case listInfoField<<3 | asBytes:
			d.info = &pb.ReadInfo{}
			if err := proto.Unmarshal(f.bytes, d.info); err != nil {
				return fmt.Errorf("read listing: %w", err)
			}
		}
	}
	return nil
}

// field is one field of a message; only one of number and bytes is set.
type field struct {
	tag    uint64 // the field's number and type: what has another type is unknown
	number uint64
	bytes  []byte
}

// The low bits of a tag.
const (
	asNumber = uint64(protowire.VarintType)
	asBytes  = uint64(protowire.BytesType)
)

// nextField cuts a field off b, which must not be empty.
func nextField(b []byte) (f field, rest []byte, err error) {
	n := 1
	if f.tag = uint64(b[0]); f.tag >= 0x80 || f.tag < 1<<3 { // not the short form, or none at all
		num, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return f, nil, fmt.Errorf("read listing: %w", protowire.ParseError(size))
		}
		f.tag, n = protowire.EncodeTag(num, kind), size
	}
	b = b[n:]
	switch f.tag & 7 {
	case asNumber:
		f.number, n = protowire.ConsumeVarint(b)
	case asBytes:
		f.bytes, n = protowire.ConsumeBytes(b)
	default: // of a later version
		n = protowire.ConsumeFieldValue(protowire.Number(f.tag>>3), protowire.Type(f.tag&7), b) //nolint:gosec // checked above
	}
	if n < 0 {
		return f, nil, fmt.Errorf("read listing: %w", protowire.ParseError(n))
	}
	return f, b[n:], nil
}

// each calls set with every field of a message.
func each(b []byte, set func(field) error) error {
	for len(b) > 0 {
		f, rest, err := nextField(b)
		if err != nil {
			return err
		}
		if err := set(f); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

//nolint:gosec // protobuf cuts numbers to their field's size, too
func (d *listDecoder) lock(b []byte) (*lockcluster.Lock, error) {
	l := &lockcluster.Lock{}
	var acquired, offset, renewed field
	err := each(b, func(f field) error {
		switch f.tag {
		case 1<<3 | asBytes:
			return decodeKey(&l.Key, &d.key, f.bytes)
		case 3<<3 | asNumber:
			l.Kind = lockcluster.Kind(small(int32(f.number)))
		case 4<<3 | asBytes:
			return decodeOwner(&l.Owner, &d.owner, f.bytes)
		case 5<<3 | asBytes:
			l.User = same(d.user, f.bytes)
		case 6<<3 | asNumber:
			l.Priority = lockcluster.Priority(small(int32(f.number)))
		case 7<<3 | asBytes:
			return decodeToken(&l.Token, f.bytes)
		case 8<<3 | asBytes:
			acquired = f
		case 9<<3 | asNumber:
			offset = f
		case 10<<3 | asBytes:
			renewed = f
		case 11<<3 | asBytes:
			return d.duration(&l.TTL, f.bytes)
		case 13<<3 | asNumber:
			l.LeaseEpoch = f.number
		case 14<<3 | asNumber:
			l.Revision = f.number
		case 15<<3 | asBytes:
			l.Value = append([]byte(nil), f.bytes...)
		case 16<<3 | asNumber:
			l.Home.System = lockcluster.System(small(int32(f.number)))
		case 17<<3 | asNumber:
			l.Home.Epoch = f.number
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if l.AcquiredAt, err = d.time(acquired, int32(offset.number)); err != nil {
		return nil, err
	}
	if l.RenewedAt, err = d.time(renewed, 0); err != nil {
		return nil, err
	}
	l.Key.Namespace = namespaceOf(l.Key.Namespace)
	d.key, d.owner, d.user = l.Key, l.Owner, l.User
	return l, nil
}

// same returns last if it is b, which spares a copy.
func same(last string, b []byte) string {
	if string(b) == last {
		return last
	}
	return string(b)
}

func decodeKey(k, last *lockcluster.Key, b []byte) error {
	return each(b, func(f field) error {
		switch f.tag {
		case 1<<3 | asBytes:
			k.Namespace = same(last.Namespace, f.bytes)
		case 2<<3 | asBytes:
			k.Repo = same(last.Repo, f.bytes)
		case 3<<3 | asBytes:
			k.Path = same(last.Path, f.bytes)
		case 4<<3 | asBytes:
			k.Workspace = same(last.Workspace, f.bytes)
		case 5<<3 | asBytes:
			k.Project = same(last.Project, f.bytes)
		}
		return nil
	})
}

//nolint:gosec // a pull request's number is an int64
func decodeOwner(o, last *lockcluster.Owner, b []byte) error {
	return each(b, func(f field) error {
		switch f.tag {
		case 1<<3 | asBytes:
			o.Host = same(last.Host, f.bytes)
		case 2<<3 | asBytes:
			o.Repo = same(last.Repo, f.bytes)
		case 3<<3 | asNumber:
			o.Pull = int(int64(f.number))
		case 4<<3 | asBytes:
			o.ID = same(last.ID, f.bytes)
		}
		return nil
	})
}

func decodeToken(t *lockcluster.Token, b []byte) error {
	return each(b, func(f field) error {
		switch f.tag {
		case 1<<3 | asNumber:
			t.Epoch = f.number
		case 2<<3 | asNumber:
			t.Counter = f.number
		}
		return nil
	})
}

// time reads a Timestamp; a field that is not there gives no time.
func (d *listDecoder) time(f field, offsetSeconds int32) (time.Time, error) {
	if f.tag == 0 {
		return time.Time{}, nil
	}
	seconds, nanos, err := decodeSeconds(f.bytes)
	if err != nil {
		return time.Time{}, err
	}
	d.ts.Seconds, d.ts.Nanos = seconds, nanos
	return timeOfPB(&d.ts, offsetSeconds), nil
}

func (d *listDecoder) duration(out *time.Duration, b []byte) error {
	seconds, nanos, err := decodeSeconds(b)
	d.dur.Seconds, d.dur.Nanos = seconds, nanos
	*out = d.dur.AsDuration()
	return err
}

//nolint:gosec // as protobuf does
func decodeSeconds(b []byte) (seconds int64, nanos int32, err error) {
	err = each(b, func(f field) error {
		switch f.tag {
		case 1<<3 | asNumber:
			seconds = int64(f.number)
		case 2<<3 | asNumber:
			nanos = int32(f.number)
		}
		return nil
	})
	return seconds, nanos, err
}
