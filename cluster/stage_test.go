package cluster

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// While a batch is on its way to this node's disk the next is not taken: what
// arrives meanwhile goes with it. It is taken as soon as the first is on disk,
// or has failed, though the first has not been decided yet.
func TestPumpTakesOneBatchToTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type batch struct {
			*flight
			done func()
		}
		sent := make(chan batch, 10)
		p := newPump(func(_ context.Context, f *flight, done func()) { sent <- batch{f, done} })
		p.stage = make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { p.run(ctx) })
		submit := func(n int) {
			for range n {
				if err := p.submit(newProposal([]byte("x"))); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
		}
		wantBatch := func(size int) batch {
			t.Helper()
			synctest.Wait()
			select {
			case b := <-sent:
				if len(b.proposals) != size {
					t.Fatalf("a batch of %d, want %d", len(b.proposals), size)
				}
				return b
			default:
				t.Fatalf("no batch was taken, want one of %d", size)
				return batch{}
			}
		}
		submit(4)
		first := wantBatch(1)
		if len(sent) > 0 {
			t.Error("a second batch was taken while the first is not on disk")
		}
		first.stored()
		first.stored() // makes no more room
		second := wantBatch(3)
		submit(2)
		if len(sent) > 0 {
			t.Error("a third batch was taken while the second is not on disk")
		}
		second.fail(outcome{fate: fateUnknown})
		second.done()
		third := wantBatch(2)
		first.done()
		third.done()
		submit(1)
		wantBatch(1).done()
		cancel()
		wg.Wait()
	})
}

// The log tells which of this node's batches it has on disk; the entries of
// other nodes are nobody's.
func TestLogTellsWhatIsStored(t *testing.T) {
	m := newMachine(nil, nil, nil)
	log := newGuardedLog(raft.NewInmemStore(), &guard{halter: newHalter(func(error) {}), stall: time.Minute})
	log.stored = m.stored
	mine, others := []byte("mine"), []byte("other")
	stored := 0
	m.launch(mine, &flight{stored: func() { stored++ }})
	if err := log.StoreLogs([]*raft.Log{{Index: 1, Data: others}, {Index: 2}}); err != nil || stored != 0 {
		t.Fatalf("%v; stored %d times, want 0", err, stored)
	}
	if err := log.StoreLogs([]*raft.Log{{Index: 3, Data: mine}}); err != nil || stored != 1 {
		t.Fatalf("%v; stored %d times, want 1", err, stored)
	}
	m.land(mine)
	m.stored([]*raft.Log{{Index: 4, Data: mine}})
	if stored != 1 {
		t.Errorf("a batch that has landed was told again")
	}
}
