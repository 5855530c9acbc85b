package node

import (
	"context"
	"os"
	"runtime"
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
	// busyShare is the load, in processors, at which one is not enough. More of
	// them make the same work cost more, so what is calm with all of them is
	// calm with one, and the node does not go to and fro.
	busyShare = 0.75
	// calmShare is the load that may last for calmPeriods before one is enough.
	calmShare   = 0.6
	calmPeriods = 20
)

// processorTuner decides between one processor and all.
type processorTuner struct {
	all  bool
	calm int // periods of little load, one after the other
}

// next takes the load of the period that has ended, in processors, and reports
// whether all processors are to be used in the next.
func (t *processorTuner) next(load float64) (all bool) {
	switch {
	case load >= busyShare:
		t.all, t.calm = true, 0
	case load >= calmShare:
		t.calm = 0
	default:
		if t.calm++; t.calm >= calmPeriods {
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
	at, used := time.Now(), processorTime()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now, usedNow := time.Now(), processorTime()
		want := t.next(float64(usedNow-used) / float64(max(now.Sub(at), 1)))
		at, used = now, usedNow
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

// processorTime returns what the process has used of all processors so far.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // it never fails for oneself; a load of nothing is harmless
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
