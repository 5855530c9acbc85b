package compat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/lockcluster/lockcluster"
)

// RecordError says why a stored record cannot be used. It wraps
// [lockcluster.ErrInvalid] and holds no part of the record.
type RecordError struct {
	Reason string
}

// Error returns the reason.
func (e *RecordError) Error() string { return e.Reason }

// Unwrap makes a RecordError match [lockcluster.ErrInvalid].
func (e *RecordError) Unwrap() error { return lockcluster.ErrInvalid }

func recordErrorf(format string, args ...any) error {
	return &RecordError{Reason: fmt.Sprintf(format, args...)}
}

// checkRecord reports what makes raw unusable as a stored JSON object.
func checkRecord(raw []byte) error {
	switch {
	case len(raw) == 0:
		return recordErrorf("the value is empty")
	case len(raw) > lockcluster.ValueSizeMax:
		return recordErrorf("the value is larger than %d bytes", lockcluster.ValueSizeMax)
	case !utf8.Valid(raw):
		// encoding/json would replace the bytes silently, and with them
		// perhaps the identity.
		return recordErrorf("the value is not UTF-8")
	}
	if err := jsonError(raw); err != nil {
		return err
	}
	if i := skipSpace(raw, 0); raw[i] != '{' {
		return recordErrorf("the value is not a JSON object")
	}
	return nil
}

// jsonError reports where raw stops being JSON. The decoder's own text is not
// used: it quotes the value.
func jsonError(raw []byte) error {
	if validJSON(raw) {
		return nil
	}
	var syntax *json.SyntaxError
	var any json.RawMessage
	if err := json.Unmarshal(raw, &any); errors.As(err, &syntax) {
		return recordErrorf("the value is not JSON: it breaks off or is malformed at byte %d of %d", syntax.Offset, len(raw))
	}
	return recordErrorf("the value is not JSON")
}

// object is a JSON object of a record, by member. It is read once and asked
// for the members of interest; everything else is left alone.
type object struct {
	where   string // for error texts, "" for the record itself
	members []member
}

// membersUsual is how many members Atlantis's largest object has, about.
const membersUsual = 12

type member struct {
	name  []byte // without its quotes, escapes resolved
	value []byte
}

// readObject returns the members of the JSON object raw, which must be valid
// JSON; ok is false when it is no object.
func readObject(where string, raw []byte) (o object, ok bool) {
	o.where, o.members = where, make([]member, 0, membersUsual)
	i := skipSpace(raw, 0)
	if i >= len(raw) || raw[i] != '{' {
		return o, false
	}
	for i = skipSpace(raw, i+1); raw[i] != '}'; {
		if raw[i] == ',' {
			i = skipSpace(raw, i+1)
		}
		end := skipString(raw, i)
		name := raw[i+1 : end-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			name = []byte(unquote(raw[i:end]))
		}
		i = skipSpace(raw, end) // ':'
		i = skipSpace(raw, i+1) // value
		end = skipValue(raw, i)
		o.members = append(o.members, member{name, raw[i:end]})
		i = skipSpace(raw, end)
	}
	return o, true
}

// get returns the member of that name; nil when it is absent or null. Names
// match without regard to case, as they do for Atlantis. A member that is
// there twice is an error: which one counts depends on who reads it.
func (o object) get(name string) ([]byte, error) {
	var found []byte
	n := 0
	for _, m := range o.members {
		if bytes.EqualFold(m.name, []byte(name)) {
			found, n = m.value, n+1
		}
	}
	if n > 1 {
		return nil, recordErrorf("%s appears %d times", o.name(name), n)
	}
	if bytes.Equal(found, []byte("null")) {
		return nil, nil
	}
	return found, nil
}

// has reports whether the member is there and not null.
func (o object) has(name string) bool {
	v, err := o.get(name)
	return err != nil || v != nil
}

// object returns the member as an object; without members when it is absent.
func (o object) object(name string) (object, error) {
	v, err := o.get(name)
	if err != nil || v == nil {
		return object{where: o.name(name)}, err
	}
	child, ok := readObject(o.name(name), v)
	if !ok {
		return child, recordErrorf("%s is not an object", o.name(name))
	}
	return child, nil
}

// str returns the member as a string; "" when it is absent.
func (o object) str(name string) (string, error) {
	v, err := o.get(name)
	if err != nil || v == nil {
		return "", err
	}
	if v[0] != '"' {
		return "", recordErrorf("%s is not a string", o.name(name))
	}
	return unquote(v), nil
}

// integer returns the member as a whole number; 0 when it is absent.
func (o object) integer(name string) (int64, error) {
	v, err := o.get(name)
	if err != nil || v == nil {
		return 0, err
	}
	var n int64
	if err := json.Unmarshal(v, &n); err != nil {
		return 0, recordErrorf("%s is not a whole number", o.name(name))
	}
	return n, nil
}

func (o object) name(member string) string {
	if o.where == "" {
		return member
	}
	return o.where + "." + member
}

// The functions below walk JSON that validJSON has accepted.

func skipSpace(raw []byte, i int) int {
	for i < len(raw) && (raw[i] == ' ' || raw[i] == '\t' || raw[i] == '\n' || raw[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the index behind the string that begins at i.
func skipString(raw []byte, i int) int {
	for i++; raw[i] != '"'; i++ {
		if raw[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// skipValue returns the index behind the value that begins at i.
func skipValue(raw []byte, i int) int {
	depth := 0
	for {
		switch raw[i] {
		case '"':
			i = skipString(raw, i)
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\t', '\n', '\r':
			i++
			continue
		default: // number, true, false, null
			for i < len(raw) && !endsScalar(raw[i]) {
				i++
			}
		}
		if depth == 0 {
			return i
		}
	}
}

func endsScalar(c byte) bool {
	switch c {
	case ',', ']', '}', ' ', '\t', '\n', '\r':
		return true
	}
	return false
}

// unquote returns the text of a JSON string with its quotes.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return ""
	}
	return s
}
