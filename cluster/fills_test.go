package cluster

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
)

// A batch grows until it is as large as what is in flight, until it is full, or
// until that has landed. A lone request goes at once, and what waits when the
// node closes was not proposed.
func TestBatchFillsWhileOthersFly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type batch struct {
			*flight
			done func()
		}
		sent := make(chan batch, 10)
		p := newPump(func(_ context.Context, f *flight, done func()) { sent <- batch{f, done} })
		p.fills = true
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { p.run(ctx) })
		submit := func(n, size int) (last *proposal) {
			t.Helper()
			for range n {
				last = newProposal(make([]byte, size))
				if err := p.submit(last); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			return last
		}
		want := func(size int) (b batch) {
			t.Helper()
			synctest.Wait()
			select {
			case b = <-sent:
			default:
			}
			if b.flight == nil && size > 0 || b.flight != nil && len(b.proposals) != size {
				t.Fatalf("%+v was sent, want a batch of %d", b.flight, size)
			}
			return b
		}
		submit(1, 10)
		first := want(1)
		submit(1, 10)
		second := want(1)
		submit(1, 10)
		want(0)
		submit(1, 10)
		third := want(2)
		submit(3, 10)
		want(0)
		first.done()
		fourth := want(3) // 3 are in flight
		second.done()
		third.done()
		fourth.done()
		submit(1, 10)
		lone := want(1)
		submit(1, 10)
		want(1).done()
		submit(1, batchBytesMax)
		want(1).done()
		lone.done()

		submit(2, 10)
		want(1)
		want(1)
		waits := submit(1, 10)
		want(0)
		cancel()
		wg.Wait()
		if o := <-waits.out; o.fate != fateNotProposed {
			t.Errorf("what waited: %+v", o)
		}
	})
}
