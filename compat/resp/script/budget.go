package script

import (
	"context"
	"runtime/metrics"
	"sync"
)

// Budget ends scripts that let the process's memory grow too much: an
// interpreter cannot tell what a script holds, but the heap can. Somebody must
// call [Budget.Check] every few milliseconds while scripts run. The zero value
// is ready.
type Budget struct {
	mu   sync.Mutex // guards runs
	runs map[*budgetRun]struct{}
}

type budgetRun struct {
	base   uint64 // the heap when the script began
	cancel context.CancelCauseFunc
}

// Begin notes a run that cancel can end; the function that it returns must be
// called at its end.
func (b *Budget) Begin(cancel context.CancelCauseFunc) (end func()) {
	r := &budgetRun{cancel: cancel}
	b.mu.Lock()
	if b.runs == nil {
		b.runs = map[*budgetRun]struct{}{}
	}
	b.runs[r] = struct{}{}
	b.mu.Unlock()
	return func() {
		b.mu.Lock()
		delete(b.runs, r)
		b.mu.Unlock()
	}
}

// Check ends every run since whose first check the heap has grown by more than
// limit bytes. A run that is over before it is checked costs nothing.
func (b *Budget) Check(limit int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.runs) == 0 {
		return
	}
	heap := heapBytes()
	for r := range b.runs {
		if r.base == 0 || r.base > heap {
			r.base = heap
			continue
		}
		if heap-r.base > uint64(limit) {
			r.cancel(ErrMemory)
		}
	}
}

func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
