package cluster

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"
)

// guardedStable is the stable store that raft gets: it holds the term and the
// vote, so a write that failed must stop the node before it speaks, and what is
// read must be what was written. bbolt has no checksum of its values, so each
// has one here.
type guardedStable struct {
	raft.StableStore
	guard *guard
	// mayVote is asked before a vote is written; nil means always.
	mayVote func(term uint64) error
}

// Raft's own keys, and raft-boltdb's bucket. When a vote is cast, LastVoteTerm is
// written first; the term before it.
const (
	keyCurrentTerm  = "CurrentTerm"
	keyLastVoteTerm = "LastVoteTerm"
	keyLastVoteCand = "LastVoteCand"
	boltConf        = "conf"
)

// A value is this mark, the CRC32C of its key and itself (4 bytes), and itself. One
// without the mark is of a build that had no checksums.
const stableMark = "\xffLC\x01"

func sealStable(key, value []byte) []byte {
	b := append(make([]byte, 0, len(stableMark)+4+len(value)), stableMark...)
	b = binary.BigEndian.AppendUint32(b, crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value))
	return append(b, value...)
}

func openStable(key, b []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(b, []byte(stableMark))
	if !ok {
		return b, nil
	}
	if len(rest) < 4 || binary.BigEndian.Uint32(rest) != crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, rest[4:]) {
		return nil, fmt.Errorf("%w: %s does not match its checksum", errDamaged, key)
	}
	return rest[4:], nil
}

func (s *guardedStable) Set(key, value []byte) error {
	return s.guard.write(opStable, func() error { return s.StableStore.Set(key, sealStable(key, value)) })
}

// Get verifies what it reads: a node with a wrong vote could vote twice.
func (s *guardedStable) Get(key []byte) ([]byte, error) {
	b, err := s.StableStore.Get(key)
	if err != nil {
		return nil, err // of a key that is not there, too
	}
	value, err := openStable(key, b)
	if err != nil {
		return nil, s.guard.corrupt(opStableRead, err)
	}
	return value, nil
}

func (s *guardedStable) SetUint64(key []byte, value uint64) error {
	if s.mayVote != nil && string(key) == keyLastVoteTerm {
		if err := s.mayVote(value); err != nil {
			return err // raft answers "not granted"
		}
	}
	return s.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 is to SetUint64 as Get is to Set.
func (s *guardedStable) GetUint64(key []byte) (uint64, error) {
	b, err := s.Get(key)
	switch {
	case err != nil:
		return 0, err
	case len(b) == 0: // an in-memory store's way to say that it has none
		return 0, nil
	case len(b) != 8:
		return 0, s.guard.corrupt(opStableRead, fmt.Errorf("%w: %s has %d bytes, want 8", errDamaged, key, len(b)))
	}
	return binary.BigEndian.Uint64(b), nil
}
