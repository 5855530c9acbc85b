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
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"github.com/lockcluster/lockcluster/internal/testutil"
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
	return dir, lastSegment(t, dir)
}

func lastSegment(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(names) == 0 {
		t.Fatalf("segments %q, %v", names, err)
	}
	return names[len(names)-1]
}

// damagedFrom reports up to where the first segment is valid, and whether what
// follows is damage.
func damagedFrom(b []byte, size int) (int, bool) {
	tail := readTail(b, 1)
	return tail.good, tail.damaged(b, size)
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
	if err := recoverTail(dir); !errors.Is(err, errDamaged) {
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
		if err := recoverTail(dir); err != nil {
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

// A node that was killed right after it had completed a segment, before it noted
// so, goes on: raft-wal alone would refuse every further entry.
func TestLogGoesOnAfterACrashBetweenSegments(t *testing.T) {
	raftPath := t.TempDir()
	log, files := openTestWAL(t, raftPath)
	dir := filepath.Join(raftPath, walDir)
	before := mustRead(t, filepath.Join(dir, walMetaFile))
	last := uint64(0)
	for ; last < walSegmentSize>>18; last++ { // as many as do not fit
		if err := log.StoreLog(walEntry(last + 1)); err != nil {
			t.Fatal(err)
		}
	}
	testutil.WaitFor(t, time.Minute, func() bool { return bytes.Contains(mustRead(t, filepath.Join(dir, walMetaFile)), []byte(`"ID":1,`)) })
	closeTestWAL(t, log, files)
	if err := os.Remove(lastSegment(t, dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, walMetaFile), before, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time nothing is left to be done
		if err := recoverTail(dir); err != nil {
			t.Fatal(err)
		}
		log, files = openTestWAL(t, raftPath)
		checkWAL(t, log, last)
		last++
		if err := log.StoreLog(walEntry(last)); err != nil {
			t.Fatal(err)
		}
		closeTestWAL(t, log, files)
	}
}

// A segment that a crash, or a full disk, kept from its full size is used none the
// less, and is no damage after it has been used, also by a build that left it so.
func TestSegmentThatNeverHadItsFullSize(t *testing.T) {
	for _, size := range []int64{0, 5000, 3 << 20} {
		for _, recovered := range []bool{true, false} {
			dir, path := aTail(t, 0)
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
			if recovered {
				if err := recoverTail(dir); err != nil {
					t.Fatalf("%d bytes: %v", size, err)
				}
				if info, err := os.Stat(path); err != nil || info.Size() != walSegmentSize {
					t.Errorf("%d bytes became %d, %v", size, info.Size(), err)
				}
			}
			log, files := openTestWAL(t, filepath.Dir(dir))
			for i := uint64(1); i <= 40; i++ {
				if err := log.StoreLog(smallEntry(i)); err != nil {
					t.Fatal(err)
				}
			}
			closeTestWAL(t, log, files)
			if err := recoverTail(dir); err != nil {
				t.Errorf("%d bytes, recovered before it was used: %v: %v", size, recovered, err)
			}
			if last := reopened(t, dir); last != 40 {
				t.Errorf("the log ends at %d, want 40", last)
			}
		}
	}
}

// What a client has sent is not taken for raft-wal's own: no value makes damage of
// a write that a crash has cut short.
func TestValuesThatLookLikeCommits(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	dir, path := aTail(t, 20)
	segmentOfOthers := bytes.TrimRight(mustRead(t, path), "\x00")
	for n := range 16 {
		var value []byte
		if n%2 == 0 {
			value = bytes.Repeat([]byte{3, 0, 0, 0, 0, 0, 0, 0}, 32<<10)
		} else {
			value = bytes.Repeat(segmentOfOthers, 10)
		}
		value = append(make([]byte, n/2), value...) // aligned in all ways
		entry := &raft.Log{Index: 21 + uint64(n), Term: 1, Type: raft.LogCommand, Data: value}
		before := mustRead(t, path)
		log, files := openTestWAL(t, filepath.Dir(dir))
		if err := log.StoreLog(entry); err != nil {
			t.Fatal(err)
		}
		closeTestWAL(t, log, files)
		after := mustRead(t, path)
		from, _ := damagedFrom(before, len(before))
		to, _ := damagedFrom(after, len(after))
		for range 50 {
			cut := from + rnd.IntN(to-from-walFrame)
			b := append(bytes.Clone(after[:cut]), make([]byte, 4096)...)
			if good, damaged := damagedFrom(b, len(b)); damaged || good != from {
				t.Fatalf("value %d, written up to %d of %d to %d: valid up to %d, damaged %v", n, cut, from, to, good, damaged)
			}
		}
		first := min(from&^(sectorSize-1)+sectorSize, to) // the sector with the length of the value
		b := bytes.Clone(after)
		clear(b[from:first])
		if good, damaged := damagedFrom(b, len(b)); damaged || good != from {
			t.Fatalf("value %d, without the sector in which it begins: valid up to %d, want %d, damaged %v", n, good, from, damaged)
		}
	}
}
