package script

import (
	"math"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// Kind is the type of a [Reply].
type Kind uint8

// The types of a reply.
const (
	Nil    Kind = 0
	Status Kind = 1
	Error  Kind = 2
	Int    Kind = 3
	Bulk   Kind = 4
	Array  Kind = 5
)

// Reply is an answer of the Redis protocol.
type Reply struct {
	Kind  Kind
	Int   int64
	Text  string // of Status, Error and Bulk
	Items []Reply
}

// toLua converts an answer as Redis does: nil is false, a status and an error
// are tables with one field.
func toLua(l *lua.LState, r *Reply) lua.LValue {
	switch r.Kind {
	case Status:
		return field(l, "ok", r.Text)
	case Error:
		return field(l, "err", r.Text)
	case Int:
		return lua.LNumber(r.Int)
	case Bulk:
		return lua.LString(r.Text)
	case Array:
		t := l.CreateTable(len(r.Items), 0)
		for i := range r.Items {
			t.RawSetInt(i+1, toLua(l, &r.Items[i]))
		}
		return t
	case Nil:
	}
	return lua.LFalse
}

func field(l *lua.LState, name, text string) *lua.LTable {
	t := l.CreateTable(0, 1)
	t.RawSetString(name, lua.LString(text))
	return t
}

// replyDepthMax bounds how deep an answer may nest.
const replyDepthMax = 100

// fromLua converts what a script returns as Redis does: numbers lose their
// fraction, true is 1, false and nil are nil, a table ends at its first nil.
func fromLua(v lua.LValue, depth int) Reply {
	if depth > replyDepthMax {
		return Reply{Kind: Error, Text: "ERR reached lua stack limit"}
	}
	switch v := v.(type) {
	case lua.LString:
		return Reply{Kind: Bulk, Text: string(v)}
	case lua.LNumber:
		return Reply{Kind: Int, Int: truncate(float64(v))}
	case lua.LBool:
		if v {
			return Reply{Kind: Int, Int: 1}
		}
	case *lua.LTable:
		return fromTable(v, depth)
	}
	return Reply{}
}

func fromTable(t *lua.LTable, depth int) Reply {
	if s, ok := t.RawGetString("err").(lua.LString); ok {
		return Reply{Kind: Error, Text: strings.TrimPrefix(string(s), "-")}
	}
	if s, ok := t.RawGetString("ok").(lua.LString); ok {
		return Reply{Kind: Status, Text: string(s)}
	}
	if n, ok := t.RawGetString("double").(lua.LNumber); ok {
		return Reply{Kind: Bulk, Text: strconv.FormatFloat(float64(n), 'g', 17, 64)}
	}
	out := Reply{Kind: Array, Items: []Reply{}}
	for i := 1; ; i++ {
		v := t.RawGetInt(i)
		if v == lua.LNil {
			return out
		}
		out.Items = append(out.Items, fromLua(v, depth+1))
	}
}

// truncate is C's conversion of a double to an integer; what does not fit
// gives what it gives on amd64.
func truncate(f float64) int64 {
	if math.IsNaN(f) || f >= math.MaxInt64 || f <= math.MinInt64 {
		return math.MinInt64
	}
	return int64(f)
}

// numberText is Lua's "%.14g".
func numberText(f float64) string {
	switch {
	case f == math.Trunc(f) && math.Abs(f) < 1e14:
		if f == 0 && math.Signbit(f) {
			return "-0"
		}
		return strconv.FormatInt(int64(f), 10)
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	return strconv.FormatFloat(f, 'g', 14, 64)
}

// argText is how redis.call writes a number that it is given as an argument.
func argText(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e17 {
		return strconv.FormatInt(int64(f), 10)
	}
	return strconv.FormatFloat(f, 'g', 17, 64)
}
