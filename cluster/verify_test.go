package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

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
	term, candidate := []byte(keyLastVoteTerm), []byte(keyLastVoteCand)
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

// What raft-wal notes of its segments has no checksum, and it deletes a segment
// that it has not noted. No changed bit makes it forget an entry.
func TestDamagedNotesOfSegmentsAreFound(t *testing.T) {
	dir := filepath.Join(t.TempDir(), walDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := wal.Open(dir, wal.WithSegmentSize(32<<10))
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= 60; i++ {
		if err := log.StoreLog(smallEntry(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	var meta metadb.BoltMetaDB
	sound, err := meta.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(meta.Close(), verifySegments(dir, sound)); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(sound)
	if err != nil {
		t.Fatal(err)
	}
	last := len(sound.Segments) - 1
	for at := range b {
		for bit := range 8 {
			changed := bytes.Clone(b)
			changed[at] ^= 1 << bit
			var s types.PersistentState
			if json.Unmarshal(changed, &s) != nil || verifySegments(dir, s) != nil {
				continue
			}
			for i := range sound.Segments {
				if len(s.Segments) <= last || segment.FileName(s.Segments[i]) != segment.FileName(sound.Segments[i]) ||
					s.Segments[i].MaxIndex != sound.Segments[i].MaxIndex || s.Segments[i].SealTime.IsZero() != (i == last) {
					t.Fatalf("bit %d of %q in %.60q was not found", bit, b[at], b[max(0, at-20):])
				}
			}
		}
	}
	if err := verifySegments(dir, types.PersistentState{}); !errors.Is(err, errDamaged) {
		t.Errorf("no segment noted: %v", err)
	}
	givenUp := segment.FileName(types.SegmentInfo{ID: sound.NextSegmentID, BaseIndex: 61})
	if err := os.WriteFile(filepath.Join(dir, givenUp), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := verifySegments(dir, sound); err != nil {
		t.Errorf("with a segment that a full disk kept from being used: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, segment.FileName(sound.Segments[last]))); err != nil {
		t.Fatal(err)
	}
	if err := verifySegments(dir, sound); !errors.Is(err, errDamaged) {
		t.Errorf("only a later segment than the last that is noted: %v", err)
	}
}

// A vote that is not under its key any more is not taken for one that was never
// given.
func TestLostVoteIsFound(t *testing.T) {
	store := func(keys ...string) string {
		path := filepath.Join(t.TempDir(), "x.db")
		s, err := openBolt(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if err := s.Set([]byte(k), []byte("value")); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, keys := range [][]string{
		{keyCurrentTerm}, // it has not voted yet
		{keyCurrentTerm, keyLastVoteTerm},
		{keyCurrentTerm, keyLastVoteTerm, keyLastVoteCand},
	} {
		if err := verifyVote(store(keys...)); err != nil {
			t.Errorf("%q: %v", keys, err)
		}
	}
	for _, keys := range [][]string{
		{},
		{keyLastVoteTerm, keyLastVoteCand},
		{keyCurrentTerm, keyLastVoteCand},
		{keyCurrentTerm, "LastVoteTesm", keyLastVoteCand},
		{keyCurrentTerm, "LastVoteTesm"},
	} {
		if err := verifyVote(store(keys...)); !errors.Is(err, errDamaged) {
			t.Errorf("%q: %v, want %v", keys, err, errDamaged)
		}
	}
}
