package fsm

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// Hooks tell the node what the log has changed. They are called on the apply
// goroutine, must not block, and decide nothing. Each may be nil.
type Hooks struct {
	// Leases is called with the leases that an entry has set or ended.
	Leases func([]state.LeaseChange)
	// Checkpoint is called when the log asks for a checkpoint, with the state's
	// hashes after that entry.
	Checkpoint func(index uint64, hashes state.Hashes)
	// Restored is called after a snapshot has replaced the state.
	Restored func()
	// Granted is called for every lock and command lock that an entry has
	// granted, with its key text or command name.
	Granted func(namespace string, space lockcluster.Space, key string)
	// Node is called when a node has registered.
	Node func(lockcluster.RegisterNode)
	// Changed is called with the locks, command locks and documents that an
	// entry has put or removed.
	Changed func(index uint64, refs []lockcluster.RecordRef)
	// Migration is called when an entry has changed the state of the migration,
	// its epoch included.
	Migration func(lockcluster.Migration)
}

// FSM is the state machine. Use [New].
type FSM struct {
	store *state.Mem
	hooks Hooks

	mu      sync.Mutex
	waiters []waiter // guarded by mu, unordered: there are few
}

type waiter struct {
	index uint64
	done  chan struct{}
}

// Applied is what [FSM.Apply] returns to the proposer: one result per command
// of the entry, in order.
type Applied []lockcluster.Result

// New returns a state machine with an empty state.
func New(hooks Hooks) *FSM { return &FSM{store: state.NewMem(), hooks: hooks} }

// Store returns the state for reading.
func (f *FSM) Store() *state.Mem { return f.store }

// Apply implements [raft.FSM]. It returns an [Applied]. It panics on an entry
// that cannot be trusted.
func (f *FSM) Apply(l *raft.Log) any {
	index, term := f.store.Position()
	if l.Index <= index || l.Term < term {
		panic(fmt.Sprintf("log runs backwards: entry %d of term %d after %d of term %d", l.Index, l.Term, index, term))
	}
	entry, err := command.DecodeEntry(l.Data)
	if err != nil {
		panic(fmt.Sprintf("log entry %d: %v; this node stops so that it cannot differ from the others", l.Index, err))
	}
	applied := make(Applied, len(entry.Commands))
	var changes []state.LeaseChange
	var a *state.Applier
	f.store.Update(l.Index, l.Term, func(tx state.Tx) {
		a = state.Begin(tx, state.Env{Index: l.Index, Term: l.Term, Now: entry.Time, Track: f.hooks.Changed != nil})
		for i, c := range entry.Commands {
			applied[i] = a.Do(c)
		}
		changes = a.End()
	})
	f.report(l.Index, entry, changes)
	if f.hooks.Granted != nil {
		for i, c := range entry.Commands {
			if _, ok := c.Request.(lockcluster.Shadow); !ok { // nobody got what it grants
				f.reportGrants(applied[i : i+1])
			}
		}
	}
	f.reportRoad(l.Index, a)
	f.wake(l.Index)
	return applied
}

func (f *FSM) report(index uint64, entry command.Entry, changes []state.LeaseChange) {
	if len(changes) > 0 && f.hooks.Leases != nil {
		f.hooks.Leases(changes)
	}
	for _, c := range entry.Commands {
		switch r := c.Request.(type) {
		case lockcluster.Checkpoint:
			if f.hooks.Checkpoint != nil {
				hashes, _ := f.store.Hashes()
				f.hooks.Checkpoint(index, hashes)
			}
		case lockcluster.RegisterNode:
			if f.hooks.Node != nil {
				f.hooks.Node(r)
			}
		}
	}
}

// reportRoad tells what the controller of a migration wants to know.
func (f *FSM) reportRoad(index uint64, a *state.Applier) {
	if refs := a.Touched(); len(refs) > 0 {
		f.hooks.Changed(index, refs)
	}
	if m, changed := a.MigrationChanged(); changed && f.hooks.Migration != nil {
		f.hooks.Migration(m)
	}
}

func (f *FSM) reportGrants(results []lockcluster.Result) {
	for i := range results {
		r := &results[i]
		switch {
		case len(r.Results) > 0 && r.Status == lockcluster.StatusApplied:
			f.reportGrants(r.Results)
		case r.Status != lockcluster.StatusGranted:
		case r.Lock != nil:
			f.hooks.Granted(r.Lock.Key.Namespace, lockcluster.SpaceLock, r.Lock.Key.Text())
		case r.CommandLock != nil:
			f.hooks.Granted(r.CommandLock.Namespace, lockcluster.SpaceCommand, r.CommandLock.Name)
		}
	}
}

// Wait returns when the state stands at index or later, or with ctx's error.
// The index must be that of an entry that carries commands: Raft's own entries
// never reach the state machine.
func (f *FSM) Wait(ctx context.Context, index uint64) error {
	f.mu.Lock()
	if at, _ := f.store.Position(); at >= index {
		f.mu.Unlock()
		return nil
	}
	w := waiter{index: index, done: make(chan struct{})}
	f.waiters = append(f.waiters, w)
	f.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		f.drop(w)
		return ctx.Err()
	}
}

func (f *FSM) drop(w waiter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.waiters {
		if f.waiters[i] == w {
			f.waiters[i] = f.waiters[len(f.waiters)-1]
			f.waiters = f.waiters[:len(f.waiters)-1]
			return
		}
	}
}

func (f *FSM) wake(index uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := f.waiters[:0]
	for _, w := range f.waiters {
		if w.index <= index {
			close(w.done)
		} else {
			kept = append(kept, w)
		}
	}
	clear(f.waiters[len(kept):])
	f.waiters = kept
}

// Snapshot implements [raft.FSM]. It costs nothing but a reference.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) { return &snapshot{view: f.store.View()}, nil }

// Restore implements [raft.FSM]. The snapshot is decoded and verified into a
// new state, which then replaces the old one in one step; on error the old
// state stays.
func (f *FSM) Restore(rc io.ReadCloser) error {
	mem, err := ReadSnapshot(rc)
	if cerr := rc.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	f.store.Replace(mem)
	index, _ := f.store.Position()
	f.wake(index)
	if f.hooks.Restored != nil {
		f.hooks.Restored()
	}
	return nil
}

type snapshot struct{ view *state.View }

// Persist implements [raft.FSMSnapshot]; it runs beside Apply.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if err := WriteSnapshot(sink, s.view); err != nil {
		_ = sink.Cancel() // the first error counts
		return fmt.Errorf("persist snapshot: %w", err)
	}
	return sink.Close()
}

// Release implements [raft.FSMSnapshot].
func (s *snapshot) Release() {}
