package rpc

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/lockcluster/lockcluster/compat"
)

// What is shown of a value is the same whether it was seen before or not, also
// after so many others that it was forgotten; and it stays bounded.
func TestCleanValuesShowWhatSanitizeValueShows(t *testing.T) {
	values := [][]byte{
		[]byte(`{"Pull":{"URL":"https://h/o/r/pull/1"}}`),
		[]byte(`{"Pull":{"URL":"https://u:secret@h/o/r/pull/1"}}`),
		[]byte(`{"Pull":{"Body":"secret"}}`),
		[]byte(`not JSON`),
		[]byte(`1`),
	}
	c := newCleanValues()
	check := func(when string) {
		t.Helper()
		for _, v := range values {
			if got, want := c.sanitize(v), compat.SanitizeValue(v); !bytes.Equal(got, want) || (got == nil) != (want == nil) {
				t.Errorf("%s: %q gave %q, want %q", when, v, got, want)
			}
		}
	}
	check("new")
	check("seen")
	for i := range 3 * cleanMax {
		c.sanitize(fmt.Append(nil, i))
	}
	check("forgotten")
	if n := len(c.recent) + len(c.older); n > 2*cleanMax {
		t.Errorf("%d values are remembered, want at most %d", n, 2*cleanMax)
	}
}

// A value that is changed in place afterwards is another value.
func TestCleanValuesKnowAValueByItsBytes(t *testing.T) {
	c := newCleanValues()
	v := []byte(`{"a":"https://u_secret_h/o"}`)
	if got := c.sanitize(v); !bytes.Equal(got, v) {
		t.Fatalf("a value with nothing to hide gave %q", got)
	}
	copy(v[bytes.IndexByte(v, '_'):], ":secret@")
	if got, want := string(c.sanitize(v)), `{"a":"https://h/o"}`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
