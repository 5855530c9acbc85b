package compat

import (
	"encoding/json"
	"strings"
	"testing"
)

// What is JSON for encoding/json is JSON here, and nothing else is.
func TestValidJSONAgreesWithEncodingJSON(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, text := range append(jsonSeeds(), deep(nestingMax), deep(nestingMax+1), presentValue, presentValue[:len(presentValue)-1]) {
		agree(t, []byte(text))
	}
}

// FuzzValidJSON looks for a text on which they disagree.
func FuzzValidJSON(f *testing.F) {
	for _, text := range jsonSeeds() {
		f.Add([]byte(text))
	}
	f.Add([]byte(presentValue))
	f.Fuzz(func(t *testing.T, raw []byte) { agree(t, raw) })
}

func agree(t *testing.T, raw []byte) {
	t.Helper()
	if got, want := validJSON(raw), json.Valid(raw); got != want {
		t.Errorf("validJSON(%q) = %v, json.Valid says %v", raw[:min(len(raw), 200)], got, want)
	}
}

func jsonSeeds() []string {
	return []string{
		"", " ", "{}", "[]", " { } ", "[ ]", "{", "[", "}", "]", "{]", "[}", `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{a:1}`, `{"a" : 1 , "b" : [ ] }`,
		"[1,]", "[,1]", "[1 2]", "[1,2]", "1 2", "[][]", "\"", `"a`, `"a"`, `"\"`, `"\\"`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\u12aF"`, "\"\t\"", "\"\x7f\xff\"", `"\/\b\f\n\r\t"`,
		"0", "-0", "-", "--1", "01", "-01", "00", "1.", ".1", "1.5", "1.e1", "1e", "1e+", "1e+5", "1E-05", "1e5.5", "+1", "0x1", "1a", "0.0e0",
		`"12345678\t"`, `"1234567\"8"`, "\"1234567\x1f\"", "\"12345678 ~\x80\xff12345678\"", `"123456\q"`, `"12345678`, `"1234567812345678\"`,
		"true", "tru", "truex", "false", "null", "nul", "nullnull", "True", "\ufeff{}", "\v1", "\n1\r\t ",
	}
}
