package fsm_test

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/internal/history"
)

// benchAcquire is what Atlantis's Redis client leads to: a pull lock with the
// bytes it stored.
func benchAcquire(i int, value []byte) lockcluster.Acquire {
	repo := fmt.Sprintf("organisation/repository-%05d", i%5000)
	return lockcluster.Acquire{
		Key:   lockcluster.Key{Namespace: "default", Repo: repo, Path: fmt.Sprintf("environments/stage-%07d", i), Workspace: "default"},
		Owner: lockcluster.Owner{Host: "github.com", Repo: repo, Pull: i%100 + 1}, User: "jane-doe",
		AcquiredAt: time.UnixMilli(1_700_000_000_000), Value: value,
	}
}

func benchValue(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*7 + i/256)
	}
	return b
}

func benchLog(tb testing.TB, index uint64, commands []command.Command) *raft.Log {
	tb.Helper()
	l, err := entryLog(history.Position{Index: index, Term: 1, Time: time.UnixMilli(1_700_000_000_000)}, commands)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// filled returns a state with n locks of 1 KB.
func filled(tb testing.TB, n int) *fsm.FSM {
	tb.Helper()
	f := fsm.New(fsm.Hooks{})
	value := benchValue(1024)
	var batch []command.Command
	index := uint64(0)
	for i := range n {
		batch = append(batch, command.Command{Request: benchAcquire(i, value)})
		if len(batch) == 100 || i == n-1 {
			index++
			f.Apply(benchLog(tb, index, batch))
			batch = batch[:0]
		}
	}
	return f
}

// BenchmarkApply measures a command by the rules, decoding included, with a
// 1 KB value, over 10,000 locks: pairs of acquire and release, remembered for
// their clients and acknowledged 64 requests later.
func BenchmarkApply(b *testing.B) {
	for _, perEntry := range []int{1, 64} {
		b.Run(fmt.Sprintf("commands=%d", perEntry), func(b *testing.B) {
			f := filled(b, 10_000)
			index, _ := f.Store().Position()
			value := benchValue(1024)
			var logs []*raft.Log
			seq := uint64(0)
			for done := 0; done < b.N; done += perEntry {
				commands := make([]command.Command, perEntry)
				for i := range commands {
					seq++
					id := lockcluster.RequestID{ClientID: "0123456789abcdef0123456789abcdef", Sequence: seq, AckedBelow: seq - min(seq, 64)}
					r := benchAcquire(20_000+int((seq-1)/2)%1000, value)
					commands[i] = command.Command{ID: id, Request: r}
					if seq%2 == 0 {
						commands[i].Request = lockcluster.Release{Namespace: "default", Text: r.Key.Text(), Guard: lockcluster.Guard{Owner: &r.Owner}}
					}
				}
				index++
				logs = append(logs, benchLog(b, index, commands))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for _, l := range logs {
				f.Apply(l)
			}
			b.StopTimer()
			if err := state.CheckInvariants(f.Store().View()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkMemoryPerLock reports the live heap per lock of 1 KB.
func BenchmarkMemoryPerLock(b *testing.B) {
	const locks = 1_000_000
	for range b.N {
		before := liveHeap()
		f := filled(b, locks)
		b.ReportMetric(float64(liveHeap()-before)/locks, "heap-bytes/lock")
		runtime.KeepAlive(f)
	}
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkHash measures what keeping the state's hash costs a record of 1 KB:
// a put that replaces one hashes the old and the new.
func BenchmarkHash(b *testing.B) {
	mem := state.NewMem()
	value := benchValue(1024)
	b.SetBytes(2 * 1024)
	mem.Update(1, 1, func(tx state.Tx) {
		tx.Put("d", value)
		b.ResetTimer()
		for range b.N {
			tx.Put("d", value)
		}
	})
}

// BenchmarkSnapshot100k measures writing and reading a snapshot of 100,000 locks.
func BenchmarkSnapshot100k(b *testing.B) {
	f := filled(b, 100_000)
	var buf bytes.Buffer
	if err := fsm.WriteSnapshot(&buf, f.Store().View()); err != nil {
		b.Fatal(err)
	}
	b.Run("write", func(b *testing.B) {
		b.SetBytes(int64(buf.Len()))
		for range b.N {
			if err := fsm.WriteSnapshot(io.Discard, f.Store().View()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(buf.Len()))
		for range b.N {
			if _, err := fsm.ReadSnapshot(bytes.NewReader(buf.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkList10k measures a listing of 10,000 locks of 1 KB.
func BenchmarkList10k(b *testing.B) {
	view := filled(b, 10_000).Store().View()
	b.ReportAllocs()
	for range b.N {
		n := 0
		state.ListLocks(view, "default", state.LockFilter{}, func(*lockcluster.Lock) bool { n++; return true })
		if n != 10_000 {
			b.Fatal(n)
		}
	}
}
