package script

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// stringFunctions replace what uses patterns, and what can make long strings.
var stringFunctions = map[string]lua.LGFunction{
	"find":   func(l *lua.LState) int { return find(l, true) },
	"match":  func(l *lua.LState) int { return find(l, false) },
	"gmatch": gmatch,
	"gfind":  gmatch,
	"gsub":   gsub,
	"rep":    repeat,
	"format": format,
}

// special are the characters that make a pattern more than a plain text.
const special = "^$*+?.([%-"

// find is string.find and string.match.
func find(l *lua.LState, positions bool) int {
	src, pat := l.CheckString(1), l.CheckString(2)
	init := l.OptInt(3, 1)
	if init < 0 {
		init = max(init+len(src)+1, 1)
	}
	init = min(max(init-1, 0), len(src))
	if positions && (l.ToBool(4) || !strings.ContainsAny(pat, special)) {
		i := strings.Index(src[init:], pat)
		if i < 0 {
			l.Push(lua.LNil)
			return 1
		}
		l.Push(lua.LNumber(init + i + 1))
		l.Push(lua.LNumber(init + i + len(pat)))
		return 2
	}
	m := &matcher{ctx: l.Context(), src: src, pat: pat}
	start, end := m.search(l, init)
	if start < 0 {
		l.Push(lua.LNil)
		return 1
	}
	if !positions {
		return m.pushCaptures(l, start, end, true)
	}
	l.Push(lua.LNumber(start + 1))
	l.Push(lua.LNumber(end))
	return 2 + m.pushCaptures(l, start, end, false)
}

// search finds the first match from init on; start is -1 when there is none.
func (m *matcher) search(l *lua.LState, init int) (start, end int) {
	p, anchored := 0, strings.HasPrefix(m.pat, "^")
	if anchored {
		p = 1
	}
	for s := init; s <= len(m.src); s++ {
		if end := m.mustMatch(l, s, p); end >= 0 {
			return s, end
		}
		if anchored {
			break
		}
	}
	return -1, -1
}

// mustMatch raises a Lua error when the pattern is malformed.
func (m *matcher) mustMatch(l *lua.LState, s, p int) int {
	end, err := m.match(s, p)
	if err != nil {
		l.RaiseError("%s", err.Error())
	}
	return end
}

// pushCaptures pushes the captures of the last match; the whole match when
// there are none and whole is set.
func (m *matcher) pushCaptures(l *lua.LState, start, end int, whole bool) int {
	if m.level == 0 && whole {
		l.Push(lua.LString(m.src[start:end]))
		return 1
	}
	for i := range m.level {
		l.Push(m.captured(l, i, start, end))
	}
	return m.level
}

func (m *matcher) captured(l *lua.LState, i, start, end int) lua.LValue {
	if i >= m.level {
		if i != 0 {
			l.RaiseError("%s", errCaptureIndex.Error())
		}
		return lua.LString(m.src[start:end])
	}
	c := m.capture[i]
	switch c.size {
	case capturePosition:
		return lua.LNumber(c.start + 1)
	case captureOpen:
		l.RaiseError("unfinished capture")
	}
	return lua.LString(m.src[c.start : c.start+c.size])
}

func gmatch(l *lua.LState) int {
	m := &matcher{ctx: l.Context(), src: l.CheckString(1), pat: l.CheckString(2)}
	next := 0
	l.Push(l.NewFunction(func(l *lua.LState) int {
		for s := next; s <= len(m.src); s++ {
			end := m.mustMatch(l, s, 0)
			if end < 0 {
				continue
			}
			next = end
			if end == s {
				next++
			}
			return m.pushCaptures(l, s, end, true)
		}
		next = len(m.src) + 1
		return 0
	}))
	return 1
}

func gsub(l *lua.LState) int {
	m := &matcher{ctx: l.Context(), src: l.CheckString(1), pat: l.CheckString(2)}
	l.CheckTypes(3, lua.LTString, lua.LTNumber, lua.LTTable, lua.LTFunction)
	replacement := l.Get(3)
	left := l.OptInt(4, len(m.src)+1)
	p, anchored := 0, strings.HasPrefix(m.pat, "^")
	if anchored {
		p = 1
	}
	var b strings.Builder
	s, count := 0, 0
	for count < left {
		end := m.mustMatch(l, s, p)
		if end >= 0 {
			count++
			m.replace(l, &b, s, end, replacement)
		}
		switch {
		case end > s:
			s = end
		case s < len(m.src):
			b.WriteByte(m.src[s])
			s++
		default:
			s++
		}
		checkSize(l, b.Len())
		if anchored || s > len(m.src) {
			break
		}
	}
	if s < len(m.src) {
		checkSize(l, b.Len()+len(m.src)-s)
		b.WriteString(m.src[s:])
	}
	l.Push(lua.LString(b.String()))
	l.Push(lua.LNumber(count))
	return 2
}

// replace writes what stands for the match from s to end.
func (m *matcher) replace(l *lua.LState, b *strings.Builder, s, end int, replacement lua.LValue) {
	var v lua.LValue
	switch f := replacement.(type) {
	case *lua.LFunction:
		// The function may match, too: what was captured must be kept.
		kept := *m
		l.Push(f)
		n := m.pushCaptures(l, s, end, true)
		l.Call(n, 1)
		v = l.Get(-1)
		l.Pop(1)
		m.level, m.capture = kept.level, kept.capture
	case *lua.LTable:
		v = l.GetTable(f, m.captured(l, 0, s, end))
	default:
		m.expand(l, b, s, end, text(replacement))
		return
	}
	switch {
	case lua.LVIsFalse(v):
		b.WriteString(m.src[s:end])
	case isText(v):
		b.WriteString(text(v))
	default:
		l.RaiseError("invalid replacement value (a %s)", v.Type().String())
	}
}

// expand writes a replacement text with its %1 and the like.
func (m *matcher) expand(l *lua.LState, b *strings.Builder, s, end int, with string) {
	for i := 0; i < len(with); i++ {
		c := with[i]
		if c != '%' || i+1 == len(with) {
			b.WriteByte(c)
			continue
		}
		i++
		switch d := with[i]; {
		case d == '0':
			b.WriteString(m.src[s:end])
		case d >= '1' && d <= '9':
			b.WriteString(text(m.captured(l, int(d-'1'), s, end)))
		default:
			b.WriteByte(d)
		}
		checkSize(l, b.Len())
	}
}

func repeat(l *lua.LState) int {
	s, n := l.CheckString(1), l.CheckInt(2)
	if n <= 0 || s == "" {
		l.Push(lua.LString(""))
		return 1
	}
	if n > StringSizeMax/len(s) {
		checkSize(l, StringSizeMax+1)
	}
	l.Push(lua.LString(strings.Repeat(s, n)))
	return 1
}

// format is string.format, with C's conversions.
func format(l *lua.LState) int {
	f := l.CheckString(1)
	var b strings.Builder
	arg := 1
	for i := 0; i < len(f); i++ {
		if f[i] != '%' {
			b.WriteByte(f[i])
			continue
		}
		if i++; i < len(f) && f[i] == '%' {
			b.WriteByte('%')
			continue
		}
		begin := i
		for i < len(f) && strings.IndexByte("-+ #0", f[i]) >= 0 {
			i++
		}
		for i < len(f) && (isDigit(f[i]) || f[i] == '.') {
			i++
		}
		if i >= len(f) {
			l.RaiseError("invalid format string to 'format'")
		}
		spec := f[begin:i]
		if len(spec) > 12 || tooWide(spec) {
			l.RaiseError("invalid format (width or precision too long)")
		}
		arg++
		formatOne(l, &b, spec, f[i], arg)
		checkSize(l, b.Len())
	}
	l.Push(lua.LString(b.String()))
	return 1
}

// tooWide reports whether the width or precision has more than two digits.
func tooWide(spec string) bool {
	spec = strings.TrimLeft(spec, "-+ #0")
	width, precision, _ := strings.Cut(spec, ".")
	return len(width) > 2 || len(precision) > 2 || strings.Contains(precision, ".")
}

func formatOne(l *lua.LState, b *strings.Builder, spec string, verb byte, arg int) {
	switch verb {
	case 'c':
		b.WriteByte(byte(l.CheckInt(arg)))
	case 'd', 'i':
		fmt.Fprintf(b, "%"+spec+"d", truncate(float64(l.CheckNumber(arg))))
	case 'u':
		fmt.Fprintf(b, "%"+spec+"d", uint64(truncate(float64(l.CheckNumber(arg)))))
	case 'o', 'x', 'X':
		fmt.Fprintf(b, "%"+spec+string(verb), uint64(truncate(float64(l.CheckNumber(arg)))))
	case 'e', 'E', 'f', 'g', 'G':
		n := float64(l.CheckNumber(arg))
		if math.IsInf(n, 0) || math.IsNaN(n) {
			b.WriteString(numberText(n))
			return
		}
		if !strings.Contains(spec, ".") {
			spec += ".6"
		}
		fmt.Fprintf(b, "%"+spec+string(verb), n)
	case 'q':
		quote(b, l.CheckString(arg))
	case 's':
		l.CheckString(arg) // a number will do
		formatString(b, spec, text(l.Get(arg)))
	default:
		l.RaiseError("invalid option '%%%s' to 'format'", string(rune(verb)))
	}
}

// formatString counts bytes, where fmt would count characters.
func formatString(b *strings.Builder, spec, s string) {
	left := strings.HasPrefix(spec, "-")
	width, precision, cut := strings.Cut(strings.TrimLeft(spec, "-+ #0"), ".")
	if n, _ := strconv.Atoi(precision); cut && n < len(s) {
		s = s[:n]
	}
	n, _ := strconv.Atoi(width)
	pad := strings.Repeat(" ", max(0, n-len(s)))
	if left {
		b.WriteString(s + pad)
		return
	}
	b.WriteString(pad + s)
}

func quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\', '\n':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\r':
			b.WriteString(`\r`)
		case 0:
			b.WriteString(`\000`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
}
