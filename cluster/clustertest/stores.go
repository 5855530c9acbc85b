package clustertest

import (
	"sync"

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
	fail, hang := l.disk.fail, l.disk.hang
	l.disk.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if fail != nil {
		return fail
	}
	return l.InmemStore.StoreLogs(logs)
}

// StoreLog implements [raft.LogStore].
func (l faultyLog) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }
