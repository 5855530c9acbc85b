package cluster

import (
	"context"
	"errors"
	"sync"
	"testing"
)

// What is refused while a restore ends is told so: a request that is taken for
// queued and is not would be waited for until its deadline, or for ever.
func TestPumpTellsWhatItDidNotTake(t *testing.T) {
	p := newPump(func(context.Context, *flight, func()) {})
	frozen := errors.New("frozen")
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				p.setClosed(frozen)
				p.setClosed(nil)
			}
		}
	})
	taken := 0
	for range queueCommandsMax {
		if p.submit(&proposal{}) == nil {
			taken++
		}
	}
	close(done)
	wg.Wait()
	if taken != len(p.queue) {
		t.Errorf("%d requests were taken, %d are queued", taken, len(p.queue))
	}
}
