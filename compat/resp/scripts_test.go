package resp

import (
	"strings"
	"testing"
)

// scriptsAsRedis are scripts whose answers must be those of a real Redis, on
// KEYS {a, b} and ARGV {7, "x y", ""}.
var scriptsAsRedis = []string{
	`return 1`, `return "s"`, `return nil`, `return true`, `return false`, `return 3.99`, `return -3.99`, `return {1,2,nil,4}`,
	`return {1,{2,"x",{}},false,true}`, `return {}`, `return {ok="FINE"}`, `return {err="MY own"}`, `return redis.error_reply("MY own")`,
	`return redis.error_reply("own")`, `return redis.error_reply("-own")`, `return redis.status_reply("OK then")`,
	`return {1,redis.error_reply("X y")}`, `return {a=1}`, `return KEYS`, `return ARGV`, `return #KEYS + #ARGV`, `return 1e15`, `return 2^53`,
	`return redis.call("set", KEYS[1], ARGV[1])`, `return redis.call("get", KEYS[1])`, `return redis.call("GET", "missing")`,
	`return redis.call("set", KEYS[1], 12)`, `return redis.call("set", KEYS[1], 1.5)`, `return redis.call("get", KEYS[1])`,
	`return redis.call("incr2", KEYS[1])`, `return redis.pcall("incr2", KEYS[1])`, `return redis.pcall("get")`, `return redis.call()`,
	`return redis.pcall("set", KEYS[1], {})`, `return redis.pcall("get").err`, `return redis.call("set", KEYS[1], "v", "nx")`,
	`if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) else return 0 end`,
	`redis.call("set", KEYS[1], "1") return redis.call("exists", KEYS[1], KEYS[2], KEYS[1])`,
	`redis.call("set", KEYS[1], "1", "ex", 100) local t = redis.call("ttl", KEYS[1]) return t > 90 and t <= 100`,
	`return redis.call("mget", KEYS[1], KEYS[2], "missing")`, `return redis.call("type", KEYS[1])`, `return redis.call("type", KEYS[1]).ok`,
	`return redis.call("del", KEYS[1], KEYS[2])`, `return redis.call("getdel", KEYS[1])`, `return type(redis.call("get", "missing"))`,
	`redis.call("set", KEYS[2], "n") return redis.call("keys", "b")`, `redis.call("setnx", KEYS[1], "n") return redis.call("getset", KEYS[1], "m")`,
	`local n = 0 for i = 1, 100 do redis.call("set", KEYS[1], i) n = n + redis.call("get", KEYS[1]) end return n`,
	`return cjson.encode({1,2,3})`, `return cjson.encode({a="b/c\n\"\\\1\127"})`, `return cjson.encode({})`, `return cjson.encode({[1]=1,[3]=3})`,
	`return cjson.encode({[1]=1,[100]=3})`, `return cjson.encode(cjson.null)`, `return cjson.encode(1.5)`, `return cjson.encode(100000000000000000000)`,
	`return cjson.encode(0.1)`, `return cjson.encode(1/3)`, `return cjson.encode("é\255")`, `return cjson.encode({{},{{}}})`, `return cjson.encode(true)`,
	`return cjson.decode('{"a":[1,2,{"b":null}]}').a[3].b == cjson.null`, `return cjson.decode('[1,"x",true,false,null]')`,
	`return cjson.decode('12345678901234567890')`, `return cjson.decode('"\\u00e9\\ud83d\\ude00\\n"')`, `return cjson.decode('{"Pull":{"Num":9}}').Pull.Num`,
	`return cjson.encode(cjson.decode('{"n":1e100}'))`, `return cjson.encode(cjson.decode('[0.1,-0,1e5,123456789012345]'))`,
	`local ok, e = pcall(cjson.decode, '{') return ok`, `local ok, e = pcall(cjson.decode, '{"a":1}x') return ok`, `return {pcall(cjson.decode, '[1,]')}[1]`,
	`local ok, e = pcall(cjson.decode, '[1,]') return ok`, `local ok, e = pcall(cjson.decode, '') return ok`, `return select("#", pcall(cjson.decode, "nope"))`,

	`return redis.sha1hex("")`, `return redis.sha1hex("abc")`, `return redis.sha1hex(12)`, `redis.log(redis.LOG_NOTICE, "x") return redis.LOG_WARNING`,
	`return tostring(1e15)`, `return tostring(0.1)`, `return tostring(1/3)`, `return 1 .. ""`, `return 0.1 .. "|" .. 1e100`, `return 10/2 .. ""`, `return -0 .. ""`,
	`return tostring(nil)`, `return tostring(true)`, `return tonumber("0x10")`, `return tonumber("  12  ")`, `return tonumber("z", 36)`, `return tonumber("x")`,
	`return string.format("%5d|%-5d|%05d|%+d|%x|%X|%o|%c", 42, 42, 42, 42, 255, 255, 8, 65)`, `return string.format("%s %10s|%-10s|%.2s", "a", "b", "c", "def")`,
	`return string.format("%g %g %g %g", 1, 0.1, 1e20, 1e-10)`, `return string.format("%.3f %e %G", 3.14159, 12345.678, 1e-5)`, `return string.format("%q", 'a"b\\c\nd')`,
	`return string.format("%5.1f|%%|%i", 2.25, 3.7)`, `return string.format("%d", "12")`, `return string.format("%s", nil)`, `return string.format("%s")`,
	`return string.rep("ab", 3)`, `return ("x"):rep(0)`, `return ("abc"):upper():reverse()`, `return ("abc"):sub(-2)`, `return {("abc"):byte(1, -1)}`, `return string.char(72, 105)`,
	`return {("hello world"):find("o w")}`, `return {("hello"):find("l+")}`, `return {("hello"):find("(l)(l)")}`, `return {("hello"):find("xyz")}`, `return {("a.b"):find(".", 1, true)}`,
	`return {("key=value"):match("^(%w+)=(%w+)$")}`, `return {("  trim "):match("^%s*(.-)%s*$")}`, `return {("x"):match("()")}`, `return {("[[x]]"):match("%b[]")}`,
	`return {("THE (quick) fox"):find("%((%a+)%)")}`, `return {("abcabc"):match("(a)bc%1")}`, `return {("hello"):match(".-(l+)")}`, `return {("a,b,,c"):gsub(",", ";")}`,
	`return {("hello world"):gsub("o", "0", 1)}`, `return {("abc"):gsub("%w", "%0%0")}`, `return {("abc"):gsub("", "-")}`, `return {("hello"):gsub("l", {l="L"})}`,
	`return {("abc"):gsub("%w", function(c) if c == "b" then return "[b]" end end)}`, `return {("$name"):gsub("%$(%w+)", {name="x"})}`, `return {("abc"):gsub("^a", "x")}`,
	`local t = {} for k, v in ("a=1, b=2"):gmatch("(%w+)=(%w+)") do t[#t+1] = k .. v end return t`, `local n = 0 for w in ("one two three"):gmatch("%a+") do n = n + #w end return n`,
	`return {("THE fox"):gsub("%f[%a]%a+", "X")}`, `return {("a-b-c"):gsub("%-", "+")}`, `return {("x^y"):find("^", 1, true)}`, `return ("%d"):gsub("%%d", "%%s")`,
	`return {pcall(string.gsub, "a", "(", "")}`,
	`return table.concat({1, 2, "x"}, "-")`, `return table.concat({}, ",")`, `return table.concat({1,2,3}, ",", 2, 3)`, `local t = {3,1,2} table.sort(t) return t`,
	`local t = {1,2,3} table.insert(t, 2, 9) table.remove(t, 1) return t`, `local t = {3,1,2} table.sort(t, function(a, b) return a > b end) return t`,
	`return {unpack({1,2,3}, 2)}`, `return select(2, "a", "b", "c")`, `return math.floor(3.7) + math.max(1, 5) + math.abs(-2)`, `return math.huge`, `return {math.modf(3.5)}`, `return 7 % 3 + -7 % 3`,
	`local a = setmetatable({}, {__concat = function(x, y) return "C" end}) return {a .. "x", "x" .. a, "p" .. "q" .. a}`,
	`local t = setmetatable({}, {__index = function(t, k) return k .. "!" end}) return t.foo`, `return ("a"):len() + #"bcd"`,
	`local co = coroutine.wrap(function() coroutine.yield(1) coroutine.yield(2) end) return {co(), co()}`,
	`local f = loadstring("return 1 + 1") return f()`, `local f, e = loadstring("return +") return f == nil`, `return {pcall(error, {err="E x"})}[1]`,
	`return x`, `x = 1`, `error("boom")`, `error({err="MY boom"})`, `return nil + 1`, `local t = nil return t.x`, `return #nil`, `return {} .. "x"`, `return redis.nothing()`,
	`return`, `syntax error here`, `return "unclosed`, `for i = 1, 3 do`, `print("x")`, `return io`, `return os.time`, `return require`, `return dofile`, `return debug`,
	`local s = "" for i = 1, 60 do s = s .. "a" .. "b" .. i end return s`, `return "a".."b".."c"..1 ..2`, `local function f(...) return "x" .. ... end return f("y", "z")`,
	`local function f() return "y", "z" end return {"x" .. f()}`, `local a <const> = 1`, `return 5 // 2`, `return 1 << 2`, `return (function(...) return select('#', ...) end)(nil, nil)`,
	`redis.replicate_commands() return 1`, `redis.set_repl(redis.REPL_ALL) return 1`, `redis.setresp(3) return redis.call("get", "missing")`,
	`return redis.call("time")[1] ~= nil`, `return #redis.call("time")`, `return redis.call("ping")`, `return redis.call("echo", "x")`, `return redis.call("eval", "return 1", 0)`,
	`return redis.call("dbsize") >= 0`, `return redis.call("scan", 0, "match", "nothing*")`, `return redis.call("expire", "missing", 10)`,
	`return {1, 2, 3, "a", {ok="x"}, {err="y"}}`, `return {[1]="a", [2]="b", x="c"}`, `return 0/0`, `return 1e400`, `return "\0\r\n"`, `return {false, nil, 1}`, `return {1, false, 3}`,
}

// Scripts give the same answers as on a real Redis; of an error in Lua itself
// the text up to the script's hash counts, without Lua's own wording.
func TestScriptsAnswerAsRedis(t *testing.T) {
	theirs := dialWire(t, startRedis(t))
	ours := dialWire(t, mustOpen(t, newSystem(t)).Addr().String())
	for _, sc := range scriptsAsRedis {
		args := []string{"eval", sc, "2", "a", "b", "7", "x y", ""}
		got, want := ours.do(args...), theirs.do(args...)
		if g, w := errorCore(got), errorCore(want); g != w {
			t.Errorf("%s\nours   %s\nredis  %s", sc, got, want)
		}
	}
}

// errorCore is what must agree of an answer.
func errorCore(s string) string {
	if !strings.HasPrefix(s, "-") {
		return s
	}
	s, _, _ = strings.Cut(s, " script: ")
	if strings.HasPrefix(s, "-ERR user_script:") || strings.HasPrefix(s, "-ERR Error compiling script") {
		return s[:len("-ERR user_")]
	}
	return s
}
