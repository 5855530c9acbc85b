package script

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"

	lua "github.com/yuin/gopher-lua"
)

// Host is what a script can reach. It is called on the goroutine of
// [Script.Run].
type Host interface {
	// Call runs a Redis command and returns its answer.
	Call(args []string) Reply
	// Log takes what redis.log is given; the text may hold values.
	Log(level int, text string)
}

// The causes for which a run may be ended from outside; see
// [context.WithCancelCause].
var (
	ErrTime   = errors.New("it ran too long")
	ErrMemory = errors.New("it used too much memory")
)

// The interpreter's bounds.
const (
	callDepthMax  = 200
	registersMin  = 512
	registersMax  = 256 << 10
	registersStep = 1024
	// arrayIndexMax is the largest index that a table keeps in an array: one
	// assignment may make that much memory.
	arrayIndexMax = 1 << 20
)

var setArrayLimit = sync.OnceFunc(func() { lua.MaxArrayIndex = arrayIndexMax })

// runtime is one run of a script. Functions find it by their state's context.
type runtime struct {
	context.Context
	host   Host
	random *rand.Rand // nil until it is used
}

type runtimeKey struct{}

// Value implements [context.Context].
func (r *runtime) Value(key any) any {
	if key == (runtimeKey{}) {
		return r
	}
	return r.Context.Value(key)
}

func runtimeOf(l *lua.LState) *runtime { return l.Context().Value(runtimeKey{}).(*runtime) }

// Run runs the script and returns its answer; a failure of the script is an
// answer of kind [Error]. It returns soon after ctx ends.
func (s *Script) Run(ctx context.Context, host Host, keys, args [][]byte) (out Reply) {
	setArrayLimit()
	l := lua.NewState(lua.Options{
		CallStackSize: callDepthMax, RegistrySize: registersMin, RegistryMaxSize: registersMax,
		RegistryGrowStep: registersStep, SkipOpenLibs: true, MinimizeStackMemory: true,
	})
	defer l.Close()
	l.SetContext(&runtime{Context: ctx, host: host})
	l.G.Global.RawSetString("KEYS", list(l, keys))
	l.G.Global.RawSetString("ARGV", list(l, args))
	openGlobals(l)
	l.Push(l.NewFunctionFromProto(s.proto))
	if err := l.PCall(0, 1, nil); err != nil {
		return s.failed(ctx, err)
	}
	return fromLua(l.Get(-1), 0)
}

func list(l *lua.LState, values [][]byte) *lua.LTable {
	t := l.CreateTable(len(values), 0)
	for _, v := range values {
		t.Append(lua.LString(v))
	}
	return t
}

// failed makes the answer of a run that ended with an error.
func (s *Script) failed(ctx context.Context, err error) Reply {
	if ctx.Err() != nil {
		return Reply{Kind: Error, Text: fmt.Sprintf("ERR script stopped: %v; nothing was changed", context.Cause(ctx))}
	}
	var api *lua.ApiError
	if errors.As(err, &api) {
		switch v := api.Object.(type) {
		case *lua.LTable:
			if text, ok := v.RawGetString("err").(lua.LString); ok {
				return Reply{Kind: Error, Text: strings.TrimPrefix(string(text), "-")}
			}
			return Reply{Kind: Error, Text: "ERR unknown error script: " + s.SHA}
		case lua.LString:
			return s.luaError(string(v))
		}
	}
	text, _, _ := strings.Cut(err.Error(), "\nstack traceback:")
	return s.luaError(text)
}

// luaError words an error of Lua itself as Redis does.
func (s *Script) luaError(text string) Reply {
	text = oneLine(text)
	where := "@" + chunkName
	if rest, ok := strings.CutPrefix(text, chunkName+":"); ok {
		if line, _, ok := strings.Cut(rest, ":"); ok {
			where += ":" + line
		}
	}
	return Reply{Kind: Error, Text: fmt.Sprintf("ERR %s script: %s, on %s.", text, s.SHA, where)}
}

// openGlobals lets a script find its libraries, each made when it is first
// asked for, and makes one that forgets "local" fail, as in Redis.
func openGlobals(l *lua.LState) {
	mt := l.CreateTable(0, 3)
	mt.RawSetString("__index", l.NewFunction(globalIndex))
	mt.RawSetString("__newindex", l.NewFunction(globalNewIndex))
	mt.RawSetString("__metatable", lua.LFalse)
	l.G.Global.Metatable = mt
	// Methods of strings: ("x"):rep(2).
	methods := l.CreateTable(0, 1)
	methods.RawSetString("__index", l.NewFunction(stringIndex))
	l.SetMetatable(lua.LString(""), methods)
}

func globalIndex(l *lua.LState) int {
	name, ok := l.Get(2).(lua.LString)
	v := lua.LNil
	if ok {
		v = theTemplate().global(l, string(name))
	}
	if v == lua.LNil {
		l.RaiseError("Script attempted to access nonexistent global variable '%s'", lua.LVAsString(l.Get(2)))
	}
	l.G.Global.RawSetString(string(name), v)
	l.Push(v)
	return 1
}

func globalNewIndex(l *lua.LState) int {
	l.RaiseError("Attempt to modify a readonly table")
	return 0
}

func stringIndex(l *lua.LState) int {
	library := l.G.Global.RawGetString("string")
	if library == lua.LNil {
		library = theTemplate().global(l, "string")
		l.G.Global.RawSetString("string", library)
	}
	l.Push(l.GetTable(library, l.Get(2)))
	return 1
}

// call is redis.call and redis.pcall.
func call(l *lua.LState, raise bool) int {
	rep := command(l)
	if raise && rep.Kind == Error {
		l.Error(toLua(l, &rep), 0)
		return 0
	}
	l.Push(toLua(l, &rep))
	return 1
}

func command(l *lua.LState) Reply {
	n := l.GetTop()
	if n == 0 {
		return Reply{Kind: Error, Text: "ERR Please specify at least one argument for this redis lib call"}
	}
	args := make([]string, n)
	for i := range args {
		switch v := l.Get(i + 1).(type) {
		case lua.LString:
			args[i] = string(v)
		case lua.LNumber:
			args[i] = argText(float64(v))
		default:
			return Reply{Kind: Error, Text: "ERR Lua redis lib command arguments must be strings or integers"}
		}
	}
	return runtimeOf(l).host.Call(args)
}
