package script

import (
	"maps"
	"math/rand/v2"
	"strings"
	"sync"

	lua "github.com/yuin/gopher-lua"
)

// baseKept are the global functions of Lua that scripts may use, as in Redis 7.
var baseKept = map[string]bool{
	"assert": true, "error": true, "getmetatable": true, "ipairs": true, "next": true, "pairs": true, "pcall": true,
	"rawequal": true, "rawget": true, "rawset": true, "select": true, "setmetatable": true,
	"tonumber": true, "type": true, "unpack": true, "xpcall": true, "_VERSION": true,
}

// template is everything that a script may use, made once: its functions keep
// nothing and are shared by all runs, while tables, which a script can change,
// are made for each run that asks for them.
type template struct {
	base      map[string]lua.LValue
	libraries map[string]map[string]lua.LValue
}

var theTemplate = sync.OnceValue(newTemplate)

// newTemplate opens Lua's own libraries in a state of their own, takes out what
// reaches outside or cannot be stopped, and puts ours in.
func newTemplate() *template {
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	t := &template{base: map[string]lua.LValue{}, libraries: map[string]map[string]lua.LValue{}}
	open := func(name string, f lua.LGFunction) {
		l.Push(l.NewFunction(f))
		l.Push(lua.LString(name))
		l.Call(1, 0)
		if lib, ok := l.G.Global.RawGetString(name).(*lua.LTable); ok {
			t.libraries[name] = map[string]lua.LValue{}
			lib.ForEach(func(k, v lua.LValue) { t.libraries[name][lua.LVAsString(k)] = v })
		}
	}
	open("", lua.OpenBase)
	l.G.Global.ForEach(func(k, v lua.LValue) {
		if name := lua.LVAsString(k); baseKept[name] {
			t.base[name] = v
		}
	})
	open("string", lua.OpenString)
	open("table", lua.OpenTable)
	open("math", lua.OpenMath)
	open("coroutine", lua.OpenCoroutine)
	t.libraries["redis"], t.libraries["cjson"] = map[string]lua.LValue{}, map[string]lua.LValue{}
	add := func(into map[string]lua.LValue, functions map[string]lua.LGFunction) {
		for name, f := range functions {
			into[name] = l.NewFunction(f)
		}
	}
	add(t.base, baseFunctions)
	add(t.libraries["string"], stringFunctions)
	delete(t.libraries["string"], "dump")
	delete(t.libraries["string"], "__index")
	add(t.libraries["table"], map[string]lua.LGFunction{"concat": tableConcat})
	add(t.libraries["math"], map[string]lua.LGFunction{"random": random, "randomseed": randomSeed})
	add(t.libraries["redis"], redisFunctions)
	maps.Copy(t.libraries["redis"], redisConstants())
	add(t.libraries["cjson"], jsonFunctions())
	t.libraries["cjson"]["null"] = jsonNull
	t.libraries["cjson"]["_NAME"] = lua.LString("cjson")
	t.libraries["cjson"]["_VERSION"] = lua.LString("2.1.0")
	return t
}

// global makes what a script asks for by a global name; nil if there is no such
// thing.
func (t *template) global(l *lua.LState, name string) lua.LValue {
	if name == "_G" {
		return l.G.Global
	}
	if v, ok := t.base[name]; ok {
		return v
	}
	lib, ok := t.libraries[name]
	if !ok {
		return lua.LNil
	}
	table := l.CreateTable(0, len(lib))
	for k, v := range lib {
		table.RawSetString(k, v)
	}
	return table
}

var baseFunctions = map[string]lua.LGFunction{
	concatName:       concat,
	"tostring":       toString,
	"collectgarbage": collectGarbage,
	"loadstring":     load,
	"load":           load,
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

// Random numbers are each run's own and the same in each, as in Redis.

func randomSeed(l *lua.LState) int {
	runtimeOf(l).random = rand.New(rand.NewPCG(uint64(truncate(float64(l.CheckNumber(1)))), 0))
	return 0
}

func random(l *lua.LState) int {
	r := runtimeOf(l)
	if r.random == nil {
		r.random = rand.New(rand.NewPCG(0, 0))
	}
	lo, hi := int64(1), int64(0)
	switch l.GetTop() {
	case 0:
		l.Push(lua.LNumber(r.random.Float64()))
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
	l.Push(lua.LNumber(lo + int64(r.random.Uint64N(span))))
	return 1
}

// tableConcat replaces table.concat, whose result may be long.
func tableConcat(l *lua.LState) int {
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
}
