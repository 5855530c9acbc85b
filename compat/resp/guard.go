package resp

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

const (
	// inlineSizeMax bounds a command that is typed by hand (telnet).
	inlineSizeMax = 64 << 10
	// largeSize is where an argument begins to count against the budget.
	largeSize = 64 << 10
	// Before AUTH a client may say little, as in Redis.
	unauthenticatedArgsMax = 10
	unauthenticatedSizeMax = 16 << 10
	// headerDigitsMax is longer than any length that is allowed.
	headerDigitsMax = 10
)

// protocolError is a violation of the protocol or of a limit: the client is
// told, and its connection closed.
type protocolError struct{ text string }

func (e *protocolError) Error() string { return "Protocol error: " + e.text }

// errBudget means that the large commands of all connections take too much
// memory together.
var errBudget = errors.New("TRYAGAIN too many large commands at a time; nothing was changed, try again")

// budget bounds the memory of large commands of all connections.
type budget struct {
	free atomic.Int64
}

func (b *budget) take(n int64) bool {
	if b.free.Add(-n) < 0 {
		b.free.Add(n)
		return false
	}
	return true
}

func (b *budget) give(n int64) { b.free.Add(n) }

// guardState is where in a command the guard stands.
type guardState uint8

const (
	atStart guardState = iota
	inInline
	inCount  // behind '*'
	atBulk   // '$' must follow
	inLength // behind '$'
	inData   // skip bytes are left
	atReturn // "\r\n" must follow the data
	atNewline
)

// guard follows the framing of the bytes that a client sends and hands them on
// only as long as they keep to the limits: redcon would take any count and
// length, and memory for it. What was complete before a violation is still
// handed on.
type guard struct {
	r             io.Reader
	sizeMax       int
	argsMax       int
	budget        *budget
	authenticated bool

	state  guardState
	number int64 // the number that is being read
	digits int
	sign   bool
	cr     bool  // a carriage return was read, a newline must follow
	args   int64 // arguments still to come
	skip   int64 // bytes of the argument still to come
	total  int64 // bytes of the command
	taken  int64 // of the budget
	large  bool  // a large command was seen since the last settle
	err    error // what Read answers from now on
}

// Read implements [io.Reader].
func (g *guard) Read(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	n, err := g.r.Read(p)
	good, violation := g.follow(p[:n])
	if violation != nil {
		g.err = violation
		if good > 0 {
			return good, nil
		}
		return 0, violation
	}
	return n, err
}

// idle reports whether everything handed on makes complete commands.
func (g *guard) idle() bool { return g.state == atStart }

// settle gives back what large commands took of the budget, once they are done.
func (g *guard) settle() {
	if g.taken > 0 && g.idle() {
		g.budget.give(g.taken)
		g.taken = 0
	}
}

// close gives everything back.
func (g *guard) close() {
	g.budget.give(g.taken)
	g.taken = 0
}

// follow reads p; good is how many bytes of it end complete commands.
func (g *guard) follow(p []byte) (good int, err error) {
	for i := 0; i < len(p); {
		if g.state == inData {
			n := min(int64(len(p)-i), g.skip)
			g.skip -= n
			i += int(n)
			if g.skip == 0 {
				g.state = atReturn
			}
		} else {
			if err := g.step(p[i]); err != nil {
				return good, err
			}
			i++
		}
		if g.state == atStart {
			good, g.total = i, 0
		}
	}
	return good, nil
}

func (g *guard) nextArg() {
	g.args--
	g.state = atBulk
	if g.args <= 0 {
		g.state = atStart
	}
}

// step reads one byte outside of an argument's data.
func (g *guard) step(c byte) error {
	switch g.state {
	case atStart:
		if c == '*' {
			g.state = inCount
			g.begin()
			return nil
		}
		g.state = inInline
		return g.inline(c)
	case inInline:
		return g.inline(c)
	case atBulk:
		if c != '$' {
			return &protocolError{fmt.Sprintf("expected '$', got '%c'", printable(c))}
		}
		g.state = inLength
		g.begin()
	case inCount:
		if done, err := g.digit(c, "invalid multibulk length"); err != nil || !done {
			return err
		}
		if g.number <= 0 || g.number > int64(g.argLimit()) {
			return &protocolError{"invalid multibulk length"}
		}
		g.args, g.state = g.number, atBulk
	case inLength:
		if done, err := g.digit(c, "invalid bulk length"); err != nil || !done {
			return err
		}
		return g.length()
	case atReturn:
		if c != '\r' {
			return &protocolError{"invalid bulk length"}
		}
		g.state = atNewline
	case atNewline:
		if c != '\n' {
			return &protocolError{"invalid bulk length"}
		}
		g.nextArg()
	case inData:
	}
	return nil
}

// length begins an argument of g.number bytes.
func (g *guard) length() error {
	if g.number < 0 || g.number > int64(g.sizeLimit()) {
		return &protocolError{"invalid bulk length"}
	}
	g.total += g.number
	if g.total > int64(g.sizeLimit())+largeSize {
		return &protocolError{"command too large"}
	}
	if g.number > largeSize {
		// redcon holds a command up to three times while it grows.
		want := 3 * g.number
		if !g.budget.take(want) {
			return errBudget
		}
		g.taken += want
		g.large = true
	}
	g.skip, g.state = g.number, inData
	if g.number == 0 {
		g.state = atReturn
	}
	return nil
}

func (g *guard) begin() { g.number, g.digits, g.sign, g.cr = 0, 0, false, false }

// digit reads one byte of a number that ends with a line; done is true at its
// end.
func (g *guard) digit(c byte, text string) (done bool, err error) {
	switch {
	case g.cr:
		if c != '\n' {
			return false, &protocolError{text}
		}
		if g.sign {
			g.number = -g.number
		}
		return true, nil
	case c == '\r' && g.digits > 0:
		g.cr = true
	case c == '-' && g.digits == 0 && !g.sign:
		g.sign = true
	case c >= '0' && c <= '9' && g.digits < headerDigitsMax:
		g.number = g.number*10 + int64(c-'0')
		g.digits++
	default:
		return false, &protocolError{text}
	}
	return false, nil
}

// inline reads one byte of a command that is no array. Control characters mean
// that somebody speaks another protocol, TLS for example.
func (g *guard) inline(c byte) error {
	g.total++
	switch {
	case c == '\n':
		g.state = atStart
	case g.total > int64(min(inlineSizeMax, g.sizeLimit())):
		return &protocolError{"too big inline request"}
	case c < ' ' && c != '\r' && c != '\t' && c != 0x1b, c == 0x7f:
		return &protocolError{"not a Redis command; is the client set to TLS or another protocol?"}
	}
	return nil
}

func (g *guard) argLimit() int {
	if !g.authenticated {
		return min(g.argsMax, unauthenticatedArgsMax)
	}
	return g.argsMax
}

func (g *guard) sizeLimit() int {
	if !g.authenticated {
		return min(g.sizeMax, unauthenticatedSizeMax)
	}
	return g.sizeMax
}

func printable(c byte) rune {
	if c < ' ' || c >= 0x7f {
		return '?'
	}
	return rune(c)
}
