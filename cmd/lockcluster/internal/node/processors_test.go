package node

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// One busy period is enough for all processors, only a calm time for one, and a
// load between both changes nothing.
func TestProcessorTuner(t *testing.T) {
	tuner := processorTuner{all: true}
	feed := func(periods int, l load) bool {
		var all bool
		for range periods {
			all = tuner.next(l)
		}
		return all
	}
	little, between := load{used: 0.1, wait: 20 * time.Microsecond}, load{used: 0.7, wait: 80 * time.Microsecond}
	steps := []struct {
		name    string
		periods int
		load    load
		all     bool
	}{
		{"calm, but not for long", calmPeriods - 1, little, true},
		{"neither calm nor busy: begins anew", 1, between, true},
		{"calm, but not for long again", calmPeriods - 1, little, true},
		{"calm for long enough", 1, little, false},
		{"neither calm nor busy: stays", 100, between, false},
		{"busy", 1, load{used: 0.8}, true},
		{"idle", calmPeriods, load{}, false},
		{"little is done, because the machine is not to be had", 1, load{used: 0.2, wait: time.Millisecond}, true},
		{"idle again", calmPeriods, load{}, false},
		{"many locks", 1, load{heap: heapSmall + 1}, true},
		{"as many as before", 100, load{heap: heapSmall}, true},
		{"few", calmPeriods, load{heap: heapSmall / 2}, false},
		{"much more than one", 1, load{used: 7}, true},
	}
	for _, s := range steps {
		if all := feed(s.periods, s.load); all != s.all {
			t.Errorf("%s: all processors %v, want %v", s.name, all, s.all)
		}
	}
}

// Goroutines that wait for a processor are seen, whatever the process gets done.
func TestLoadMeterSeesWaiting(t *testing.T) {
	defer runtime.SetDefaultGOMAXPROCS()
	runtime.GOMAXPROCS(1)
	m := newLoadMeter()
	var wg sync.WaitGroup
	var done atomic.Bool
	for range 8 {
		wg.Go(func() {
			for !done.Load() {
				runtime.Gosched() // the next in the queue waits for all before it
				for begin := time.Now(); time.Since(begin) < time.Millisecond; {
				}
			}
		})
	}
	testutil.WaitFor(t, 20*time.Second, func() bool { return m.read().wait >= 100*time.Microsecond })
	done.Store(true)
	wg.Wait()
	testutil.WaitFor(t, 20*time.Second, func() bool { return m.read().calm() })
}

// A process that idles gets one processor, one that works all of them, and stop
// brings back all.
func TestProcessorsFollowTheLoad(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("NOT TESTED: this machine has one processor only")
	}
	t.Setenv("GOMAXPROCS", "")
	runtime.SetDefaultGOMAXPROCS()
	many := runtime.GOMAXPROCS(0)
	stop := tuneProcessors()
	testutil.WaitFor(t, 20*time.Second, func() bool { return runtime.GOMAXPROCS(0) == 1 })
	var done atomic.Bool
	go func() {
		for !done.Load() {
		}
	}()
	testutil.WaitFor(t, 20*time.Second, func() bool { return runtime.GOMAXPROCS(0) == many })
	done.Store(true)
	testutil.WaitFor(t, 20*time.Second, func() bool { return runtime.GOMAXPROCS(0) == 1 })
	stop()
	if n := runtime.GOMAXPROCS(0); n != many {
		t.Errorf("stop leaves %d processors, want %d", n, many)
	}
}

// GOMAXPROCS is the user's: nothing is changed then.
func TestGOMAXPROCSIsLeftAlone(t *testing.T) {
	t.Setenv("GOMAXPROCS", "2")
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	defer tuneProcessors()()
	if n := runtime.GOMAXPROCS(0); n != 3 {
		t.Errorf("%d processors, want what was set", n)
	}
}
