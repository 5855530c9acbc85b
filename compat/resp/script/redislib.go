package script

import (
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// redisFunctions are the functions of "redis".
var redisFunctions = map[string]lua.LGFunction{
	"call":         func(l *lua.LState) int { return call(l, true) },
	"pcall":        func(l *lua.LState) int { return call(l, false) },
	"error_reply":  errorReply,
	"status_reply": statusReply,
	"sha1hex":      sha1hex,
	"log":          logText,
	"setresp":      setResp,
	// A script's effects are what is replicated, always.
	"replicate_commands": func(l *lua.LState) int { l.Push(lua.LTrue); return 1 },
	"set_repl":           func(*lua.LState) int { return 0 },
	"breakpoint":         func(l *lua.LState) int { l.Push(lua.LFalse); return 1 },
	"debug":              func(*lua.LState) int { return 0 },
}

func redisConstants() map[string]lua.LValue {
	return map[string]lua.LValue{
		"LOG_DEBUG": lua.LNumber(0), "LOG_VERBOSE": lua.LNumber(1), "LOG_NOTICE": lua.LNumber(2), "LOG_WARNING": lua.LNumber(3),
		"REPL_NONE": lua.LNumber(0), "REPL_AOF": lua.LNumber(1), "REPL_SLAVE": lua.LNumber(2), "REPL_REPLICA": lua.LNumber(2),
		"REPL_ALL": lua.LNumber(3), "REDIS_VERSION": lua.LString("7.0.15"), "REDIS_VERSION_NUM": lua.LNumber(0x07000f),
	}
}

func errorReply(l *lua.LState) int  { return oneField(l, "err") }
func statusReply(l *lua.LState) int { return oneField(l, "ok") }

func oneField(l *lua.LState, name string) int {
	s, ok := l.Get(1).(lua.LString)
	if l.GetTop() != 1 || !ok {
		l.Push(field(l, "err", "ERR wrong number or type of arguments"))
		return 1
	}
	text := string(s)
	if name == "err" {
		text = strings.TrimPrefix(text, "-")
		if !strings.Contains(text, " ") { // no code in front
			text = "ERR " + text
		}
	}
	l.Push(field(l, name, text))
	return 1
}

func sha1hex(l *lua.LState) int {
	if l.GetTop() != 1 {
		l.RaiseError("wrong number of arguments")
	}
	l.Push(lua.LString(Digest(lua.LVAsString(l.Get(1)))))
	return 1
}

func logText(l *lua.LState) int {
	if l.GetTop() < 2 {
		l.RaiseError("redis.log() requires two arguments or more.")
	}
	level, ok := l.Get(1).(lua.LNumber)
	if !ok {
		l.RaiseError("First argument must be a number (log level).")
	}
	var words []string
	for i := 2; i <= l.GetTop(); i++ {
		words = append(words, lua.LVAsString(l.Get(i)))
	}
	runtimeOf(l).host.Log(int(level), strings.Join(words, " "))
	return 0
}

// setResp accepts both protocols. What redis.call answers is the same for
// every command that there is, so nothing changes.
func setResp(l *lua.LState) int {
	if n, ok := l.Get(1).(lua.LNumber); l.GetTop() != 1 || !ok || n != 2 && n != 3 {
		l.RaiseError("RESP version must be 2 or 3.")
	}
	return 0
}
