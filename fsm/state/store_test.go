package state_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// plainTx is the store as a map: what an Overlay and a Mem must look like.
type plainTx map[string]string

func (p plainTx) Get(key string) ([]byte, bool) { v, ok := p[key]; return []byte(v), ok }
func (p plainTx) Put(key string, value []byte)  { p[key] = string(value) }
func (p plainTx) Delete(key string)             { delete(p, key) }

func (p plainTx) Scan(prefix, from string, yield func(string, []byte) bool) {
	for _, key := range slices.Sorted(maps.Keys(p)) {
		if strings.HasPrefix(key, prefix) && key >= from && !yield(key, []byte(p[key])) {
			return
		}
	}
}

// randomKey draws from few keys in which one is often a prefix of another.
func randomKey(rnd *rand.Rand) string {
	b := make([]byte, 1+rnd.IntN(3))
	for i := range b {
		b[i] = "ld\x00\xff"[rnd.IntN(4)]
	}
	return string(b)
}

// listing returns at most limit records of a scan as one text.
func listing(r state.Reader, prefix, from string, limit int) string {
	var b strings.Builder
	r.Scan(prefix, from, func(key string, value []byte) bool {
		limit--
		fmt.Fprintf(&b, "%q=%q ", key, value)
		return limit > 0
	})
	return b.String()
}

func mustLookAlike(t *testing.T, rnd *rand.Rand, got state.Reader, want plainTx) {
	t.Helper()
	key := randomKey(rnd)
	v, ok := got.Get(key)
	if w, has := want[key]; ok != has || string(v) != w {
		t.Fatalf("Get(%q) = %q, %t, want %q, %t", key, v, ok, w, has)
	}
	prefix, from := "", ""
	if rnd.IntN(2) == 0 {
		prefix = randomKey(rnd)
	}
	if rnd.IntN(2) == 0 {
		from = randomKey(rnd)
	}
	limit := 1 + rnd.IntN(100)
	if a, b := listing(got, prefix, from, limit), listing(want, prefix, from, limit); a != b {
		t.Fatalf("Scan(%q, %q), %d records:\n got %s\nwant %s", prefix, from, limit, a, b)
	}
}

// TestOverlayEqualsMap: an overlay, also one over another, reads as a map that
// was written to would; its base sees nothing before Flush and all after.
func TestOverlayEqualsMap(t *testing.T) {
	rnd := testutil.Rand(t)
	for range 300 {
		base := plainTx{}
		for range rnd.IntN(30) {
			base.Put(randomKey(rnd), []byte(randomKey(rnd)))
		}
		lower := state.NewOverlay(base)
		want := maps.Clone(base)
		change(rnd, lower, want)
		upper := state.NewOverlay(lower)
		wantUpper := maps.Clone(want)
		change(rnd, upper, wantUpper)
		for range 30 {
			mustLookAlike(t, rnd, lower, want)
			mustLookAlike(t, rnd, upper, wantUpper)
		}
		upper.Flush(lower)
		lower.Flush(base)
		if !maps.Equal(base, wantUpper) {
			t.Fatalf("flushed %v, want %v", base, wantUpper)
		}
	}
}

func change(rnd *rand.Rand, tx state.Tx, plain plainTx) {
	for range rnd.IntN(30) {
		key, value := randomKey(rnd), randomKey(rnd)
		if rnd.IntN(3) == 0 {
			tx.Delete(key)
			plain.Delete(key)
		} else {
			tx.Put(key, []byte(value))
			plain.Put(key, []byte(value))
		}
	}
}

// TestMemViews: a view shows for ever what was there when it was taken, however
// much is written afterwards, and its hash depends on nothing but its records.
func TestMemViews(t *testing.T) {
	rnd := testutil.Rand(t)
	mem, plain := state.NewMem(), plainTx{}
	type picture struct {
		view  *state.View
		plain plainTx
	}
	var pictures []picture
	for i := range uint64(2000) {
		mem.Update(i+1, 1, func(tx state.Tx) { change(rnd, tx, plain) })
		if rnd.IntN(20) == 0 {
			pictures = append(pictures, picture{mem.View(), maps.Clone(plain)})
		}
		p := picture{mem.View(), plain}
		if len(pictures) > 0 {
			p = pictures[rnd.IntN(len(pictures))]
		}
		mustLookAlike(t, rnd, p.view, p.plain)
	}
	for _, p := range pictures {
		again := state.NewMem()
		again.Update(1, 1, func(tx state.Tx) {
			for key, value := range p.plain { // any order
				tx.Put(key, []byte(value))
			}
		})
		if got, _ := again.Hashes(); got != p.view.Hashes() || p.view.Len() != len(p.plain) {
			t.Fatalf("index %d: hashes %v, those of the same records are %v", p.view.Index(), p.view.Hashes(), got)
		}
	}
}

// TestMemConcurrentReaders: readers of views and of the live state run beside a
// writer; each sees one whole update, never a half. Run it with -race.
func TestMemConcurrentReaders(t *testing.T) {
	const keys, updates = 50, 2000
	mem := state.NewMem()
	whole := func(r state.Reader) error { // all keys hold the same value
		var first string
		n := 0
		var torn error
		r.Scan("d", "", func(_ string, value []byte) bool {
			if n++; n == 1 {
				first = string(value)
			} else if first != string(value) {
				torn = fmt.Errorf("half an update: %q and %q", first, value)
			}
			return torn == nil
		})
		if n != 0 && n != keys {
			torn = fmt.Errorf("%d of %d records", n, keys)
		}
		return torn
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for i := range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var err error
				if i%2 == 0 {
					view := mem.View()
					if err = whole(view); err == nil {
						err = whole(view)
					}
				} else {
					mem.Read(func(r state.Reader, _ uint64) { err = whole(r) })
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range uint64(updates) {
		mem.Update(i+1, 1, func(tx state.Tx) {
			for k := range keys {
				tx.Put(fmt.Sprintf("d%03d", k), fmt.Append(nil, i))
			}
		})
	}
	close(stop)
	readers.Wait()
}
