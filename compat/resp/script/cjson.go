package script

import (
	"strconv"
	"strings"
	"unicode/utf8"

	lua "github.com/yuin/gopher-lua"
)

// jsonDepthMax is lua-cjson's limit of nesting.
const jsonDepthMax = 1000

// jsonNull is cjson.null. Nothing can change it.
var jsonNull lua.LValue = &lua.LUserData{Metatable: lua.LNil}

// jsonFunctions are the functions of "cjson", after lua-cjson 2.1 as Redis has
// it. The settings of lua-cjson keep their defaults: asking for them works,
// changing them has no effect.
func jsonFunctions() map[string]lua.LGFunction {
	functions := map[string]lua.LGFunction{"encode": encode, "decode": decode}
	for name, values := range map[string][]lua.LValue{
		"encode_sparse_array":     {lua.LFalse, lua.LNumber(2), lua.LNumber(10)},
		"encode_max_depth":        {lua.LNumber(jsonDepthMax)},
		"decode_max_depth":        {lua.LNumber(jsonDepthMax)},
		"encode_number_precision": {lua.LNumber(14)},
		"encode_keep_buffer":      {lua.LTrue},
		"encode_invalid_numbers":  {lua.LFalse},
		"decode_invalid_numbers":  {lua.LTrue},
	} {
		functions[name] = func(l *lua.LState) int {
			for _, v := range values {
				l.Push(v)
			}
			return len(values)
		}
	}
	return functions
}

func encode(l *lua.LState) int {
	if l.GetTop() != 1 {
		l.ArgError(1, "expected 1 argument")
	}
	e := encoder{l: l}
	e.value(l.Get(1), 0)
	l.Push(lua.LString(e.b.String()))
	return 1
}

type encoder struct {
	l *lua.LState
	b strings.Builder
}

func (e *encoder) value(v lua.LValue, depth int) {
	checkSize(e.l, e.b.Len())
	switch v := v.(type) {
	case lua.LString:
		e.text(string(v))
	case lua.LNumber:
		e.number(float64(v))
	case lua.LBool:
		e.b.WriteString(strconv.FormatBool(bool(v)))
	case *lua.LNilType:
		e.b.WriteString("null")
	case *lua.LTable:
		if depth >= jsonDepthMax {
			e.l.RaiseError("Cannot serialise, excessive depth (%d)", depth+1)
		}
		e.table(v, depth+1)
	default:
		if v == jsonNull {
			e.b.WriteString("null")
			return
		}
		e.l.RaiseError("Cannot serialise %s: type not supported", v.Type().String())
	}
}

func (e *encoder) number(f float64) {
	s := numberText(f)
	if s == "inf" || s == "-inf" || s == "nan" {
		e.l.RaiseError("Cannot serialise number: must not be NaN or Inf")
	}
	e.b.WriteString(s)
}

// table writes an array when all keys are positive whole numbers, not too
// sparse; else an object.
func (e *encoder) table(t *lua.LTable, depth int) {
	if n := e.arrayLen(t); n > 0 {
		e.b.WriteByte('[')
		for i := 1; i <= n; i++ {
			if i > 1 {
				e.b.WriteByte(',')
			}
			e.value(t.RawGetInt(i), depth)
		}
		e.b.WriteByte(']')
		return
	}
	e.b.WriteByte('{')
	first := true
	t.ForEach(func(k, v lua.LValue) {
		if !first {
			e.b.WriteByte(',')
		}
		first = false
		switch k := k.(type) {
		case lua.LString:
			e.text(string(k))
		case lua.LNumber:
			e.b.WriteByte('"')
			e.number(float64(k))
			e.b.WriteByte('"')
		default:
			e.l.RaiseError("Cannot serialise table: table key must be a number or string")
		}
		e.b.WriteByte(':')
		e.value(v, depth)
	})
	e.b.WriteByte('}')
}

// arrayLen returns the length of t as an array; 0 when it is none, or empty.
func (e *encoder) arrayLen(t *lua.LTable) int {
	largest, items, isArray := 0, 0, true
	t.ForEach(func(k, _ lua.LValue) {
		n, ok := k.(lua.LNumber)
		if !ok || n < 1 || n != lua.LNumber(int64(n)) {
			isArray = false
			return
		}
		largest, items = max(largest, int(n)), items+1
	})
	if !isArray {
		return 0
	}
	if largest > items*2 && largest > 10 {
		e.l.RaiseError("Cannot serialise table: excessively sparse array")
	}
	return largest
}

const hexDigits = "0123456789abcdef"

func (e *encoder) text(s string) {
	e.b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\' || c == '/':
			e.b.WriteByte('\\')
			e.b.WriteByte(c)
		case c == '\b':
			e.b.WriteString(`\b`)
		case c == '\t':
			e.b.WriteString(`\t`)
		case c == '\n':
			e.b.WriteString(`\n`)
		case c == '\f':
			e.b.WriteString(`\f`)
		case c == '\r':
			e.b.WriteString(`\r`)
		case c < ' ' || c == 0x7f:
			e.b.WriteString(`\u00`)
			e.b.WriteByte(hexDigits[c>>4])
			e.b.WriteByte(hexDigits[c&15])
		default:
			e.b.WriteByte(c)
		}
	}
	e.b.WriteByte('"')
}

func decode(l *lua.LState) int {
	if l.GetTop() != 1 {
		l.ArgError(1, "expected 1 argument")
	}
	d := decoder{l: l, s: l.CheckString(1)}
	d.space()
	v := d.value(0)
	d.space()
	if d.i < len(d.s) {
		d.expected("the end")
	}
	l.Push(v)
	return 1
}

type decoder struct {
	l *lua.LState
	s string
	i int
}

// expected raises lua-cjson's error. It names a place, never the text.
func (d *decoder) expected(what string) {
	found := "invalid token"
	if d.i >= len(d.s) {
		found = "T_END"
	}
	d.l.RaiseError("Expected %s but found %s at character %d", what, found, d.i+1)
}

func (d *decoder) space() {
	for d.i < len(d.s) && strings.IndexByte(" \t\n\r", d.s[d.i]) >= 0 {
		d.i++
	}
}

func (d *decoder) value(depth int) lua.LValue {
	if d.i >= len(d.s) {
		d.expected("value")
	}
	switch c := d.s[d.i]; {
	case c == '"':
		return lua.LString(d.text())
	case c == '{':
		return d.object(depth + 1)
	case c == '[':
		return d.array(depth + 1)
	case d.word("true"):
		return lua.LTrue
	case d.word("false"):
		return lua.LFalse
	case d.word("null"):
		return jsonNull
	}
	return d.number()
}

func (d *decoder) word(w string) bool {
	if !strings.HasPrefix(d.s[d.i:], w) {
		return false
	}
	d.i += len(w)
	return true
}

func (d *decoder) number() lua.LValue {
	begin := d.i
	for d.i < len(d.s) && (isDigit(d.s[d.i]) || strings.IndexByte("+-.eExXabcdefABCDEF", d.s[d.i]) >= 0) {
		d.i++
	}
	f, err := strconv.ParseFloat(d.s[begin:d.i], 64)
	if err != nil && !isRangeError(err) {
		d.i = begin
		d.expected("value")
	}
	return lua.LNumber(f)
}

func isRangeError(err error) bool { return strings.HasSuffix(err.Error(), strconv.ErrRange.Error()) }

func (d *decoder) deep(depth int) {
	if depth > jsonDepthMax {
		d.l.RaiseError("Found too many nested data structures (%d)", depth)
	}
}

func (d *decoder) object(depth int) lua.LValue {
	d.deep(depth)
	t := d.l.CreateTable(0, 0)
	d.i++
	d.space()
	if d.word("}") {
		return t
	}
	for {
		if d.i >= len(d.s) || d.s[d.i] != '"' {
			d.expected("object key string")
		}
		key := d.text()
		d.space()
		if !d.word(":") {
			d.expected("colon")
		}
		d.space()
		t.RawSetString(key, d.value(depth))
		d.space()
		if d.word("}") {
			return t
		}
		if !d.word(",") {
			d.expected("comma or object end")
		}
		d.space()
	}
}

func (d *decoder) array(depth int) lua.LValue {
	d.deep(depth)
	t := d.l.CreateTable(0, 0)
	d.i++
	d.space()
	if d.word("]") {
		return t
	}
	for n := 1; ; n++ {
		t.RawSetInt(n, d.value(depth))
		d.space()
		if d.word("]") {
			return t
		}
		if !d.word(",") {
			d.expected("comma or array end")
		}
		d.space()
	}
}

// text reads the string at i.
func (d *decoder) text() string {
	d.i++
	begin := d.i
	for d.i < len(d.s) && d.s[d.i] != '"' && d.s[d.i] != '\\' && d.s[d.i] >= ' ' {
		d.i++
	}
	if d.i < len(d.s) && d.s[d.i] == '"' { // nothing to undo
		d.i++
		return d.s[begin : d.i-1]
	}
	b := append([]byte(nil), d.s[begin:d.i]...)
	for d.i < len(d.s) {
		c := d.s[d.i]
		switch {
		case c == '"':
			d.i++
			return string(b)
		case c < ' ':
			d.expected("value")
		case c == '\\':
			b = d.escape(b)
		default:
			b = append(b, c)
			d.i++
		}
	}
	d.expected("value")
	return ""
}

// escape reads the escape at i.
func (d *decoder) escape(b []byte) []byte {
	if d.i+1 >= len(d.s) {
		d.expected("value")
	}
	c := d.s[d.i+1]
	if c == 'u' {
		return d.unicode(b)
	}
	at := strings.IndexByte(`"\/bfnrt`, c)
	if at < 0 {
		d.expected("value")
	}
	d.i += 2
	return append(b, "\"\\/\b\f\n\r\t"[at])
}

// unicode reads \uXXXX, or two of them that make one character.
func (d *decoder) unicode(b []byte) []byte {
	r := d.hex4(d.i)
	d.i += 6
	switch {
	case r >= 0xd800 && r < 0xdc00:
		low := rune(-1)
		if strings.HasPrefix(d.s[min(d.i, len(d.s)):], `\u`) {
			low = d.hex4(d.i)
		}
		if low < 0xdc00 || low > 0xdfff {
			d.i -= 6
			d.expected("value")
		}
		d.i += 6
		r = 0x10000 + (r-0xd800)<<10 + (low - 0xdc00)
	case r >= 0xdc00 && r < 0xe000:
		d.i -= 6
		d.expected("value")
	}
	return utf8.AppendRune(b, r)
}

func (d *decoder) hex4(at int) rune {
	if at+6 > len(d.s) {
		d.expected("value")
	}
	n, err := strconv.ParseUint(d.s[at+2:at+6], 16, 32)
	if err != nil {
		d.expected("value")
	}
	return rune(n)
}
