package health

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Buckets of a slot: one for each microsecond below subBuckets, then
// subBuckets for each power of two, so a bucket is at most 1/16 of its value
// wide. The last one begins at about 130 s and takes everything above.
const (
	subBits    = 4
	subBuckets = 1 << subBits
	octaves    = 24
	buckets    = subBuckets * octaves
)

func bucketOf(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 0))
	if us < subBuckets {
		return int(us)
	}
	shift := bits.Len64(us) - 1 - subBits
	return min(subBuckets*(shift+1)+int(us>>shift)-subBuckets, buckets-1)
}

// lowerBound returns the smallest number of microseconds of bucket i.
func lowerBound(i int) uint64 {
	if i < subBuckets {
		return uint64(i)
	}
	shift := i/subBuckets - 1
	return uint64(subBuckets+i%subBuckets) << shift
}

// slot is what happened in one short span of time.
type slot struct {
	number int64
	errors atomic.Uint64
	sum    atomic.Int64 // microseconds
	counts [buckets]atomic.Uint32
}

func (s *slot) observe(d time.Duration, failed bool) {
	s.counts[bucketOf(d)].Add(1)
	s.sum.Add(d.Microseconds())
	if failed {
		s.errors.Add(1)
	}
}

// sum adds up slots.
type sum struct {
	count, errors uint64
	micros        int64
	counts        [buckets]uint64
}

func (a *sum) add(s *slot) {
	for i := range s.counts {
		n := uint64(s.counts[i].Load())
		a.counts[i] += n
		a.count += n
	}
	a.errors += s.errors.Load()
	a.micros += s.sum.Load()
}

// quantile returns the duration below which a share q of the operations
// stayed, interpolated within its bucket; zero without operations.
func (a *sum) quantile(q float64) time.Duration {
	rank := q * float64(a.count)
	var below float64
	for i, n := range a.counts {
		if n == 0 {
			continue
		}
		if below+float64(n) >= rank {
			low, high := float64(lowerBound(i)), float64(lowerBound(i+1))
			return time.Duration((low + (high-low)*(rank-below)/float64(n)) * float64(time.Microsecond))
		}
		below += float64(n)
	}
	return 0
}

func (a *sum) window(covered time.Duration) Window {
	w := Window{Covered: covered, Count: a.count, Errors: min(a.errors, a.count)}
	if a.count > 0 {
		w.Mean = time.Duration(a.micros/int64(a.count)) * time.Microsecond
		w.P50, w.P95, w.P99 = a.quantile(.5), a.quantile(.95), a.quantile(.99)
	}
	return w
}
