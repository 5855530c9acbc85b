package system

import (
	"context"
	"errors"
	"fmt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/rpc"
)

// grpcSystem is our Go client: unary calls, lists as a stream.
type grpcSystem struct{ cluster *Cluster }

func (s *grpcSystem) Name() string           { return "lockcluster-grpc" }
func (s *grpcSystem) Deployment() Deployment { return s.cluster }
func (s *grpcSystem) Describe() string {
	return "our Go client: TryLock = Acquire, Unlock = Release guarded by the fencing token, Get, List as a stream, each once and for all by its request id; follows the leader, 16 clients a connection"
}

// Open makes two [rpc.Client] with one connection each for every 32 clients, so
// that 16 share a connection: one whose answers carry values, for the holder's
// bytes and for reads, and one without, for Unlock, which wants none.
func (s *grpcSystem) Open(ctx context.Context, n int) ([]Client, func() error, error) {
	var conns []*rpc.Client
	closeAll := func() error {
		var errs []error
		for _, c := range conns {
			errs = append(errs, c.Close())
		}
		return errors.Join(errs...)
	}
	dial := func(values bool) (*rpc.Client, error) {
		c, err := s.cluster.Dial(rpc.ClientConfig{Connections: 1, WithValues: values})
		if err != nil {
			return nil, err
		}
		conns = append(conns, c)
		// From the first answer on it knows the leader; listings do not teach it.
		for range 2 {
			if _, _, err := c.GetLock(ctx, lockcluster.DefaultNamespace, "acme/nothing/./default/"); err != nil {
				return nil, fmt.Errorf("connect: %w", err)
			}
		}
		return c, nil
	}
	clients := make([]Client, n)
	var with, without *rpc.Client
	for i := range clients {
		if i%(2*clientsPerConn) == 0 {
			var err, err2 error
			with, err = dial(true)
			without, err2 = dial(false)
			if err := errors.Join(err, err2); err != nil {
				return nil, nil, errors.Join(err, closeAll())
			}
		}
		clients[i] = &grpcClient{with: with, without: without, taken: map[string]lockcluster.Token{}}
	}
	return clients, closeAll, nil
}

type grpcClient struct {
	with, without *rpc.Client // values in answers

	taken map[string]lockcluster.Token // by key text
}

// Acquire returns the request that takes the lock.
func (l *Lock) Acquire() lockcluster.Acquire {
	return lockcluster.Acquire{
		Key:   lockcluster.Key{Namespace: lockcluster.DefaultNamespace, Repo: l.Repo, Path: l.Path, Workspace: l.Workspace},
		Owner: lockcluster.Owner{Host: Host, Repo: l.Repo, Pull: l.Pull}, User: l.User, Value: l.Value,
	}
}

func (c *grpcClient) TryLock(ctx context.Context, l *Lock) (acquired bool, holder []byte, err error) {
	res, err := c.with.Do(ctx, lockcluster.RequestID{}, l.Acquire())
	switch {
	case err != nil:
		return false, nil, err
	case res.Lock == nil:
		return false, nil, fmt.Errorf("TryLock was answered %q, without a lock", res.Status)
	case res.Status == lockcluster.StatusGranted:
		c.taken[l.text] = res.Lock.Token
		return true, nil, nil
	}
	return false, res.Lock.Value, nil
}

func (c *grpcClient) Unlock(ctx context.Context, l *Lock) (bool, error) {
	token, ok := c.taken[l.text]
	if !ok {
		return false, nil
	}
	res, err := c.without.Do(ctx, lockcluster.RequestID{}, lockcluster.Release{
		Namespace: lockcluster.DefaultNamespace, Text: l.text, Guard: lockcluster.Guard{Token: token},
	})
	if err != nil {
		return false, err
	}
	delete(c.taken, l.text)
	return res.Status == lockcluster.StatusReleased, nil
}

func (c *grpcClient) Get(ctx context.Context, l *Lock) ([]byte, error) {
	lock, _, err := c.with.GetLock(ctx, lockcluster.DefaultNamespace, l.text)
	if err != nil || lock == nil {
		return nil, err
	}
	return lock.Value, nil
}

func (c *grpcClient) List(ctx context.Context, repo string) (Listing, error) {
	var got Listing
	for lock, err := range c.with.ListLocks(ctx, rpc.LockFilter{Repo: repo}) {
		if err != nil {
			return got, err
		}
		got.Locks++
		got.Bytes += len(lock.Value)
	}
	return got, nil
}
