package script

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// echoHost answers every command with its own words.
type echoHost struct{ calls int }

func (h *echoHost) Call(args []string) Reply {
	h.calls++
	if args[0] == "fail" {
		return Reply{Kind: Error, Text: "LOCKED by the host"}
	}
	return Reply{Kind: Bulk, Text: strings.Join(args, " ")}
}

func (h *echoHost) Log(int, string) {}

func run(t testing.TB, text string) Reply {
	t.Helper()
	s, err := Compile(text)
	if err != nil {
		return Reply{Kind: Error, Text: err.Error()}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return s.Run(ctx, &echoHost{}, [][]byte{[]byte("k")}, [][]byte{[]byte("v")})
}

// Atlantis v0.47.1's script has the digest that its users see in their logs.
func TestDigest(t *testing.T) {
	const text = "local value = redis.call(\"GET\", KEYS[1])\nif not value then\n  return nil\nend\n\nlocal ok, lock = pcall(cjson.decode, value)\nif not ok then\n  return redis.error_reply(\"failed to deserialize current lock\")\nend\n\nif not lock[\"Pull\"] or tonumber(lock[\"Pull\"][\"Num\"]) ~= tonumber(ARGV[1]) then\n  return nil\nend\n\nredis.call(\"DEL\", KEYS[1])\nreturn value\n"
	if d := Digest(text); d != "c09313c9247bdb6383a96b527fe8492ef19a1eeb" {
		t.Errorf("got %s", d)
	}
}

// A script ends soon after its time is over, whatever it does.
func TestScriptsEnd(t *testing.T) {
	for _, text := range []string{
		`while true do end`,
		`while true do pcall(function() while true do end end) end`,
		`local function f() return f() end return f()`,
		`return (("a"):rep(3000)):find(("a*"):rep(30) .. "b")`,
		`return (("a"):rep(100000)):find(".-.-.-.-b")`,
		`return (("("):rep(1000000)):find("%b()")`,
		`local t = {} for i = 1, 100000 do t[i] = i % 7 end while true do table.sort(t) table.sort(t, function(a, b) return a > b end) end`,
		`while true do redis.call("x") end`,
		`local co = coroutine.wrap(function() while true do coroutine.yield() end end) while true do co() end`,
		`local s = ("x"):rep(1000) while true do s:gsub(".", function(c) return c end) end`,
		`while true do loadstring("return 1")() end`,
		`while true do cjson.decode(cjson.encode({1,2,{a=1}})) end`,
	} {
		s, err := Compile(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, ErrTime)
		begin := time.Now()
		out := s.Run(ctx, &echoHost{}, nil, nil)
		cancel()
		if d := time.Since(begin); d > 3*time.Second {
			t.Errorf("%s ran for %v", text, d)
		}
		if out.Kind != Error {
			t.Errorf("%s: %+v", text, out)
		}
	}
}

// No script crashes the process, nests without bound or makes a huge string in
// one step.
func TestScriptsAreBounded(t *testing.T) {
	deep := func(open, inner, closing string) string {
		n := (TextSizeMax - 20) / (len(open) + len(closing))
		return strings.Repeat(open, n) + inner + strings.Repeat(closing, n)
	}
	for name, text := range map[string]string{
		"parentheses":     "return " + deep("(", "1", ")"),
		"braces":          "return " + deep("{", "", "}"),
		"not":             "return " + deep("not ", "1", ""),
		"length":          "return " + deep("#", "1", ""),
		"minus":           "return " + deep("- ", "1", ""),
		"plus":            "return 1" + deep("+1", "", ""),
		"power":           "return 1" + deep("^1", "", ""),
		"and":             "return 1" + deep(" and 1", "", ""),
		"functions":       deep("return (function() ", "return 1", " end)()"),
		"blocks":          deep("do ", "", " end"),
		"if":              deep("if 1 then ", "", " end"),
		"elseif":          "if 1 then " + deep("elseif 1 then ", "", "") + " end",
		"index":           "return KEYS" + deep("[1]", "", ""),
		"calls":           "return f" + deep("()", "", ""),
		"recursion":       `local function f(n) return 1 + f(n + 1) end return f(1)`,
		"pcall recursion": `local function f() return pcall(f) end local function g() return 1 + select("#", pcall(g)) end return g()`,
		"gsub recursion":  `local function f() return (("x"):gsub("x", f)) end return f()`,
		"tostring":        `local t = setmetatable({}, {}) getmetatable(t).__tostring = function() return tostring(t) end return tostring(t)`,
		"concat meta":     `local t t = setmetatable({}, {__concat = function(a, b) return t .. b end}) return t .. "x"`,
		"index meta":      `local t = {} for i = 1, 300 do t = setmetatable({}, {__index = t}) end return t.x`,
		"rep":             `return ("x"):rep(1e9)`,
		"rep of rep":      `return ("x"):rep(1e6):rep(1e6)`,
		"doubling":        `local s = "x" while true do s = s .. s end`,
		"many operands":   `local s = ("x"):rep(8e6) return s .. s .. s .. s`,
		"table.concat":    `local t, s = {}, ("x"):rep(1e6) for i = 1, 1000 do t[i] = s end return table.concat(t)`,
		"separator":       `local t = {} for i = 1, 1000 do t[i] = 1 end return table.concat(t, ("x"):rep(1e6))`,
		"gsub":            `return ("x"):rep(1e6):gsub("x", ("y"):rep(1e6))`,
		"gsub expand":     `return ("x"):rep(1e6):gsub(".+", ("%0"):rep(1000))`,
		"format":          `return ("%s"):rep(100):format(unpack({("x"):rep(8e6), ("x"):rep(8e6), ("x"):rep(8e6)}))`,
		"format width":    `return string.format("%999999999d", 1)`,
		"unpack":          `return unpack({}, 1, 1e8)`,
		"byte":            `return ("x"):rep(1e6):byte(1, -1)`,
		"captures":        `return ("x"):find(("()"):rep(40))`,
		"json depth":      `local t = {} for i = 1, 2000 do t = {t} end return cjson.encode(t)`,
		"json decode":     `return cjson.decode(("["):rep(100000))`,
		"json loop":       `local t = {} t.t = t return cjson.encode(t)`,
		"reply depth":     `local t = {} for i = 1, 2000 do t = {t} end return t`,
		"reply loop":      `local t = {} t[1] = t return t`,
		"registers":       "return {" + strings.Repeat("1,", 30000) + "1}",
		"locals":          strings.Repeat("local a=1 ", 5000),
		"constants": "return {" + func() string {
			var b strings.Builder
			for i := range 6000 {
				fmt.Fprintf(&b, "%d.5,", i)
			}
			return b.String()
		}() + "1}",
		"too long":  "return 1 " + strings.Repeat(" ", TextSizeMax),
		"binary":    "\x1bLua",
		"no script": "\x00\xff",
		"metatable": `return getmetatable(_G).__index`,
		"stack":     `local t = {} for i = 1, 1e5 do t[i] = i end return #{unpack(t)}`,
	} {
		t.Run(name, func(t *testing.T) {
			out := run(t, text)
			if len(out.Text) > StringSizeMax {
				t.Errorf("made %d bytes", len(out.Text))
			}
			t.Logf("%d %.100s", out.Kind, out.Text)
		})
	}
}

// What one run does to its globals and libraries, the next does not see.
func TestRunsAreApart(t *testing.T) {
	for _, text := range []string{`string.rep = nil`, `redis.call = nil`, `math.floor = 1`, `rawset(_G, "leak", 1)`, `KEYS[1] = "x"`, `getmetatable("").__index = nil`} {
		run(t, text)
	}
	got := run(t, `return {redis.call("a"), ("x"):rep(2), math.floor(1.5), rawget(_G, "leak") == nil, KEYS[1]}`)
	if s := fmt.Sprint(got.Items); s != "[{4 0 a []} {4 0 xx []} {3 1  []} {3 1  []} {4 0 k []}]" {
		t.Errorf("got %s", s)
	}
}

// The host's errors come through as they are; pcall hands them to the script.
func TestHostErrors(t *testing.T) {
	for text, want := range map[string]string{
		`return redis.call("fail")`:                            "LOCKED by the host",
		`local r = redis.pcall("fail") return r`:               "LOCKED by the host",
		`local ok, e = pcall(redis.call, "fail") return e.err`: "LOCKED by the host",
		`redis.pcall("fail") return redis.call("set", 1, 1.5)`: "set 1 1.5",
	} {
		if got := run(t, text); got.Text != want {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

// A script that gathers memory step by step is ended by the budget.
func TestBudgetEndsScript(t *testing.T) {
	s, err := Compile(`local t = {} for i = 1, 1e9 do t[i % 1000000] = ("x"):rep(1000 + i) end`)
	if err != nil {
		t.Fatal(err)
	}
	var b Budget
	ctx, cancel := context.WithCancelCause(t.Context())
	defer b.Begin(cancel)()
	done := make(chan struct{})
	checked := make(chan struct{})
	go func() {
		defer close(checked)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b.Check(64 << 20)
			case <-done:
				return
			}
		}
	}()
	out := s.Run(ctx, &echoHost{}, nil, nil)
	close(done)
	<-checked
	if out.Kind != Error || !strings.Contains(out.Text, "too much memory") {
		t.Errorf("got %+v", out.Text)
	}
}

// FuzzScript: whatever the text, compiling and running it neither panics nor
// goes on for long.
func FuzzScript(f *testing.F) {
	for _, s := range []string{
		`return redis.call("get", KEYS[1])`, `return cjson.encode({a = {1, 2}})`, `return ("x"):gsub("(.)", "%1")`, `for k, v in pairs({}) do end`,
		`local t = setmetatable({}, {__index = function() return 1 end}) return t.x .. "y"`, `return string.format("%5.2f %q", 1, "x")`, `goto x ::x:: return`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Compile(text)
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		begin := time.Now()
		s.Run(ctx, &echoHost{}, [][]byte{[]byte("k")}, [][]byte{[]byte("1")})
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("ran for %v", d)
		}
	})
}

// FuzzPattern: no pattern and subject make the matcher panic.
func FuzzPattern(f *testing.F) {
	f.Add("hello", "(h)(.-)%f[l]l*$")
	f.Add("[[x]]", "%b[]()%1")
	f.Add("a", "[^%a-z]?[]]-")
	f.Fuzz(func(t *testing.T, src, pat string) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		m := &matcher{ctx: ctx, src: src, pat: pat}
		for s := range len(src) + 1 {
			if _, err := m.match(s, 0); err != nil {
				return
			}
		}
	})
}

// FuzzJSON: what cjson decodes it can encode, and decodes to the same again.
func FuzzJSON(f *testing.F) {
	f.Add(`{"a":[1,2.5,"x\n",null,true],"b":{}}`)
	f.Add(`"\ud83d\ude00"`)
	s, err := Compile(`local ok, v = pcall(cjson.decode, ARGV[1]) if not ok then return "no" end
		local one, text = pcall(cjson.encode, v) if not one then return "no" end
		return {text, cjson.encode(cjson.decode(text))}`)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		out := s.Run(t.Context(), &echoHost{}, nil, [][]byte{[]byte(text)})
		if out.Kind == Error {
			t.Fatalf("%q: %s", text, out.Text)
		}
		if len(out.Items) == 2 && len(out.Items[0].Text) != len(out.Items[1].Text) { // members may change places
			t.Fatalf("%q: %q, then %q", text, out.Items[0].Text, out.Items[1].Text)
		}
	})
}
