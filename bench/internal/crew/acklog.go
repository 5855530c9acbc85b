package crew

import (
	"sort"
	"time"
)

// ackLog are the acknowledged writes, in the order of their ends. It grows in
// pieces and holds no pointers: a slice that moves while it grows, and that the
// garbage collector looks through, holds the writers up, and a pause of the
// writers is what is measured here.
type ackLog struct {
	base   time.Time // what the times of the acks are counted from
	chunks [][]ack   // all full but the last
}

// ack is one acknowledged write.
type ack struct{ start, end time.Duration }

const acksPerChunk = 1 << 14

func (l *ackLog) add(start, end time.Time) {
	last := len(l.chunks) - 1
	if last < 0 || len(l.chunks[last]) == acksPerChunk {
		l.chunks = append(l.chunks, make([]ack, 0, acksPerChunk))
		last++
	}
	l.chunks[last] = append(l.chunks[last], ack{start.Sub(l.base), end.Sub(l.base)})
}

func (l *ackLog) len() int {
	last := len(l.chunks) - 1
	if last < 0 {
		return 0
	}
	return last*acksPerChunk + len(l.chunks[last])
}

func (l *ackLog) start(i int) time.Time {
	return l.base.Add(l.chunks[i/acksPerChunk][i%acksPerChunk].start)
}

func (l *ackLog) end(i int) time.Time {
	return l.base.Add(l.chunks[i/acksPerChunk][i%acksPerChunk].end)
}

// first returns the number of acks that ended before t.
func (l *ackLog) first(t time.Time) int {
	return sort.Search(l.len(), func(i int) bool { return !l.end(i).Before(t) })
}
