package script

import (
	"context"
	"errors"
)

// Lua 5.1 patterns, after lstrlib.c of PUC-Rio Lua 5.1: the same algorithm,
// with a count of its steps so that it can be stopped.

const (
	capturesMax  = 32
	matchDepth   = 200 // as LUAI_MAXCCALLS bounds it in C
	stepsPerLook = 4096

	captureOpen     = -1
	capturePosition = -2
)

var (
	errPatternEnd     = errors.New("malformed pattern (ends with '%')")
	errPatternSet     = errors.New("malformed pattern (missing ']')")
	errPatternBalance = errors.New("unbalanced pattern")
	errPatternFront   = errors.New("missing '[' after '%f' in pattern")
	errCaptureIndex   = errors.New("invalid capture index")
	errCapture        = errors.New("invalid pattern capture")
	errCaptures       = errors.New("too many captures")
	errPatternDepth   = errors.New("pattern too complex")
)

// matcher matches one pattern against one subject. Errors are thrown as panics
// of type patternPanic, as C does with longjmp; [matcher.match] catches them.
type matcher struct {
	ctx     context.Context
	src     string
	pat     string
	level   int
	capture [capturesMax]struct{ start, size int }
	depth   int
	steps   int
}

type patternPanic struct{ err error }

func fail(err error) { panic(patternPanic{err}) }

// match matches pat from s on; end is -1 when it does not.
func (m *matcher) match(s, p int) (end int, err error) {
	defer func() {
		if r := recover(); r != nil {
			pp, ok := r.(patternPanic)
			if !ok {
				panic(r)
			}
			err = pp.err
		}
	}()
	m.level, m.depth = 0, 0
	return m.do(s, p), nil
}

// step counts, and ends the match when the script's time is over.
func (m *matcher) step() {
	if m.steps++; m.steps%stepsPerLook == 0 && m.ctx.Err() != nil {
		fail(context.Cause(m.ctx))
	}
}

// do is "match" of lstrlib.c.
func (m *matcher) do(s, p int) int {
	if m.depth++; m.depth > matchDepth {
		fail(errPatternDepth)
	}
	defer func() { m.depth-- }()
	for {
		m.step()
		if p == len(m.pat) {
			return s
		}
		switch c := m.pat[p]; {
		case c == '(' && p+1 < len(m.pat) && m.pat[p+1] == ')':
			return m.startCapture(s, p+2, capturePosition)
		case c == '(':
			return m.startCapture(s, p+1, captureOpen)
		case c == ')':
			return m.endCapture(s, p+1)
		case c == '$' && p+1 == len(m.pat):
			if s == len(m.src) {
				return s
			}
			return -1
		case c == '%' && p+1 < len(m.pat) && m.pat[p+1] == 'b':
			if s = m.balance(s, p+2); s < 0 {
				return -1
			}
			p += 4
			continue
		case c == '%' && p+1 < len(m.pat) && m.pat[p+1] == 'f':
			next, ok := m.frontier(s, p+2)
			if !ok {
				return -1
			}
			p = next
			continue
		case c == '%' && p+1 < len(m.pat) && m.pat[p+1] >= '0' && m.pat[p+1] <= '9':
			if s = m.backReference(s, m.pat[p+1]); s < 0 {
				return -1
			}
			p += 2
			continue
		}
		next := m.classEnd(p)
		suffix := byte(0)
		if next < len(m.pat) {
			suffix = m.pat[next]
		}
		switch suffix {
		case '?':
			if m.single(s, p, next) {
				if end := m.do(s+1, next+1); end >= 0 {
					return end
				}
			}
			p = next + 1
		case '*':
			return m.maxExpand(s, p, next)
		case '+':
			if !m.single(s, p, next) {
				return -1
			}
			return m.maxExpand(s+1, p, next)
		case '-':
			return m.minExpand(s, p, next)
		default:
			if !m.single(s, p, next) {
				return -1
			}
			s, p = s+1, next
		}
	}
}

func (m *matcher) maxExpand(s, p, next int) int {
	i := 0
	for m.single(s+i, p, next) {
		i++
	}
	for ; i >= 0; i-- {
		if end := m.do(s+i, next+1); end >= 0 {
			return end
		}
	}
	return -1
}

func (m *matcher) minExpand(s, p, next int) int {
	for {
		if end := m.do(s, next+1); end >= 0 {
			return end
		}
		if !m.single(s, p, next) {
			return -1
		}
		s++
	}
}

func (m *matcher) startCapture(s, p, what int) int {
	if m.level >= capturesMax {
		fail(errCaptures)
	}
	m.capture[m.level].start, m.capture[m.level].size = s, what
	m.level++
	end := m.do(s, p)
	if end < 0 {
		m.level--
	}
	return end
}

func (m *matcher) endCapture(s, p int) int {
	l := -1
	for i := m.level - 1; i >= 0; i-- {
		if m.capture[i].size == captureOpen {
			l = i
			break
		}
	}
	if l < 0 {
		fail(errCapture)
	}
	m.capture[l].size = s - m.capture[l].start
	end := m.do(s, p)
	if end < 0 {
		m.capture[l].size = captureOpen
	}
	return end
}

func (m *matcher) backReference(s int, digit byte) int {
	l := int(digit) - '1'
	if l < 0 || l >= m.level || m.capture[l].size == captureOpen {
		fail(errCaptureIndex)
	}
	size := max(m.capture[l].size, 0)
	start := m.capture[l].start
	if len(m.src)-s >= size && m.src[start:start+size] == m.src[s:s+size] {
		return s + size
	}
	return -1
}

func (m *matcher) balance(s, p int) int {
	if p+1 >= len(m.pat) {
		fail(errPatternBalance)
	}
	if s >= len(m.src) || m.src[s] != m.pat[p] {
		return -1
	}
	open, closing := m.pat[p], m.pat[p+1]
	depth := 1
	for i := s + 1; i < len(m.src); i++ {
		m.step()
		switch m.src[i] {
		case closing:
			if depth--; depth == 0 {
				return i + 1
			}
		case open:
			depth++
		}
	}
	return -1
}

func (m *matcher) frontier(s, p int) (next int, ok bool) {
	if p >= len(m.pat) || m.pat[p] != '[' {
		fail(errPatternFront)
	}
	next = m.classEnd(p)
	before, here := byte(0), byte(0)
	if s > 0 {
		before = m.src[s-1]
	}
	if s < len(m.src) {
		here = m.src[s]
	}
	return next, !m.inSet(before, p, next-1) && m.inSet(here, p, next-1)
}

// classEnd returns the index behind the single-character class at p.
func (m *matcher) classEnd(p int) int {
	c := m.pat[p]
	p++
	switch c {
	case '%':
		if p >= len(m.pat) {
			fail(errPatternEnd)
		}
		return p + 1
	case '[':
		if p < len(m.pat) && m.pat[p] == '^' {
			p++
		}
		for first := true; ; first = false {
			if p >= len(m.pat) {
				fail(errPatternSet)
			}
			if m.pat[p] == ']' && !first {
				return p + 1
			}
			if m.pat[p] == '%' {
				p++
				if p >= len(m.pat) {
					fail(errPatternSet)
				}
			}
			p++
		}
	}
	return p
}

// single reports whether the character at s matches the class at p, whose end
// is next.
func (m *matcher) single(s, p, next int) bool {
	m.step()
	if s >= len(m.src) {
		return false
	}
	c := m.src[s]
	switch m.pat[p] {
	case '.':
		return true
	case '%':
		return inClass(c, m.pat[p+1])
	case '[':
		return m.inSet(c, p, next-1)
	}
	return m.pat[p] == c
}

// inSet matches c against the set from '[' at p to ']' at last.
func (m *matcher) inSet(c byte, p, last int) bool {
	sense := true
	if m.pat[p+1] == '^' {
		sense = false
		p++
	}
	for p++; p < last; p++ {
		switch {
		case m.pat[p] == '%':
			p++
			if inClass(c, m.pat[p]) {
				return sense
			}
		case p+2 < last && m.pat[p+1] == '-':
			if m.pat[p] <= c && c <= m.pat[p+2] {
				return sense
			}
			p += 2
		case m.pat[p] == c:
			return sense
		}
	}
	return !sense
}

// inClass matches c against the class %x, in the C locale.
func inClass(c, class byte) bool {
	lower := class | 0x20
	var in bool
	switch lower {
	case 'a':
		in = isAlpha(c)
	case 'c':
		in = c < ' ' || c == 0x7f
	case 'd':
		in = isDigit(c)
	case 'l':
		in = c >= 'a' && c <= 'z'
	case 'p':
		in = c > ' ' && c < 0x7f && !isAlpha(c) && !isDigit(c)
	case 's':
		in = c == ' ' || c >= '\t' && c <= '\r'
	case 'u':
		in = c >= 'A' && c <= 'Z'
	case 'w':
		in = isAlpha(c) || isDigit(c)
	case 'x':
		in = isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f'
	case 'z':
		in = c == 0
	default:
		return class == c
	}
	if !isAlpha(class) {
		return class == c
	}
	return in != (class >= 'A' && class <= 'Z')
}

func isAlpha(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
