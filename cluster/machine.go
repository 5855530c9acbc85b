package cluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster/fsm"
)

// machine is what raft sees of the state machine. Beside package fsm it keeps
// the log index that really was applied: membership entries count too, which
// never reach the state, so that a read index taken at one of them is reached.
//
// It also hands results straight to the callers that wait for them, which
// saves a wake-up against waiting for raft's future.
type machine struct {
	fsm     *fsm.FSM
	halter  *halter
	metrics *metrics

	// applyingSince is the start of the entry or snapshot that is being applied,
	// in Unix nanoseconds, 0 when there is none. The watchdog reads it.
	applyingSince atomic.Int64
	restoring     atomic.Bool
	broken        bool // an entry could not be applied; of the apply goroutine

	mu          sync.Mutex // guards what follows
	applied     uint64
	configIndex uint64 // of the newest applied membership entry
	waiters     []indexWaiter
	flights     map[*byte]*flight // by the first byte of the entry
}

type indexWaiter struct {
	index uint64
	done  chan struct{}
}

func newMachine(f *fsm.FSM, h *halter, m *metrics) *machine {
	return &machine{fsm: f, halter: h, metrics: m, flights: map[*byte]*flight{}}
}

var _ raft.ConfigurationStore = (*machine)(nil)

// Apply implements [raft.FSM].
func (m *machine) Apply(l *raft.Log) any {
	if m.broken {
		return nil
	}
	start := time.Now()
	m.applyingSince.Store(start.UnixNano())
	applied, err := m.apply(l)
	if err != nil {
		// Raft's goroutine is held, not ended: it has futures to answer.
		m.broken = true
		m.halter.hold(err)
		return nil
	}
	m.mu.Lock()
	f := m.flights[dataKey(l.Data)]
	m.mu.Unlock()
	if f != nil {
		f.decided(applied)
	}
	m.advance(l.Index, 0)
	m.applyingSince.Store(0)
	m.metrics.apply.Observe(time.Since(start).Seconds())
	return applied
}

// apply turns a panic of the rules, their way to say that going on could make
// this node differ from the others, into a halt.
func (m *machine) apply(l *raft.Log) (applied fsm.Applied, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &HaltError{
				Cause: ErrDiverged, Op: fmt.Sprintf("apply log entry %d", l.Index), Err: fmt.Errorf("%v\n%s", r, debug.Stack()),
				Advice: "if another node stops at the same entry, do not remove any; start the build that wrote it",
			}
		}
	}()
	return m.fsm.Apply(l).(fsm.Applied), nil
}

// StoreConfiguration implements [raft.ConfigurationStore].
func (m *machine) StoreConfiguration(index uint64, _ raft.Configuration) { m.advance(index, index) }

func (m *machine) advance(index, configIndex uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setAppliedLocked(max(m.applied, index), max(m.configIndex, configIndex))
}

func (m *machine) setAppliedLocked(index, configIndex uint64) {
	m.applied, m.configIndex = index, configIndex
	if len(m.waiters) == 0 {
		return
	}
	kept := m.waiters[:0]
	for _, w := range m.waiters {
		if w.index <= index {
			close(w.done)
		} else {
			kept = append(kept, w)
		}
	}
	clear(m.waiters[len(kept):])
	m.waiters = kept
}

// wait returns when the entry at index is applied, or with ctx's error.
func (m *machine) wait(ctx context.Context, index uint64) error {
	m.mu.Lock()
	if m.applied >= index {
		m.mu.Unlock()
		return nil
	}
	w := indexWaiter{index: index, done: make(chan struct{})}
	m.waiters = append(m.waiters, w)
	m.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		m.mu.Lock()
		defer m.mu.Unlock()
		for i := range m.waiters {
			if m.waiters[i] == w {
				m.waiters[i] = m.waiters[len(m.waiters)-1]
				m.waiters = m.waiters[:len(m.waiters)-1]
				break
			}
		}
		return ctx.Err()
	}
}

// position returns the index of the newest applied entry and of the newest
// applied membership entry.
func (m *machine) position() (applied, configIndex uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.applied, m.configIndex
}

// launch makes Apply deliver the results of the entry data to f. land must
// follow when the entry's fate is known.
func (m *machine) launch(data []byte, f *flight) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flights[dataKey(data)] = f
}

// stored notes that entries are on this node's disk.
func (m *machine) stored(logs []*raft.Log) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.flights) == 0 {
		return // a follower's
	}
	for _, l := range logs {
		if f := m.flights[dataKey(l.Data)]; f != nil && f.stored != nil {
			f.stored()
		}
	}
}

// proposed reports whether this node has proposed the entry data and does not know
// its fate.
func (m *machine) proposed(data []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.flights[dataKey(data)] != nil
}

func (m *machine) land(data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.flights, dataKey(data))
}

// dataKey identifies an entry that this node proposed: raft hands the very
// slice to Apply that it was given.
func dataKey(data []byte) *byte {
	if len(data) == 0 {
		return nil
	}
	return &data[0]
}

// A raft snapshot is this header and then the snapshot format of package fsm:
// magic (8 bytes), applied index (8), index of the membership entry (8), CRC32C
// of these (4). Version history: "LCNODE\x00\x01" first version.
const (
	nodeSnapshotMagic      = "LCNODE\x00\x01"
	nodeSnapshotHeaderSize = 28
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encodeSnapshotHeader(applied, configIndex uint64) []byte {
	b := make([]byte, 0, nodeSnapshotHeaderSize)
	b = append(b, nodeSnapshotMagic...)
	b = binary.BigEndian.AppendUint64(b, applied)
	b = binary.BigEndian.AppendUint64(b, configIndex)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func readSnapshotHeader(r io.Reader) (applied, configIndex uint64, err error) {
	b := make([]byte, nodeSnapshotHeaderSize)
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, 0, fmt.Errorf("%w: it ends early: %v", fsm.ErrCorruptSnapshot, err)
	}
	if string(b[:8]) != nodeSnapshotMagic || crc32.Checksum(b[:24], castagnoli) != binary.BigEndian.Uint32(b[24:]) {
		return 0, 0, fmt.Errorf("%w: it does not begin as a snapshot of this version", fsm.ErrCorruptSnapshot)
	}
	return binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:]), nil
}

// Snapshot implements [raft.FSM].
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	inner, err := m.fsm.Snapshot()
	if err != nil {
		return nil, err
	}
	applied, configIndex := m.position()
	return &machineSnapshot{FSMSnapshot: inner, header: encodeSnapshotHeader(applied, configIndex)}, nil
}

type machineSnapshot struct {
	raft.FSMSnapshot
	header []byte
}

// Persist implements [raft.FSMSnapshot].
func (s *machineSnapshot) Persist(sink raft.SnapshotSink) error {
	if g, ok := sink.(*guardedSink); ok {
		g.own()
	}
	if _, err := sink.Write(s.header); err != nil {
		_ = sink.Cancel() // the first error counts
		return fmt.Errorf("persist snapshot: %w", err)
	}
	return s.FSMSnapshot.Persist(sink)
}

// Restore implements [raft.FSM]. On error the old state stays.
func (m *machine) Restore(rc io.ReadCloser) error {
	m.restoring.Store(true)
	m.applyingSince.Store(time.Now().UnixNano())
	defer m.restoring.Store(false)
	defer m.applyingSince.Store(0)
	applied, configIndex, err := readSnapshotHeader(rc)
	if err != nil {
		_ = rc.Close() // the first error counts
		return err
	}
	if err := m.fsm.Restore(rc); err != nil {
		return err
	}
	index, _ := m.fsm.Store().Position()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setAppliedLocked(max(applied, index), configIndex)
	return nil
}
