package backends_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/backends/backendtest"
	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/cluster/clustertest"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// raftSystem is a real node as a lock system: raft itself is its fence.
type raftSystem struct{ node *cluster.Node }

func (r raftSystem) Kind() string { return "raft" }

func (r raftSystem) Do(ctx context.Context, _ backends.Fence, _ time.Time, req lockcluster.Request) (lockcluster.Result, error) {
	return r.node.Do(ctx, lockcluster.RequestID{}, req)
}

func (r raftSystem) Read(ctx context.Context, f func(r state.Reader)) error {
	return r.node.Read(ctx, func(s state.Reader, _ uint64) { f(s) })
}

func (r raftSystem) View(ctx context.Context) (*state.View, error) { return r.node.View(ctx) }
func (r raftSystem) Raise(context.Context, backends.Fence) error   { return nil }
func (r raftSystem) Check(ctx context.Context) error {
	return r.node.Read(ctx, func(state.Reader, uint64) {})
}
func (r raftSystem) Close() error { return nil }

// TestRaft: the cluster keeps to the same suite as the legacy systems, on the
// leader and through a follower.
func TestRaft(t *testing.T) {
	c := clustertest.Start(t, clustertest.Options{})
	leader := c.Leader()
	n := 0
	for name, id := range map[string]string{"Leader": leader, "Follower": c.Followers()[0]} {
		t.Run(name, func(t *testing.T) {
			backendtest.Run(t, func(*testing.T) backendtest.Harness {
				n++
				return backendtest.Harness{Backend: raftSystem{c.Node(id)}, Namespace: fmt.Sprintf("ns%d", n)}
			})
		})
	}
}
