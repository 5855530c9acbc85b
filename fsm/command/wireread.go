package command

import (
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lockcluster/lockcluster"
)

// This file reads by hand what wire.go writes, and only in that form: every
// field once, in ascending order. All else, and so all that is wrong, is left
// to package proto. The value is not copied: it stays part of the log entry.

// readCommand reads an acquire or a release; false if it is anything else.
func readCommand(b []byte) (c Command, ok bool) {
	last := protowire.Number(0)
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || num <= last {
			return c, false
		}
		last, b = num, b[n:]
		if typ == protowire.BytesType {
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return c, false
			}
			b = b[n:]
			switch num {
			case 1:
				c.ID.ClientID = string(v)
			case 10, 11:
				if len(b) > 0 || !utf8.ValidString(c.ID.ClientID) {
					return c, false
				}
				if num == 10 {
					c.Request, ok = readAcquire(v)
				} else {
					c.Request, ok = readRelease(v)
				}
				return c, ok
			default:
				return c, false
			}
			continue
		}
		v, n := protowire.ConsumeVarint(b)
		if typ != protowire.VarintType || n < 0 {
			return c, false
		}
		b = b[n:]
		switch num {
		case 2:
			c.ID.Sequence = v
		case 3:
			c.ID.AckedBelow = v
		default:
			return c, false
		}
	}
	return c, false
}

func readAcquire(b []byte) (lockcluster.Request, bool) {
	head, value, ok := cutLast(b, 7)
	if !ok {
		return nil, false
	}
	r := lockcluster.Acquire{Value: value}
	for w := newReader(string(head)); ; { // one string for all that is text
		num, f := w.next()
		switch num {
		case 0:
			return r, w.ok && utf8.ValidString(r.Key.Namespace)
		case 1:
			r.Key = readKey(&w, f)
		case 2:
			r.Owner = readOwner(&w, f)
		case 3:
			r.User = w.text(f)
		case 4:
			r.Priority = lockcluster.Priority(uint32(w.number(f))) //nolint:gosec // as package proto cuts it
		case 5:
			r.TTL = time.Duration(w.number(f)) //nolint:gosec // as above
		case 6:
			r.AcquiredAt = readInstant(&w, f)
		default:
			return nil, false
		}
	}
}

func readRelease(b []byte) (lockcluster.Request, bool) {
	var r lockcluster.Release
	for w := newReader(string(b)); ; {
		num, f := w.next()
		switch num {
		case 0:
			return r, w.ok && utf8.ValidString(r.Namespace)
		case 1:
			r.Namespace = w.text(f)
		case 2:
			r.Text = w.text(f)
		case 3:
			owner := readOwner(&w, f)
			r.Guard.Owner = &owner
		case 4:
			r.Guard.Pull = int(w.number(f)) //nolint:gosec // as package proto cuts it
		case 5:
			r.Guard.Token = readToken(&w, f)
		case 6:
			r.Guard.Revision = w.number(f)
		default:
			return nil, false
		}
	}
}

func readKey(w *reader, f field) (k lockcluster.Key) {
	for in := w.message(f); ; {
		num, f := in.next()
		switch num {
		case 0:
			w.ok = w.ok && in.ok
			return k
		case 1:
			k.Namespace = in.text(f)
		case 2:
			k.Repo = in.text(f)
		case 3:
			k.Path = in.text(f)
		case 4:
			k.Workspace = in.text(f)
		case 5:
			k.Project = in.text(f)
		default:
			in.ok = false
		}
	}
}

func readOwner(w *reader, f field) (o lockcluster.Owner) {
	for in := w.message(f); ; {
		num, f := in.next()
		switch num {
		case 0:
			w.ok = w.ok && in.ok
			return o
		case 1:
			o.Host = in.text(f)
		case 2:
			o.Repo = in.text(f)
		case 3:
			o.Pull = int(in.number(f)) //nolint:gosec // as package proto cuts it
		case 4:
			o.ID = in.text(f)
		default:
			in.ok = false
		}
	}
}

// readPair reads a message of two numbers.
func readPair(w *reader, f field) (a, b uint64) {
	for in := w.message(f); ; {
		num, f := in.next()
		switch num {
		case 0:
			w.ok = w.ok && in.ok
			return a, b
		case 1:
			a = in.number(f)
		case 2:
			b = in.number(f)
		default:
			in.ok = false
		}
	}
}

func readToken(w *reader, f field) lockcluster.Token {
	epoch, counter := readPair(w, f)
	return lockcluster.Token{Epoch: epoch, Counter: counter}
}

func readInstant(w *reader, f field) time.Time {
	ns, offset := readPair(w, f)
	return Instant(int64(ns), int32(offset)) //nolint:gosec // as package proto cuts it
}

// cutLast takes the bytes field num, if it is there, off the end of b.
func cutLast(b []byte, num protowire.Number) (head, value []byte, ok bool) {
	for at := 0; at < len(b); {
		n, typ, tag := protowire.ConsumeTag(b[at:])
		if tag < 0 {
			return nil, nil, false
		}
		if n == num && typ == protowire.BytesType {
			v, size := protowire.ConsumeBytes(b[at+tag:])
			if size < 0 || len(v) == 0 || at+tag+size != len(b) {
				return nil, nil, false
			}
			return b[:at], v[:len(v):len(v)], true
		}
		size := protowire.ConsumeFieldValue(n, typ, b[at+tag:])
		if size < 0 {
			return nil, nil, false
		}
		at += tag + size
	}
	return b, nil, true
}

// reader reads the fields of a message, which are numbers, texts and messages.
type reader struct {
	rest string
	last protowire.Number
	ok   bool // nothing was found that is not for this file
}

// field is what next has found: a number, or a text or message.
type field struct {
	isText bool
	text   string
	number uint64
}

func newReader(s string) reader { return reader{rest: s, ok: true} }

// next returns the next field, number 0 at the end or when ok is false.
func (w *reader) next() (protowire.Number, field) {
	if w.rest == "" || !w.ok {
		return 0, field{}
	}
	tag := w.varint()
	num, typ := protowire.DecodeTag(tag)
	if !w.ok || num <= w.last || typ != protowire.VarintType && typ != protowire.BytesType {
		w.ok = false
		return 0, field{}
	}
	w.last = num
	f := field{isText: typ == protowire.BytesType, number: w.varint()}
	if f.isText {
		if f.number > uint64(len(w.rest)) {
			w.ok = false
			return 0, field{}
		}
		f.text, w.rest = w.rest[:f.number], w.rest[f.number:]
	}
	if !w.ok {
		return 0, field{}
	}
	return num, f
}

func (w *reader) varint() (v uint64) {
	for i := 0; i < len(w.rest) && i < 9; i++ { // what takes ten bytes is negative, and rare
		c := w.rest[i]
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			w.rest = w.rest[i+1:]
			return v
		}
	}
	w.ok = false
	return 0
}

func (w *reader) text(f field) string {
	w.ok = w.ok && f.isText
	return f.text
}

func (w *reader) number(f field) uint64 {
	w.ok = w.ok && !f.isText
	return f.number
}

func (w *reader) message(f field) reader { return newReader(w.text(f)) }
