package clustertest

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster/cluster"
)

// Disk is the stores of one node. They survive its crash, and can be made to
// fail.
type Disk struct {
	log       *raft.InmemStore
	snapshots raft.SnapshotStore

	mu   sync.Mutex // guards what follows
	fail error
	hang chan struct{}
	slow func() time.Duration
}

func newDisk() *Disk {
	return &Disk{log: raft.NewInmemStore(), snapshots: raft.NewInmemSnapshotStore()}
}

// Log returns the log store below all faults.
func (d *Disk) Log() raft.LogStore { return d.log }

// FailWrites makes every later write to the log return err; nil ends that.
func (d *Disk) FailWrites(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = err
}

// SlowWrites makes every later write to the log take as long as slow says; nil ends
// that. What fails while it waits has not happened.
func (d *Disk) SlowWrites(slow func() time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow = slow
}

// Holds reports whether the disk has the entry at index, or a snapshot in which it
// is.
func (d *Disk) Holds(index uint64) bool {
	var entry raft.Log
	if d.log.GetLog(index, &entry) == nil {
		return true
	}
	kept, err := d.snapshots.List()
	return err == nil && len(kept) > 0 && kept[0].Index >= index
}

// HangWrites makes every later write to the log hang until the returned
// function is called.
func (d *Disk) HangWrites() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := make(chan struct{})
	d.hang = c
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.hang = nil
		close(c)
	})
}

func (d *Disk) stores() cluster.Stores {
	return cluster.Stores{Log: faultyLog{d.log, d}, Stable: d.log, Snapshots: d.snapshots}
}

type faultyLog struct {
	*raft.InmemStore
	disk *Disk
}

// StoreLogs implements [raft.LogStore].
func (l faultyLog) StoreLogs(logs []*raft.Log) error {
	l.disk.mu.Lock()
	hang, slow := l.disk.hang, l.disk.slow
	l.disk.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if slow != nil {
		time.Sleep(slow())
	}
	l.disk.mu.Lock()
	fail := l.disk.fail
	l.disk.mu.Unlock()
	if fail != nil {
		return fail
	}
	return l.InmemStore.StoreLogs(logs)
}

// StoreLog implements [raft.LogStore].
func (l faultyLog) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }
