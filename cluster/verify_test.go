package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// smallEntry has a length of its own, and no zeros but at its end.
func smallEntry(index uint64) *raft.Log {
	n := int(index*977%3000) + 1
	return &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: append(bytes.Repeat([]byte{byte(index) | 1}, n), 0, 0)}
}

// aTail is the directory of a log with entries in one segment, and the segment.
func aTail(t *testing.T, entries uint64) (dir, path string) {
	t.Helper()
	raftPath := t.TempDir()
	log, files := openTestWAL(t, raftPath)
	for i := uint64(1); i <= entries; i++ {
		if err := log.StoreLog(smallEntry(i)); err != nil {
			t.Fatal(err)
		}
	}
	closeTestWAL(t, log, files)
	dir = filepath.Join(raftPath, walDir)
	name, _, err := tailSegment(dir)
	if err != nil || name == "" {
		t.Fatalf("segment %q, %v", name, err)
	}
	return dir, filepath.Join(dir, name)
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reopened opens the log again and returns the index of its last entry, all of
// which have to be what was stored.
func reopened(t *testing.T, dir string) uint64 {
	t.Helper()
	files := newWALFiles(filepath.Dir(dir))
	defer files.Close()
	log, err := openWAL(dir, files, newRaftLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	return lastSound(t, log)
}

func lastSound(t *testing.T, log *wal.WAL) uint64 {
	t.Helper()
	last, err := log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= last; i++ {
		var e raft.Log
		if err := log.GetLog(i, &e); err != nil || !bytes.Equal(e.Data, smallEntry(i).Data) {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
	return last
}

// One changed byte anywhere in what was acknowledged is found, wherever it is:
// in the last entry, in an earlier one, in a frame's beginning or in the header.
func TestDamageInTheLogsTailIsFound(t *testing.T) {
	dir, path := aTail(t, 40)
	whole := mustRead(t, path)
	end := len(bytes.TrimRight(whole, "\x00"))
	if at, damaged := damagedFrom(whole, len(whole)); damaged || at < end {
		t.Fatalf("an undamaged segment of %d bytes is taken for damaged from %d, %v", end, at, damaged)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for n := range end + 2000 {
		b := bytes.Clone(whole[:end+4096])
		at, bit := n, rnd.IntN(8)
		if n >= end {
			at = rnd.IntN(end) // more than one bit
			b[rnd.IntN(end-walFrame)] ^= 0x5a
		}
		b[at] ^= 1 << bit
		if bytes.Equal(b, whole[:len(b)]) {
			continue
		}
		if good, damaged := damagedFrom(b, 0); !damaged {
			t.Fatalf("a change of byte %d of %d, bit %d, was not found; valid up to %d", at, end, bit, good)
		}
	}
	for page := 0; page+4096 <= end-4096; page += 4096 { // without the last write
		b := bytes.Clone(whole)
		clear(b[page : page+4096])
		if _, damaged := damagedFrom(b, 0); !damaged {
			t.Errorf("zeros in the page at byte %d of %d were not found", page, end)
		}
	}
	if err := os.Truncate(path, int64(end/2)); err != nil {
		t.Fatal(err)
	}
	if err := verifyTail(dir); !errors.Is(err, errDamaged) {
		t.Errorf("a shortened segment: %v", err)
	}
}

// What a crash leaves of the last write is no damage: any part of its sectors, or
// its beginning up to any byte. It is cleared, nothing before it is lost, and the
// log goes on.
func TestCrashInTheLogsTailIsNoDamage(t *testing.T) {
	dir, path := aTail(t, 20)
	before := mustRead(t, path)
	from := len(bytes.TrimRight(before, "\x00"))
	from = (from + walFrame - 1) &^ (walFrame - 1)
	files := newWALFiles(filepath.Dir(dir))
	log, err := openWAL(dir, files, newRaftLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	var batch []*raft.Log
	for i := uint64(21); i <= 28; i++ {
		batch = append(batch, smallEntry(i))
	}
	if err := log.StoreLogs(batch); err != nil {
		t.Fatal(err)
	}
	closeTestWAL(t, log, files)
	after := mustRead(t, path)
	to := len(bytes.TrimRight(after, "\x00"))

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for n := range 3000 {
		b := bytes.Clone(before[:to+4096])
		what := fmt.Sprintf("run %d", n)
		if n%2 == 0 {
			cut := from + rnd.IntN(to-from-walFrame) // the commit itself is missing
			copy(b[from:cut], after[from:])
			what += fmt.Sprintf(": written up to %d of %d to %d", cut, from, to)
		} else {
			missing := 0
			for s := from &^ (sectorSize - 1); s < to; s += sectorSize {
				if rnd.IntN(8) == 0 {
					missing++
					continue
				}
				copy(b[max(s, from):min(s+sectorSize, to)], after[max(s, from):])
			}
			if missing == 0 {
				continue
			}
			what += fmt.Sprintf(": %d sectors missing", missing)
		}
		good, damaged := damagedFrom(b, len(b))
		if damaged || good != from {
			t.Fatalf("%s: valid up to %d, want %d, damaged %v", what, good, from, damaged)
		}
		if n >= 20 {
			continue
		}
		if err := os.WriteFile(path, append(b, before[len(b):]...), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := verifyTail(dir); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if !bytes.Equal(mustRead(t, path), before) {
			t.Fatalf("%s: the segment is not as it was before the write", what)
		}
		if last := reopened(t, dir); last != 20 {
			t.Fatalf("%s: the log ends at %d, want 20", what, last)
		}
	}
}

// A root of a bbolt file that was changed is found, though bbolt would open it.
func TestDamagedBoltRootIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	store, err := openBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(5) {
		if err := store.SetUint64([]byte("term"), i); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := verifyBolt(path); err != nil {
		t.Fatalf("a sound file: %v", err)
	}
	whole := mustRead(t, path)
	for page := range 2 {
		for at := range boltSummed + 8 {
			b := bytes.Clone(whole)
			b[page*os.Getpagesize()+boltPageHeader+at] ^= 4
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := verifyBolt(path); !errors.Is(err, errDamaged) {
				t.Errorf("byte %d of root %d: %v", at, page, err)
			}
		}
	}
	if err := os.WriteFile(path, whole[:50], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := verifyBolt(path); !errors.Is(err, errDamaged) {
		t.Errorf("a shortened file: %v", err)
	}
}

// A vote that is not what was written stops the node; one that was written
// without a checksum is read.
func TestStableValuesAreVerified(t *testing.T) {
	store := raft.NewInmemStore()
	g := newTestGuard(func(error) {})
	g.readsArmed.Store(false) // so that the error comes back
	s := &guardedStable{StableStore: store, guard: g}
	term, candidate := []byte("LastVoteTerm"), []byte("LastVoteCand")
	if _, err := s.GetUint64(term); err == nil || err.Error() != "not found" {
		t.Errorf("a key that is not there: %v", err) // raft compares the text
	}
	if err := errors.Join(s.SetUint64(term, 1<<40+7), s.Set(candidate, []byte("n1"))); err != nil {
		t.Fatal(err)
	}
	if v, err := s.GetUint64(term); err != nil || v != 1<<40+7 {
		t.Errorf("%d, %v", v, err)
	}
	if v, err := s.Get(candidate); err != nil || string(v) != "n1" {
		t.Errorf("%q, %v", v, err)
	}
	for _, key := range [][]byte{term, candidate} {
		sealed, err := store.Get(key)
		if err != nil {
			t.Fatal(err)
		}
		for at := len(stableMark); at < len(sealed); at++ {
			b := bytes.Clone(sealed)
			b[at] ^= 2
			if _, err := openStable(key, b); !errors.Is(err, errDamaged) {
				t.Errorf("%s with byte %d changed: %v", key, at, err)
			}
		}
		if _, err := openStable([]byte("another"), sealed); !errors.Is(err, errDamaged) {
			t.Errorf("%s under another key: %v", key, err)
		}
	}
	if err := store.Set(term, []byte{0, 0, 0, 0, 0, 0, 1, 2}); err != nil {
		t.Fatal(err)
	}
	if v, err := s.GetUint64(term); err != nil || v != 258 {
		t.Errorf("a value of a build without checksums: %d, %v", v, err)
	}
	if err := store.Set(term, []byte("short")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.GetUint64(term); !errors.Is(err, errDamaged) {
		t.Errorf("a value of another length: %v", err)
	}
}
