package script

import (
	"math/rand/v2"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// baseKept are the global functions of Lua that scripts may use, as in Redis 7.
var baseKept = map[string]bool{
	"assert": true, "error": true, "getmetatable": true, "ipairs": true, "next": true, "pairs": true, "pcall": true,
	"rawequal": true, "rawget": true, "rawset": true, "select": true, "setmetatable": true,
	"tonumber": true, "type": true, "unpack": true, "xpcall": true, "_G": true, "_VERSION": true,
}

// openLibraries gives l everything that a script may use.
func (r *runtime) openLibraries(l *lua.LState) {
	open := func(name string, f lua.LGFunction) *lua.LTable {
		l.Push(l.NewFunction(f))
		l.Push(lua.LString(name))
		l.Call(1, 0)
		t, _ := l.G.Global.RawGetString(name).(*lua.LTable)
		return t
	}
	open("", lua.OpenBase)
	g := l.G.Global
	g.ForEach(func(k, _ lua.LValue) {
		if !baseKept[lua.LVAsString(k)] {
			g.RawSet(k, lua.LNil)
		}
	})
	r.openBase(l, g)
	r.openString(l, open("string", lua.OpenString))
	r.openTable(l, open("table", lua.OpenTable))
	openMath(l, open("math", lua.OpenMath))
	open("coroutine", lua.OpenCoroutine)
	g.RawSetString("redis", r.openRedis(l))
	g.RawSetString("cjson", r.openCJSON(l))
}

func (r *runtime) openBase(l *lua.LState, g *lua.LTable) {
	for name, f := range map[string]lua.LGFunction{
		concatName:       concat,
		"tostring":       toString,
		"collectgarbage": collectGarbage,
		"loadstring":     load,
		"load":           load,
	} {
		g.RawSetString(name, l.NewFunction(f))
	}
}

// concat is the operator "..".
func concat(l *lua.LState) int {
	n := l.GetTop()
	size := 0
	for i := 1; i <= n; i++ {
		switch v := l.Get(i).(type) {
		case lua.LString:
			size += len(v)
		case lua.LNumber:
			size += 24
		default:
			return concatMeta(l, n)
		}
	}
	checkSize(l, size)
	var b strings.Builder
	b.Grow(size)
	for i := 1; i <= n; i++ {
		b.WriteString(text(l.Get(i)))
	}
	l.Push(lua.LString(b.String()))
	return 1
}

// concatMeta concatenates from the right, two at a time, with metamethods.
func concatMeta(l *lua.LState, n int) int {
	right := l.Get(n)
	for i := n - 1; i >= 1; i-- {
		left := l.Get(i)
		if isText(left) && isText(right) {
			a, b := text(left), text(right)
			checkSize(l, len(a)+len(b))
			right = lua.LString(a + b)
			continue
		}
		f := l.GetMetaField(left, "__concat")
		if f == lua.LNil {
			f = l.GetMetaField(right, "__concat")
		}
		if f == lua.LNil {
			bad := left
			if isText(left) {
				bad = right
			}
			l.RaiseError("attempt to concatenate a %s value", bad.Type().String())
		}
		l.Push(f)
		l.Push(left)
		l.Push(right)
		l.Call(2, 1)
		right = l.Get(-1)
		l.Pop(1)
	}
	l.Push(right)
	return 1
}

func isText(v lua.LValue) bool { return v.Type() == lua.LTString || v.Type() == lua.LTNumber }

// text is a string or number as text.
func text(v lua.LValue) string {
	if n, ok := v.(lua.LNumber); ok {
		return numberText(float64(n))
	}
	return lua.LVAsString(v)
}

func checkSize(l *lua.LState, size int) {
	if size > StringSizeMax || size < 0 {
		l.RaiseError("a string is longer than %d bytes", StringSizeMax)
	}
}

func toString(l *lua.LState) int {
	v := l.CheckAny(1)
	if n, ok := v.(lua.LNumber); ok {
		l.Push(lua.LString(numberText(float64(n))))
		return 1
	}
	l.Push(l.ToStringMeta(v))
	return 1
}

// collectGarbage pretends: memory is the process's business.
func collectGarbage(l *lua.LState) int {
	l.Push(lua.LNumber(0))
	return 1
}

// load compiles a string, or the pieces that a function returns. It answers
// nil and an error text when they are no script.
func load(l *lua.LState) int {
	var text string
	switch v := l.Get(1).(type) {
	case lua.LString:
		text = string(v)
	case *lua.LFunction:
		var b strings.Builder
		for b.Len() <= TextSizeMax {
			l.Push(v)
			l.Call(0, 1)
			piece := l.Get(-1)
			l.Pop(1)
			if s, ok := piece.(lua.LString); ok && s != "" {
				b.WriteString(string(s))
				continue
			}
			break
		}
		text = b.String()
	default:
		l.ArgError(1, "string or function expected")
	}
	name := l.OptString(2, "@"+chunkName)
	if len(text) > TextSizeMax || len(name) > 256 {
		l.Push(lua.LNil)
		l.Push(lua.LString("chunk is too long"))
		return 2
	}
	proto, err := compile(text, strings.TrimLeft(name, "@="))
	if err != nil {
		l.Push(lua.LNil)
		l.Push(lua.LString(err.Error()))
		return 2
	}
	l.Push(l.NewFunctionFromProto(proto))
	return 1
}

// openMath gives each run random numbers of its own, the same in each, as in
// Redis.
func openMath(l *lua.LState, t *lua.LTable) {
	source := rand.New(rand.NewPCG(0, 0))
	t.RawSetString("randomseed", l.NewFunction(func(l *lua.LState) int {
		source = rand.New(rand.NewPCG(uint64(truncate(float64(l.CheckNumber(1)))), 0))
		return 0
	}))
	t.RawSetString("random", l.NewFunction(func(l *lua.LState) int {
		lo, hi := int64(1), int64(0)
		switch l.GetTop() {
		case 0:
			l.Push(lua.LNumber(source.Float64()))
			return 1
		case 1:
			hi = l.CheckInt64(1)
		case 2:
			lo, hi = l.CheckInt64(1), l.CheckInt64(2)
		default:
			l.RaiseError("wrong number of arguments")
		}
		span := uint64(hi) - uint64(lo) + 1
		if lo > hi || span == 0 {
			l.ArgError(l.GetTop(), "interval is empty")
		}
		l.Push(lua.LNumber(lo + int64(source.Uint64N(span))))
		return 1
	}))
}

// openTable replaces table.concat, whose result may be long.
func (r *runtime) openTable(l *lua.LState, t *lua.LTable) {
	t.RawSetString("concat", l.NewFunction(func(l *lua.LState) int {
		list, separator := l.CheckTable(1), l.OptString(2, "")
		first, last := l.OptInt(3, 1), l.OptInt(4, list.Len())
		var b strings.Builder
		for i := first; i <= last; i++ {
			v := list.RawGetInt(i)
			if !isText(v) {
				l.RaiseError("invalid value (%s) at index %d in table for concat", v.Type().String(), i)
			}
			b.WriteString(text(v))
			if i < last {
				b.WriteString(separator)
			}
			checkSize(l, b.Len())
		}
		l.Push(lua.LString(b.String()))
		return 1
	}))
}
