package node

import (
	"context"
	"os"
	"runtime"
	"runtime/metrics"
	"sync"
	"syscall"
	"time"
)

// A request is handed from goroutine to goroutine a dozen times on its way
// through a node, each waiting for the one before. While there is little to do,
// Go wakes a sleeping thread at nearly every one of these steps, which finds
// nothing left to do: with one client that was two fifths of a node's processor
// time, and a third of the client's wait. So a node that one processor is
// plenty for runs its goroutines on one, and on all as soon as it is not.
const (
	// loadPeriod is how often the load is looked at.
	loadPeriod = 100 * time.Millisecond
	// calmPeriods is how long it has to be calm before one processor is enough.
	calmPeriods = 20
)

// load is what a node did in a period.
type load struct {
	// used is the processor time, in processors.
	used float64
	// wait is how long a goroutine that could run waited for a processor, on
	// average: more than a moment when there is a queue, and when other programs
	// use the machine so much that the node does not get what it wants.
	wait time.Duration
	// heap is what is in use of it, in bytes.
	heap uint64
}

// heapSmall is up to where a node may run on one processor. While a collection
// is under way Go does not change their number, and of a large heap one takes
// seconds.
const heapSmall = 128 << 20

// busy reports whether one processor is not enough, calm whether it is. More
// processors make the same work cost more, so what is calm with all of them is
// calm with one; between both the node stays as it is, and does not go to and fro.
func (l load) busy() bool {
	return l.used >= 0.75 || l.wait >= 100*time.Microsecond || l.heap > heapSmall
}

func (l load) calm() bool {
	return l.used < 0.6 && l.wait < 60*time.Microsecond && l.heap <= heapSmall/2
}

// processorTuner decides between one processor and all.
type processorTuner struct {
	all     bool
	periods int // calm ones, one after the other
}

// next takes the load of the period that has ended, and reports whether all
// processors are to be used in the next.
func (t *processorTuner) next(l load) (all bool) {
	switch {
	case l.busy():
		t.all, t.periods = true, 0
	case !l.calm():
		t.periods = 0
	default:
		if t.periods++; t.periods >= calmPeriods {
			t.all = false
		}
	}
	return t.all
}

// tuneProcessors follows the load until stop is called. It leaves alone what
// the user has set by GOMAXPROCS.
func tuneProcessors() (stop func()) {
	if os.Getenv("GOMAXPROCS") != "" || runtime.GOMAXPROCS(0) == 1 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { followLoad(ctx) })
	return func() {
		cancel()
		wg.Wait()
		runtime.SetDefaultGOMAXPROCS()
	}
}

func followLoad(ctx context.Context) {
	tick := time.NewTicker(loadPeriod)
	defer tick.Stop()
	t := processorTuner{all: true} // there is much to do at the start
	all := true
	meter := newLoadMeter()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		want := t.next(meter.read())
		if want == all {
			continue
		}
		// Either call stops the world for some microseconds.
		if all = want; all {
			runtime.SetDefaultGOMAXPROCS()
		} else {
			runtime.GOMAXPROCS(1)
		}
	}
}

// loadMeter tells the load since it was read last.
type loadMeter struct {
	at     time.Time
	used   time.Duration
	sample []metrics.Sample // waits, heap
	waits  []uint64         // how many goroutines have waited how long
}

func newLoadMeter() *loadMeter {
	m := &loadMeter{sample: []metrics.Sample{{Name: "/sched/latencies:seconds"}, {Name: "/gc/heap/live:bytes"}}}
	m.read()
	return m
}

func (m *loadMeter) read() load {
	now, used := time.Now(), processorTime()
	metrics.Read(m.sample)
	l := load{used: float64(used-m.used) / float64(max(now.Sub(m.at), 1)), wait: m.wait(), heap: m.sample[1].Value.Uint64()}
	m.at, m.used = now, used
	return l
}

// waitsMin is how many waits an average is taken of at least, so that a single
// one makes no load.
const waitsMin = 16

func (m *loadMeter) wait() time.Duration {
	h := m.sample[0].Value.Float64Histogram()
	if m.waits == nil {
		m.waits = make([]uint64, len(h.Counts))
	}
	count, sum := uint64(0), 0.0
	for i, n := range h.Counts {
		count += n - m.waits[i]
		if from := h.Buckets[i]; from > 0 {
			sum += float64(n-m.waits[i]) * from
		}
		m.waits[i] = n
	}
	return time.Duration(sum / float64(max(count, waitsMin)) * float64(time.Second))
}

// processorTime returns what the process has used of all processors so far.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // it never fails for oneself; a load of nothing is harmless
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
