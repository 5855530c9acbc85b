package compat

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
)

// nestingMax is how deep encoding/json reads.
const nestingMax = 10_000

// validJSON reports the same as [json.Valid], in a third of the time: every
// record that is stored or shown goes through it.
func validJSON(raw []byte) bool {
	return walkJSON(raw, nil)
}

// span is a part of a text.
type span struct{ from, to int }

// walkJSON is validJSON, and adds the value of every member called Body that is
// not "" to bodies, unless that is nil. Of values within each other it adds the
// outermost.
func walkJSON(raw []byte, bodies *[]span) bool {
	i := skipJSON(raw, skipSpace(raw, 0), 0, bodies)
	return i >= 0 && skipSpace(raw, i) == len(raw)
}

// skipJSON returns the index behind the JSON value that begins at i, -1 when
// there is none. Input of any kind is fine, unlike for skipValue.
func skipJSON(raw []byte, i, depth int, bodies *[]span) int {
	if i >= len(raw) {
		return -1
	}
	switch c := raw[i]; {
	case c == '"':
		return skipJSONString(raw, i)
	case c == '{', c == '[':
		if depth == nestingMax {
			return -1
		}
		return skipJSONMembers(raw, i, depth+1, bodies)
	case c == '-', '0' <= c && c <= '9':
		return skipJSONNumber(raw, i)
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if bytes.HasPrefix(raw[i:], []byte(word)) {
			return i + len(word)
		}
	}
	return -1
}

// skipJSONMembers does it for the object or array that begins at i.
func skipJSONMembers(raw []byte, i, depth int, bodies *[]span) int {
	object := raw[i] == '{'
	end := raw[i] + 2 // in ASCII, for both kinds
	if i = skipSpace(raw, i+1); i < len(raw) && raw[i] == end {
		return i + 1
	}
	for {
		isBody := false
		if object {
			name := i
			if i = skipJSONName(raw, i); i < 0 {
				return -1
			}
			isBody = bodies != nil && saysBody(raw[name:i])
			if i = skipSpace(raw, i); i >= len(raw) || raw[i] != ':' {
				return -1
			}
			i = skipSpace(raw, i+1)
		}
		from := i
		if i = skipJSON(raw, i, depth, bodies); i < 0 {
			return -1
		}
		if isBody && string(raw[from:i]) != `""` {
			*bodies = addBody(*bodies, span{from, i})
		}
		if i = skipSpace(raw, i); i >= len(raw) {
			return -1
		}
		switch raw[i] {
		case ',':
			i = skipSpace(raw, i+1)
		case end:
			return i + 1
		default:
			return -1
		}
	}
}

func skipJSONName(raw []byte, i int) int {
	if i >= len(raw) || raw[i] != '"' {
		return -1
	}
	return skipJSONString(raw, i)
}

// addBody adds b, which ends last, in place of those within it.
func addBody(bodies []span, b span) []span {
	for len(bodies) > 0 && bodies[len(bodies)-1].from >= b.from {
		bodies = bodies[:len(bodies)-1]
	}
	return append(bodies, b)
}

// saysBody reports whether a JSON string reads as Body, in any case.
func saysBody(quoted []byte) bool {
	const plain, longest = len(`"Body"`), len(`"\u0042\u006f\u0064\u0079"`)
	switch {
	case len(quoted) == plain:
		return bytes.EqualFold(quoted, []byte(`"Body"`))
	case len(quoted) < plain, len(quoted) > longest, !slices.Contains(quoted, '\\'):
		return false
	}
	return strings.EqualFold(unquote(quoted), "Body")
}

func skipJSONString(raw []byte, i int) int {
	for i++; ; {
		if i += plainBytes(raw[min(i, len(raw)):]); i >= len(raw) {
			return -1
		}
		switch c := raw[i]; {
		case c == '"':
			return i + 1
		case c != '\\' || i+1 == len(raw):
			return -1
		case raw[i+1] == 'u':
			if _, ok := hexValue(raw, i+2, 4); !ok {
				return -1
			}
			i += 6
		case bytes.IndexByte([]byte(`"\/bfnrt`), raw[i+1]) >= 0:
			i += 2
		default:
			return -1
		}
	}
}

// plainBytes returns how many bytes at the start of raw stand for themselves in
// a JSON string: no quote, no backslash, no control character. It looks at
// eight at a time (Anderson, "Bit Twiddling Hacks", "Determine if a word has a
// byte less than n"); the lowest bit that is set is exact.
func plainBytes(raw []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(raw)-n >= 8; n += 8 {
		w := binary.LittleEndian.Uint64(raw[n:])
		quote, backslash := w^(ones*'"'), w^(ones*'\\')
		special := (w-ones*' ')&^w | (quote-ones)&^quote | (backslash-ones)&^backslash
		if special &= highs; special != 0 {
			return n + bits.TrailingZeros64(special)/8
		}
	}
	for n < len(raw) && raw[n] >= ' ' && raw[n] != '"' && raw[n] != '\\' {
		n++
	}
	return n
}

func skipJSONNumber(raw []byte, i int) int {
	if raw[i] == '-' {
		i++
	}
	from := i
	if i = skipDigits(raw, i); i == from || raw[from] == '0' && i > from+1 {
		return -1
	}
	if i < len(raw) && raw[i] == '.' {
		from = i + 1
		if i = skipDigits(raw, from); i == from {
			return -1
		}
	}
	if i < len(raw) && (raw[i] == 'e' || raw[i] == 'E') {
		if i++; i < len(raw) && (raw[i] == '+' || raw[i] == '-') {
			i++
		}
		from = i
		if i = skipDigits(raw, i); i == from {
			return -1
		}
	}
	return i
}

func skipDigits(raw []byte, i int) int {
	for i < len(raw) && '0' <= raw[i] && raw[i] <= '9' {
		i++
	}
	return i
}
