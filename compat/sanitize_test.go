package compat

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
)

// The user-info of a URL is removed in every disguise, and nothing else is.
func TestRedactCredentialsRemovesUserInfoOnly(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", `{"CloneURL":"https://u:tok@h/o/r.git"}`, `{"CloneURL":"https://h/o/r.git"}`},
		{"escaped slashes", `{"a":"https:\/\/u:tok@h\/o"}`, `{"a":"https:\/\/h\/o"}`},
		{"escaped at", `{"a":"https://u:tok\u0040h/o"}`, `{"a":"https://h/o"}`},
		{"escaped scheme", `{"a":"https\u003a\u002f\u002Fu:tok@h"}`, `{"a":"https\u003a\u002f\u002Fh"}`},
		{"at in token", `{"a":"https://u:t@k@h/o"}`, `{"a":"https://h/o"}`},
		{"json in json", `{"a":"{\"u\":\"https:\\\/\\\/u:tok\\u0040h\\\/o\"}"}`, `{"a":"{\"u\":\"https:\\\/\\\/h\\\/o\"}"}`},
		{"inside text", `{"a":"see https://u:tok@h/x, or ask me@x.org"}`, `{"a":"see https://h/x, or ask me@x.org"}`},
		{"two", `["ssh://git@a/b","http://u:p@c:80/d"]`, `["ssh://a/b","http://c:80/d"]`},
		{"as a member name", `{"https://u:tok@h":1}`, `{"https://h":1}`},
		{"encoded whole", `{"a":"https://x/?u=https%3A%2F%2Fu%3Ato%2520k%40h%2F&m=a@b"}`, `{"a":"https://x/?u=https%3A%2F%2Fh%2F&m=a@b"}`},
		{"redacted form", `{"a":"https://atlantis:\u003credacted\u003e@h/o"}`, `{"a":"https://h/o"}`},
		{"bare slash in token", `{"a":"https://u:ab/cd@h/o"}`, `{"a":"https://h/o"}`},
		{"no user-info", `{"a":"https://h:8080/p@q","b":"https://[::1]/p@q","c":"https://h/@u"}`, `{"a":"https://h:8080/p@q","b":"https://[::1]/p@q","c":"https://h/@u"}`},
		{"not a URL", `{"a":"git@h:o/r","b":"x@y","c":"a: //b@c"}`, `{"a":"git@h:o/r","b":"x@y","c":"a: //b@c"}`},
		{"not JSON", `https://u:tok@h`, `https://h`},
		{"ends early", `://`, `://`},
		{"cut escape", `://a@\`, `://\`},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := []byte(c.in)
			if got := string(RedactCredentials(in)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if string(in) != c.in {
				t.Error("the input was written to")
			}
		})
	}
}

// An API answer has no user-info and no pull request text, and keeps the rest.
func TestSanitizeValueBlanksBody(t *testing.T) {
	in := `{"Pull":{"Num":7,"B\u006fdy":"secret plans {\"x\":[1]}","BaseRepo":{"CloneURL":"https://u:tok@h/r"}},"X":{"body" : {"deep":["y"]},"keep":1.50}}`
	want := `{"Pull":{"Num":7,"B\u006fdy":"","BaseRepo":{"CloneURL":"https://h/r"}},"X":{"body" : "","keep":1.50}}`
	if got := string(SanitizeValue([]byte(in))); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	in = `[{"body":{"Body":"x","a":[{"BODY":1}]},"b":2},{"Body" :null ,"xBody":"kept","Bod":"Body"}]`
	want = `[{"body":"","b":2},{"Body" :"" ,"xBody":"kept","Bod":"Body"}]`
	if got := string(SanitizeValue([]byte(in))); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := SanitizeValue([]byte(`{"a":"https://u:tok@h`)); got != nil {
		t.Errorf("a value that is not JSON gave %d bytes, want none", len(got))
	}
}

// A value made to be read again and again is still read in linear time.
func TestRedactCredentialsIsLinear(t *testing.T) {
	for _, unit := range []string{"://a:b/", "%3A%2F%2F", "://", "%3A%2F%2F[", "://x%3A%2F%2Fy&", `\\\\`, "%25"} {
		in := []byte(strings.Repeat(unit, (1<<20)/len(unit)))
		begin := time.Now()
		RedactCredentials(in)
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("1 MiB of %q took %v", unit, d)
		}
	}
}

// canaryText is the secret that must never be seen again.
const canaryText = "CANARY-1f0c2a"

// However a URL with a secret is wrapped and surrounded, sanitizing it leaves
// no trace of the secret, valid JSON, and a fixed point.
func FuzzSanitizeLeavesNoCanary(f *testing.F) {
	f.Add("see ", "", "u", "/o/r.git", uint8(0))
	f.Add("https://h:80/a@b ", "a@b:", "x", " me@x.org", uint8(1))
	f.Add(`{"u":"`, "p", "x-access-token", `"}`, uint8(2))
	f.Add("", "%2F%20", "", "?u=http://a:b@c", uint8(7))
	f.Add("%3A%2F%2Fhttp", "", "u&", "&x=1", uint8(15))
	f.Fuzz(func(t *testing.T, before, pass, user, after string, wrap uint8) {
		if strings.Contains(before+pass+user+after, "CANARY") {
			t.Skip()
		}
		u := url.URL{Scheme: "https", User: url.UserPassword(user, pass+canaryText), Host: "host.example", Path: "/o/r.git"}
		text := before + " " + u.String() + after
		if wrap&1 != 0 {
			text = before + " " + url.QueryEscape(u.String()) + after
		}
		if wrap&2 != 0 { // JSON inside a string
			inner, err := json.Marshal(map[string]string{"u": text})
			if err != nil {
				t.Fatal(err)
			}
			text = string(inner)
		}
		value, err := json.Marshal(map[string]any{"CloneURL": text, text: []any{text, 1, nil}, "Body": "x" + text})
		if err != nil {
			t.Fatal(err)
		}
		if wrap&4 != 0 {
			value = bytes.ReplaceAll(value, []byte("/"), []byte(`\/`))
		}
		if wrap&8 != 0 {
			value = bytes.ReplaceAll(value, []byte("@"), []byte(`\u0040`))
		}
		got := SanitizeValue(value)
		if !json.Valid(got) {
			t.Fatalf("no JSON any more: %s\nfrom %s", got, value)
		}
		if bytes.Contains(got, []byte("CANARY")) {
			t.Fatalf("the canary survived: %s\nfrom %s", got, value)
		}
		if again := SanitizeValue(got); !bytes.Equal(again, got) {
			t.Fatalf("sanitizing twice gives %s, once %s", again, got)
		}
	})
}

// Redacting arbitrary bytes never fails, only removes, and keeps JSON JSON.
func FuzzRedactCredentials(f *testing.F) {
	f.Add([]byte(`{"a":"https:\/\/u:t\u0040h"}`))
	f.Add([]byte("\xff\\\\\\u00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got := RedactCredentials(raw)
		if len(got) > len(raw) {
			t.Fatal("the value grew")
		}
		if json.Valid(raw) && !json.Valid(got) {
			t.Fatalf("JSON broke: %q became %q", raw, got)
		}
		if again := RedactCredentials(got); !bytes.Equal(again, got) {
			t.Fatalf("twice gives %q, once %q", again, got)
		}
	})
}
