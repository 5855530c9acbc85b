package command

import (
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lockcluster/lockcluster"
)

// This file writes by hand what the hot path writes: acquire, release, and
// their answers. The bytes are those of package proto, in a fifth of the time;
// wire_test.go compares the two for every field there is. What it does not
// know is left to package proto.

// appendCommand appends req under id; false if it is not for this file.
func appendCommand(b []byte, id lockcluster.RequestID, req lockcluster.Request) ([]byte, bool) {
	if !utf8.ValidString(id.ClientID) {
		return b, false
	}
	b = appendText(b, 1, id.ClientID)
	b = appendNumber(b, 2, id.Sequence)
	b = appendNumber(b, 3, id.AckedBelow)
	switch r := req.(type) {
	case lockcluster.Acquire:
		if !utf8.ValidString(r.Key.Namespace) {
			return b, false
		}
		b, at := open(b, 10)
		return closeAt(appendAcquire(b, &r), at), true
	case lockcluster.Release:
		if !utf8.ValidString(r.Namespace) {
			return b, false
		}
		b, at := open(b, 11)
		return closeAt(appendRelease(b, &r), at), true
	}
	return b, false
}

// commandSize is about what appendCommand appends, and not less.
func commandSize(id lockcluster.RequestID, req lockcluster.Request) int {
	const numbers = 256 // tags, lengths and numbers of all fields
	switch r := req.(type) {
	case lockcluster.Acquire:
		return numbers + len(id.ClientID) + keySize(&r.Key) + ownerSize(&r.Owner) + len(r.User) + len(r.Value)
	case lockcluster.Release:
		n := numbers + len(id.ClientID) + len(r.Namespace) + len(r.Text)
		if r.Guard.Owner != nil {
			n += ownerSize(r.Guard.Owner)
		}
		return n
	}
	return 0
}

func keySize(k *lockcluster.Key) int {
	return len(k.Namespace) + len(k.Repo) + len(k.Path) + len(k.Workspace) + len(k.Project)
}

func ownerSize(o *lockcluster.Owner) int { return len(o.Host) + len(o.Repo) + len(o.ID) }

func appendAcquire(b []byte, r *lockcluster.Acquire) []byte {
	b = appendKey(b, 1, &r.Key)
	b = appendOwner(b, 2, &r.Owner)
	b = appendText(b, 3, r.User)
	b = appendNumber(b, 4, uint64(r.Priority))
	b = appendNumber(b, 5, uint64(r.TTL))
	b = appendInstant(b, 6, r.AcquiredAt)
	return appendBytes(b, 7, r.Value)
}

func appendRelease(b []byte, r *lockcluster.Release) []byte {
	b = appendText(b, 1, r.Namespace)
	b = appendText(b, 2, r.Text)
	if r.Guard.Owner != nil {
		b = appendOwner(b, 3, r.Guard.Owner)
	}
	b = appendNumber(b, 4, uint64(r.Guard.Pull))
	b = appendToken(b, 5, r.Guard.Token)
	return appendNumber(b, 6, r.Guard.Revision)
}

// appendResult appends an answer; false if it is not for this file.
func appendResult(b []byte, r *lockcluster.Result) ([]byte, bool) {
	if r.CommandLock != nil || r.Document != nil || len(r.Locks) > 0 || len(r.Results) > 0 ||
		r.Lock != nil && !utf8.ValidString(r.Lock.Key.Namespace) {
		return b, false
	}
	b = appendNumber(b, 1, uint64(uint32(r.Status)))
	b = appendNumber(b, 2, r.Index)
	if r.Lock != nil {
		var at int
		b, at = open(b, 3)
		b = closeAt(appendLock(b, r.Lock), at)
	}
	b = appendToken(b, 7, r.Token)
	return appendText(b, 8, r.Text), true
}

// resultSize is about what appendResult appends, and not less.
func resultSize(r *lockcluster.Result) int {
	n := 256 + len(r.Text)
	if l := r.Lock; l != nil {
		n += keySize(&l.Key) + ownerSize(&l.Owner) + len(l.User) + len(l.Value)
	}
	return n
}

func appendLock(b []byte, l *lockcluster.Lock) []byte {
	b = appendKey(b, 1, &l.Key)
	b = appendNumber(b, 2, uint64(l.Kind))
	b = appendOwner(b, 3, &l.Owner)
	b = appendText(b, 4, l.User)
	b = appendNumber(b, 5, uint64(l.Priority))
	b = appendToken(b, 6, l.Token)
	b = appendInstant(b, 7, l.AcquiredAt)
	b = appendInstant(b, 8, l.RenewedAt)
	b = appendNumber(b, 9, uint64(l.TTL))
	b = appendNumber(b, 10, l.LeaseEpoch)
	b = appendNumber(b, 11, l.Revision)
	b = appendBytes(b, 12, l.Value)
	if l.Home == (lockcluster.Home{}) {
		return b
	}
	b, at := open(b, 13)
	b = appendNumber(b, 1, uint64(l.Home.System))
	return closeAt(appendNumber(b, 2, l.Home.Epoch), at)
}

func appendKey(b []byte, num protowire.Number, k *lockcluster.Key) []byte {
	b, at := open(b, num)
	b = appendText(b, 1, k.Namespace)
	b = appendText(b, 2, k.Repo)
	b = appendText(b, 3, k.Path)
	b = appendText(b, 4, k.Workspace)
	return closeAt(appendText(b, 5, k.Project), at)
}

func appendOwner(b []byte, num protowire.Number, o *lockcluster.Owner) []byte {
	b, at := open(b, num)
	b = appendText(b, 1, o.Host)
	b = appendText(b, 2, o.Repo)
	b = appendNumber(b, 3, uint64(o.Pull))
	return closeAt(appendText(b, 4, o.ID), at)
}

func appendToken(b []byte, num protowire.Number, t lockcluster.Token) []byte {
	if t.IsZero() {
		return b
	}
	b, at := open(b, num)
	b = appendNumber(b, 1, t.Epoch)
	return closeAt(appendNumber(b, 2, t.Counter), at)
}

func appendInstant(b []byte, num protowire.Number, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	_, offset := t.Zone()
	b, at := open(b, num)
	b = appendNumber(b, 1, uint64(t.UnixNano()))
	return closeAt(appendNumber(b, 2, uint64(int32(offset))), at)
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

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}

// open begins a message within a message; closeAt ends it. Its length is
// written last, and makes room for itself if it takes more than a byte.
func open(b []byte, num protowire.Number) (_ []byte, at int) {
	b = append(protowire.AppendTag(b, num, protowire.BytesType), 0)
	return b, len(b)
}

func closeAt(b []byte, at int) []byte {
	n := len(b) - at
	if n < 1<<7 {
		b[at-1] = byte(n)
		return b
	}
	var length [10]byte
	enc := protowire.AppendVarint(length[:0], uint64(n))
	b = append(b, enc[1:]...) // room
	copy(b[at-1+len(enc):], b[at:at+n])
	copy(b[at-1:], enc)
	return b
}
