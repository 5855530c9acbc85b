package compat

import (
	"bytes"
)

// SanitizeValue makes a stored value fit for an API answer: the user-info of
// every URL in it is removed, wherever it stands and however it is escaped,
// and the pull request's text (Body) is blanked. A value that is not JSON
// gives nil, because no part of it can be shown for sure.
func SanitizeValue(raw []byte) []byte {
	var room [4]span
	bodies := room[:0]
	if !walkJSON(raw, &bodies) {
		return nil
	}
	return RedactCredentials(blank(raw, bodies))
}

// blank replaces parts of raw by "". The result shares raw's memory when there
// are none.
func blank(raw []byte, parts []span) []byte {
	if len(parts) == 0 {
		return raw
	}
	out := make([]byte, 0, len(raw)+len(parts)*len(`""`))
	from := 0
	for _, p := range parts {
		out = append(append(out, raw[from:p.from]...), `""`...)
		from = p.to
	}
	return append(out, raw[from:]...)
}

// RedactCredentials removes the user-info ("user:token@") of every URL in raw
// and changes no other byte. It needs no JSON and understands the escapes that
// a URL can be wrapped in: \/ and \u0040, any number of times (JSON within
// JSON), and percent-encoding of a whole URL. JSON stays JSON. The result may
// share raw's memory when there is nothing to remove.
func RedactCredentials(raw []byte) []byte {
	// User-info ends with '@'. An '@' that is not plain is written with a
	// backslash or a percent sign.
	if bytes.IndexByte(raw, '@') < 0 && bytes.IndexByte(raw, '\\') < 0 && bytes.IndexByte(raw, '%') < 0 {
		return raw
	}
	var out []byte
	from := 0
	// Between here and noAt is no '@' for a URL of at least noAtDepth: without
	// this memory a text of many half URLs would be read many times.
	noAt, noAtDepth := 0, 0
	for i := 0; i < len(raw); {
		if !mayBeginURL(raw, i) {
			i++
			continue
		}
		start, depth, ok := afterScheme(raw, i)
		switch {
		case !ok:
			i += glyphAt(raw, i).size
			continue
		case start < noAt && depth >= noAtDepth:
			i = start
			continue
		}
		end, stop := endOfUserInfo(raw, start, depth)
		if end > start {
			out = append(out, raw[from:start]...)
			from = end
		}
		i, noAt, noAtDepth = end, stop, depth
	}
	if from == 0 {
		return raw
	}
	return append(out, raw[from:]...)
}

// mayBeginURL reports whether "://", in any disguise, can begin at i. Most
// bytes cannot, nor most colons of JSON.
func mayBeginURL(raw []byte, i int) bool {
	switch raw[i] {
	case '\\', '%':
		return true
	case ':':
		return i+1 < len(raw) && (raw[i+1] == '/' || raw[i+1] == '\\' || raw[i+1] == '%')
	}
	return false
}

// afterScheme matches "://" at i and returns where the authority begins, and
// how many times the URL is percent-encoded as a whole.
func afterScheme(raw []byte, i int) (start, depth int, ok bool) {
	for _, want := range [...]byte{':', '/', '/'} {
		if i >= len(raw) {
			return 0, 0, false
		}
		g := glyphAt(raw, i)
		if g.char != want {
			return 0, 0, false
		}
		depth = max(depth, g.depth)
		i += g.size
	}
	return i, depth, true
}

// endOfUserInfo returns the index behind the user-info's '@', or start when
// the authority that begins there has none. Between end and stop is no '@'.
func endOfUserInfo(raw []byte, start, depth int) (end, stop int) {
	end = start // behind the last '@' seen
	colon, digits, inAuthority := false, 0, true
	i := start
	for i < len(raw) {
		g := glyphAt(raw, i)
		syntax := g.depth <= depth // else it is data: "%2F" inside a token
		switch {
		case syntax && endsURL(g, depth):
			return end, i
		case inAuthority && syntax && (g.char == '/' || g.char == '?' || g.char == '#'):
			// A token may hold a bare slash: "user:ab/cd@host" is no URL by
			// the book, but as secret as one. Unless the last colon is that
			// of a port, the authority goes on.
			if !colon || digits > 0 && digits <= 5 {
				return end, i
			}
			inAuthority = false
		case g.char == '@':
			end, colon, digits = i+g.size, false, 0
		case g.char == ':':
			colon, digits = true, 0
		case g.char == ']': // "[::1]" holds colons, but no port
			colon = false
		case g.char >= '0' && g.char <= '9' && digits >= 0:
			digits++
		default:
			digits = -1
		}
		i += g.size
	}
	return end, i
}

// endsURL reports whether g cannot be part of a URL.
func endsURL(g glyph, depth int) bool {
	switch g.char {
	case '"', ' ', '\t', '\n', '\r', 0:
		return true
	case '&':
		return g.depth < depth // the next parameter of the outer URL
	}
	return false
}

// glyph is one character of a text that may be escaped.
type glyph struct {
	char  byte // opaqueChar for anything outside ASCII
	size  int  // bytes it takes
	depth int  // how many times it is percent-encoded
}

const opaqueChar = 0x80

// glyphAt reads the character at i. A run of backslashes belongs to what
// follows it, so that every depth of escaping reads alike and a cut between
// two glyphs never splits an escape.
func glyphAt(raw []byte, i int) glyph {
	j := i
	for j < len(raw) && raw[j] == '\\' {
		j++
	}
	escaped := j > i
	if j == len(raw) {
		return glyph{char: '\\', size: j - i}
	}
	char, next := int(raw[j]), j+1
	if escaped {
		switch char {
		case 'u':
			if v, ok := hexValue(raw, next, 4); ok {
				char, next = v, next+4
			}
		case 'n', 'r', 't', 'b', 'f':
			char = ' '
		}
	}
	depth := 0
	if char == '%' {
		char, next, depth = percentAt(raw, next)
	}
	return glyph{char: ascii(char), size: next - i, depth: depth}
}

// percentAt reads what a percent sign before i stands for: a character that is
// encoded depth times, or with depth 0 just a percent sign.
func percentAt(raw []byte, i int) (char, next, depth int) {
	for j := i; ; j += 2 {
		v, ok := hexValue(raw, j, 2)
		if !ok {
			return '%', i, 0
		}
		depth++
		if v != '%' { // %25 is an encoded percent sign: one level deeper
			return v, j + 2, depth
		}
	}
}

func ascii(v int) byte {
	if v >= opaqueChar {
		return opaqueChar
	}
	return byte(v)
}

// hexValue reads n hexadecimal digits at i.
func hexValue(raw []byte, i, n int) (int, bool) {
	if i+n > len(raw) {
		return 0, false
	}
	v := 0
	for _, c := range raw[i : i+n] {
		switch {
		case c >= '0' && c <= '9':
			v = v<<4 | int(c-'0')
		case c >= 'a' && c <= 'f':
			v = v<<4 | int(c-'a'+10)
		case c >= 'A' && c <= 'F':
			v = v<<4 | int(c-'A'+10)
		default:
			return 0, false
		}
	}
	return v, true
}
