package node

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster/internal/testutil"
)

// One busy period is enough for all processors, only a calm time for one, and a
// load between both changes nothing.
func TestProcessorTuner(t *testing.T) {
	tuner := processorTuner{all: true}
	feed := func(periods int, load float64) bool {
		var all bool
		for range periods {
			all = tuner.next(load)
		}
		return all
	}
	steps := []struct {
		name    string
		periods int
		load    float64
		all     bool
	}{
		{"calm, but not for long", calmPeriods - 1, 0.1, true},
		{"neither calm nor busy: begins anew", 1, (calmShare + busyShare) / 2, true},
		{"calm, but not for long again", calmPeriods - 1, 0.1, true},
		{"calm for long enough", 1, 0.1, false},
		{"neither calm nor busy: stays", 100, (calmShare + busyShare) / 2, false},
		{"busy", 1, busyShare, true},
		{"idle", calmPeriods, 0, false},
		{"much more than one", 1, 7, true},
	}
	for _, s := range steps {
		if all := feed(s.periods, s.load); all != s.all {
			t.Errorf("%s: all processors %v, want %v", s.name, all, s.all)
		}
	}
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
		for !done.Load() { //nolint:revive // it is to keep a processor busy
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
