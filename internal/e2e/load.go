package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/internal/history"
	"github.com/lockcluster/lockcluster/internal/testutil"
	"github.com/lockcluster/lockcluster/rpc"
)

// Load is many clients that take, read and release locks and record what they
// are told.
type Load struct {
	Recorder *history.Recorder
	Start    time.Time // zero of the recorder's clock

	clients []*rpc.Client
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

const (
	sharedKeys   = 50               // locks that all clients compete for
	connections  = 16               // gRPC clients; the load's clients share them
	callDeadline = 20 * time.Second // of one call, elections included
)

// StartLoad starts n clients against the cluster. Each one fights for shared
// locks, which it releases, and takes locks of its own, which it keeps: at the
// end every lock that was acknowledged must be there.
func StartLoad(t testing.TB, c *Nodes, n int, seed uint64) *Load {
	t.Helper()
	l := &Load{Recorder: history.NewRecorder(), Start: time.Now()}
	for range connections {
		client, err := rpc.Dial(t.Context(), rpc.ClientConfig{Endpoints: c.GRPC()})
		if err != nil {
			t.Fatal(err)
		}
		l.clients = append(l.clients, client)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	for i := range n {
		lc := &loadClient{
			load: l, client: l.clients[i%connections], name: fmt.Sprintf("c%02d", i),
			rnd: rand.New(rand.NewPCG(seed, uint64(i))),
		}
		lc.id.ClientID = fmt.Sprintf("load-%d-%s", seed, lc.name)
		l.wg.Go(func() { lc.run(ctx) })
	}
	t.Cleanup(l.Stop)
	return l
}

// Stop ends the load and waits for its clients. Calls that are under way are
// let finish.
func (l *Load) Stop() {
	l.stop()
	l.wg.Wait()
	for _, c := range l.clients {
		_ = c.Close()
	}
}

// NextWrite returns how long after the moment at the first write was
// acknowledged that a client began after it; false if there was none.
func NextWrite(ops []history.Op, at time.Duration) (time.Duration, bool) {
	best, found := time.Duration(0), false
	for i := range ops {
		op := &ops[i]
		if op.Outcome == history.Done && op.Request != nil && op.Invoke >= at && (!found || op.Return < best) {
			best, found = op.Return, true
		}
	}
	return best - at, found
}

// Percentile returns the p-th percentile (0 to 100) of d.
func Percentile(d []time.Duration, p int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(d))
	return s[max(0, (len(s)*p+99)/100-1)] // nearest rank
}

// loadClient is one client; it makes one call at a time.
type loadClient struct {
	load   *Load
	client *rpc.Client
	name   string
	rnd    *rand.Rand
	id     lockcluster.RequestID
	kept   int
}

func (c *loadClient) run(ctx context.Context) {
	for ctx.Err() == nil {
		switch c.rnd.IntN(5) {
		case 0:
			c.keep()
		case 1:
			c.read(c.shared())
		default:
			c.fight(c.shared())
		}
		// Clients think; without a pause the history would outgrow memory.
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(5+c.rnd.IntN(20)) * time.Millisecond):
		}
	}
}

func (c *loadClient) shared() lockcluster.Key {
	return lockcluster.Key{
		Namespace: lockcluster.DefaultNamespace, Repo: "acme/shared", Path: fmt.Sprintf("d%d", c.rnd.IntN(sharedKeys)), Workspace: "default",
	}
}

// do makes one recorded request under an id of its own. Every earlier one is
// acknowledged: this client never asks again for what it gave up on.
func (c *loadClient) do(req lockcluster.Request) (lockcluster.Result, error) {
	c.id.Sequence++
	c.id.AckedBelow = c.id.Sequence
	id := c.id
	return c.load.Recorder.Do(c.name, id, req, func() (lockcluster.Result, error) {
		ctx, cancel := context.WithTimeout(context.Background(), callDeadline)
		defer cancel()
		return c.client.Do(ctx, id, req)
	})
}

// keep takes a lock that is never released.
func (c *loadClient) keep() {
	c.kept++
	repo := "acme/kept-" + c.name
	_, _ = c.do(lockcluster.Acquire{
		Key:   lockcluster.Key{Namespace: lockcluster.DefaultNamespace, Repo: repo, Path: fmt.Sprintf("d%d", c.kept), Workspace: "default"},
		Owner: lockcluster.Owner{Host: "github.com", Repo: repo, Pull: c.kept}, User: c.name,
	})
}

// fight tries a shared lock and releases it if it was granted.
func (c *loadClient) fight(key lockcluster.Key) {
	res, err := c.do(lockcluster.Acquire{Key: key, Owner: lockcluster.Owner{ID: c.name}, User: c.name})
	if err != nil || res.Status != lockcluster.StatusGranted && res.Status != lockcluster.StatusAlreadyHeld {
		return
	}
	if c.rnd.IntN(3) == 0 {
		c.read(key)
	}
	_, _ = c.do(lockcluster.Release{Namespace: key.Namespace, Text: key.Text(), Guard: lockcluster.Guard{Token: res.Token}})
}

func (c *loadClient) read(key lockcluster.Key) {
	_, _ = c.load.Recorder.Get(c.name, history.Read{Namespace: key.Namespace, Space: lockcluster.SpaceLock, Key: key.Text()},
		func(r *history.Read) error {
			ctx, cancel := context.WithTimeout(context.Background(), callDeadline)
			defer cancel()
			lock, info, err := c.client.GetLock(ctx, key.Namespace, key.Text())
			r.Lock, r.Index = lock, info.Index
			return err
		})
}

// Audit stops the load, reads everything back through every node, and judges
// the whole history.
func (l *Load) Audit(t *testing.T, c *Nodes) []history.Op {
	t.Helper()
	l.Stop()
	for _, node := range c.All {
		l.readBack(t, node)
	}
	ops := l.Recorder.Ops()
	report, err := history.Check(ops, history.Options{Essential: true})
	if err != nil {
		t.Fatalf("the history could not be judged: %v", err)
	}
	t.Log(report)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	c.sameState(t)
	return ops
}

// readBack records a listing of all locks through one node.
func (l *Load) readBack(t *testing.T, node *Node) {
	t.Helper()
	client, err := rpc.Dial(t.Context(), rpc.ClientConfig{Endpoints: []string{node.GRPC}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	read := history.Read{Namespace: lockcluster.DefaultNamespace, Space: lockcluster.SpaceLock, List: true}
	_, err = l.Recorder.Get("auditor", read, func(r *history.Read) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		locks, info, err := client.CollectLocks(ctx, rpc.LockFilter{Namespace: read.Namespace})
		r.Locks, r.Index = locks, info.Index
		return err
	})
	if err != nil {
		t.Fatalf("list through %s: %v", node.ID, err)
	}
}

// sameState waits until all nodes stand at one index with one state hash.
func (c *Nodes) sameState(t testing.TB) {
	t.Helper()
	testutil.WaitFor(t, 30*time.Second, func() error {
		s, err := c.Status(t.Context())
		if err != nil {
			return err
		}
		for _, m := range s.Members {
			if m.AppliedIndex != s.Members[0].AppliedIndex || m.StateHash != s.Members[0].StateHash {
				return fmt.Errorf("%s at %d with %s, %s at %d with %s", s.Members[0].ID, s.Members[0].AppliedIndex,
					s.Members[0].StateHash, m.ID, m.AppliedIndex, m.StateHash)
			}
		}
		return nil
	})
}
