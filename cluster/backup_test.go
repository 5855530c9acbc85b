package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/cluster/clustertest"
)

// atEnd calls f when all is read.
type atEnd struct {
	io.Reader
	f func()
}

func (r atEnd) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err == io.EOF {
		r.f()
	}
	return n, err
}

// A backup, grants after it, and a restore whose caller goes away in its midst,
// or with clients that ask on all nodes meanwhile: no token is granted twice,
// and those granted after the restore are newer than all before it.
func TestRestoreGrantsNoTokenAgain(t *testing.T) {
	t.Run("caller gone", func(t *testing.T) { restoreAndGrant(t, 0) })
	t.Run("busy", func(t *testing.T) { restoreAndGrant(t, 20) })
}

func restoreAndGrant(t *testing.T, clientsPerNode int) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, c *clustertest.Cluster) {
		mustDo(t, c, "n1", acquire("acme/kept", 1))
		var backup bytes.Buffer
		if _, err := c.Node(c.Leader()).SaveSnapshot(t.Context(), &backup); err != nil {
			t.Fatal(err)
		}
		g := grants{t: t, c: c, of: map[lockcluster.Token]string{}}
		var last lockcluster.Token
		for i := range 20 {
			last = g.take("n2", fmt.Sprintf("acme/lost%d", i))
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var clients sync.WaitGroup
		begin := sync.OnceFunc(func() {
			if clientsPerNode == 0 {
				cancel()
			}
			for _, id := range c.Running() {
				for i := range clientsPerNode {
					clients.Go(func() { g.take(id, fmt.Sprintf("acme/%s-%d", id, i)) })
				}
			}
		})
		res, err := c.Node(c.Leader()).RestoreSnapshot(ctx, atEnd{bytes.NewReader(backup.Bytes()), begin})
		clients.Wait()
		if err != nil {
			t.Errorf("restore: %v", err)
		}
		if mustHolder(t, c, "n2", acquire("acme/lost0", 1)) != nil {
			t.Error("it was not restored")
		}
		if next := g.take("n3", "acme/next"); next.Epoch <= last.Epoch || !res.Token.Less(next) {
			t.Errorf("token %s after %s and the restore's %s", next, last, res.Token)
		}
		mustAgree(t, c)
	})
}

// grants are the locks that were granted, by their tokens.
type grants struct {
	t  *testing.T
	c  *clustertest.Cluster
	mu sync.Mutex
	of map[lockcluster.Token]string
}

func (g *grants) take(id, repo string) lockcluster.Token {
	res, err := g.c.Node(id).Do(g.t.Context(), lockcluster.RequestID{}, acquire(repo, 1))
	for errors.Is(err, lockcluster.ErrOverloaded) {
		time.Sleep(time.Millisecond) // of the bubble's time
		res, err = g.c.Node(id).Do(g.t.Context(), lockcluster.RequestID{}, acquire(repo, 1))
	}
	if err != nil || res.Status != lockcluster.StatusGranted {
		g.t.Errorf("%s on %s: %s, %v", repo, id, res.Status, err)
		return lockcluster.Token{}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if was := g.of[res.Token]; was != "" {
		g.t.Errorf("token %s was granted for %s and for %s", res.Token, was, repo)
	}
	g.of[res.Token] = repo
	return res.Token
}
