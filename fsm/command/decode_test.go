package command_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
)

// TestEntryRefusesEveryFlippedBit: no entry with one bit flipped, cut short or
// with more behind it is taken for an entry.
func TestEntryRefusesEveryFlippedBit(t *testing.T) {
	entry := sampleEntry(t)
	for i := range entry {
		for bit := range 8 {
			bad := bytes.Clone(entry)
			bad[i] ^= 1 << bit
			mustBeCorrupt(t, bad, "bit %d of byte %d flipped", bit, i)
		}
		mustBeCorrupt(t, entry[:i], "cut to %d bytes", i)
	}
	mustBeCorrupt(t, append(bytes.Clone(entry), 0), "a byte appended")
}

func mustBeCorrupt(t *testing.T, entry []byte, format string, args ...any) {
	t.Helper()
	if _, err := command.DecodeEntry(entry); !errors.Is(err, command.ErrCorrupt) {
		t.Fatalf(format+": %v", append(args, err)...)
	}
}

// TestUnknownIsRefused: a command with a type or a field of a later version, at
// any depth, is an error and not a command without it.
func TestUnknownIsRefused(t *testing.T) {
	later := protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1)
	nest := func(b []byte, fields ...protowire.Number) []byte {
		for _, f := range fields {
			b = protowire.AppendBytes(protowire.AppendTag(nil, f, protowire.BytesType), b)
		}
		return b
	}
	cases := map[string][]byte{
		"no type":                     {},
		"later type":                  nest(nil, 30),
		"later field":                 append(nest(nil, 22), later...),
		"in the request":              nest(later, 10),
		"in the key":                  nest(later, 1, 10),
		"in the instant":              nest(later, 6, 10),
		"in a transaction's request":  nest(later, 10, 4, 18),
		"in a transaction's key":      nest(later, 1, 10, 4, 18),
		"transaction in transaction":  nest(nil, 18, 4, 18),
		"request id in transaction":   nest(append(nest([]byte("c"), 1), nest(nil, 17)...), 4, 18),
		"in an import's lock":         nest(later, 2, 20),
		"expiry in a transaction":     nest(nil, 19, 4, 18),
		"in a mirror's lock":          nest(later, 1, 4, 26),
		"in a mirror's home":          nest(later, 13, 4, 26),
		"in a migration":              nest(later, 3, 24),
		"in a setting":                nest(later, 1, 25),
		"in a shadow's request":       nest(later, 10, 3, 27),
		"in a routed request":         nest(later, 10, 5, 28),
		"nothing routed":              nest(nil, 28),
		"routed in routed":            nest(nil, 28, 5, 28),
		"shadow in shadow":            nest(nil, 27, 3, 27),
		"mirror in shadow":            nest(nil, 26, 3, 27),
		"expiry routed":               nest(nil, 19, 5, 28),
		"request id in shadow":        nest(append(nest([]byte("c"), 1), nest(nil, 17)...), 3, 27),
		"request id routed":           nest(append(nest([]byte("c"), 1), nest(nil, 17)...), 5, 28),
		"garbage":                     []byte("garbage"),
		"namespace that is not UTF-8": nest([]byte{0xff}, 1, 17),
	}
	for name, b := range cases {
		if c, err := command.DecodeCommand(b); err == nil {
			t.Errorf("%s: decoded as %T", name, c.Request)
		}
		entry, err := command.EncodeEntry(sampleTime, [][]byte{b})
		if err != nil {
			t.Fatal(err)
		}
		mustBeCorrupt(t, entry, "%s", name)
	}
}

// TestEncodeRefuses: what has no log form is refused as bad input before
// anything is proposed.
func TestEncodeRefuses(t *testing.T) {
	for _, req := range []lockcluster.Request{
		nil,
		lockcluster.Txn{Requests: []lockcluster.Request{lockcluster.Txn{}}},
		lockcluster.Txn{Requests: []lockcluster.Request{lockcluster.Checkpoint{}}},
		lockcluster.Txn{Requests: []lockcluster.Request{lockcluster.Mirror{}}},
		lockcluster.Shadow{Requests: []lockcluster.Request{lockcluster.Routed{}}},
		lockcluster.Shadow{Requests: []lockcluster.Request{nil}},
		lockcluster.Routed{},
		lockcluster.Routed{Request: lockcluster.Expire{}},
	} {
		if _, err := command.EncodeCommand(sampleID, req); !errors.Is(err, lockcluster.ErrInvalid) {
			t.Errorf("%T: %v", req, err)
		}
	}
	if _, err := command.EncodeEntry(sampleTime, [][]byte{make([]byte, command.EntrySizeMax)}); !errors.Is(err, lockcluster.ErrInvalid) {
		t.Errorf("an entry that is too large: %v", err)
	}
}

// FuzzDecodeEntry: whatever stands in an envelope, decoding ends in an entry or
// in ErrCorrupt; an entry that was decoded is stable when encoded again, and is
// not accepted with a byte flipped.
func FuzzDecodeEntry(f *testing.F) {
	for _, req := range allSamples() { // each on its own: large seeds take long to minimize
		c, err := command.EncodeCommand(sampleID, req)
		if err != nil {
			f.Fatal(err)
		}
		entry, err := command.EncodeEntry(sampleTime, [][]byte{c})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(entry[envelopeSize:], uint32(3))
	}
	f.Fuzz(func(t *testing.T, payload []byte, flip uint32) {
		if _, err := command.DecodeEntry(payload); err != nil && !errors.Is(err, command.ErrCorrupt) {
			t.Fatalf("not ErrCorrupt: %v", err)
		}
		sealed := seal(payload)
		entry, err := command.DecodeEntry(sealed)
		if err != nil {
			if !errors.Is(err, command.ErrCorrupt) {
				t.Fatalf("not ErrCorrupt: %v", err)
			}
			return
		}
		sealed[int(flip>>8)%len(sealed)] ^= byte(flip) | 1
		mustBeCorrupt(t, sealed, "byte flipped")

		first := encodeEntry(t, entry)
		again, err := command.DecodeEntry(first)
		if err != nil {
			t.Fatalf("encoded again: %v", err)
		}
		if second := encodeEntry(t, again); !bytes.Equal(first, second) {
			t.Fatalf("not stable:\n%x\n%x", first, second)
		}
	})
}

const envelopeSize = 10

// seal puts an envelope around any payload: without a good checksum a fuzzer
// never gets beyond it.
func seal(payload []byte) []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	b := binary.BigEndian.AppendUint32([]byte{0xA9, 1}, uint32(len(payload)))
	sum := crc32.Update(crc32.Checksum(b[1:], table), table, payload)
	return append(binary.BigEndian.AppendUint32(b, sum), payload...)
}

func encodeEntry(t *testing.T, e command.Entry) []byte {
	t.Helper()
	var commands [][]byte
	for _, c := range e.Commands {
		b, err := command.EncodeCommand(c.ID, c.Request)
		if err != nil {
			t.Fatal(err)
		}
		commands = append(commands, b)
	}
	b, err := command.EncodeEntry(e.Time, commands)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzDecodeCommand: decoding never panics, and what was decoded is stable.
func FuzzDecodeCommand(f *testing.F) {
	seeds(f, "command-*.hex")
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := command.DecodeCommand(b)
		if err != nil {
			return
		}
		first, err := command.EncodeCommand(c.ID, c.Request)
		if err != nil {
			t.Fatal(err)
		}
		again, err := command.DecodeCommand(first)
		if err != nil {
			t.Fatalf("encoded again: %v", err)
		}
		if second, err := command.EncodeCommand(again.ID, again.Request); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("not stable: %v\n%x\n%x", err, first, second)
		}
	})
}

// FuzzDecodeResult: decoding never panics, and what was decoded is stable.
func FuzzDecodeResult(f *testing.F) {
	seeds(f, "result*.hex")
	f.Fuzz(func(t *testing.T, b []byte) {
		res, err := command.DecodeResult(b)
		if err != nil {
			return
		}
		first, err := command.EncodeResult(res)
		if err != nil {
			t.Fatal(err)
		}
		again, err := command.DecodeResult(first)
		if err != nil {
			t.Fatalf("encoded again: %v", err)
		}
		if second, err := command.EncodeResult(again); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("not stable: %v\n%x\n%x", err, first, second)
		}
	})
}

func seeds(f *testing.F, pattern string) {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "golden", pattern))
	if err != nil || len(paths) == 0 {
		f.Fatalf("no seeds for %s: %v", pattern, err)
	}
	for _, path := range paths {
		f.Add(readGolden(f, path))
	}
	f.Add([]byte(strings.Repeat("\x0a\x02", 8)))
}

// TestDigest: decoding finds one digest for a request whatever id it comes
// under and wherever it stands, and another one for each other request.
func TestDigest(t *testing.T) {
	seen := map[uint64]string{}
	for name, req := range allSamples() {
		var encoded [][]byte
		for _, id := range []lockcluster.RequestID{sampleID, {ClientID: "another", Sequence: 1 << 40}, {}} {
			b, err := command.EncodeCommand(id, req)
			if err != nil {
				t.Fatal(err)
			}
			encoded = append(encoded, b)
		}
		data, err := command.EncodeEntry(sampleTime, encoded)
		if err != nil {
			t.Fatal(err)
		}
		entry, err := command.DecodeEntry(data)
		if err != nil {
			t.Fatal(err)
		}
		one, err := command.DecodeCommand(encoded[0])
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range entry.Commands {
			if c.Digest != one.Digest {
				t.Errorf("%s: digest %x under id %d, want %x", name, c.Digest, i, one.Digest)
			}
		}
		if strings.HasPrefix(name, "routed") { // has the digest of the request inside, see TestRoutedDigest
			continue
		}
		if other := seen[one.Digest]; other != "" {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[one.Digest] = name
	}
	a, b := samplePut(), samplePut()
	b.Value = append([]byte{1}, b.Value...)
	if digestOf(t, a) == digestOf(t, b) {
		t.Error("two values have one digest")
	}
}

func digestOf(t *testing.T, req lockcluster.Request) uint64 {
	t.Helper()
	b, err := command.EncodeCommand(sampleID, req)
	if err != nil {
		t.Fatal(err)
	}
	c, err := command.DecodeCommand(b)
	if err != nil {
		t.Fatal(err)
	}
	return c.Digest
}
