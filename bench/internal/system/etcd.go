package system

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/lockcluster/lockcluster/bench/internal/proc"
)

// etcdCluster is three etcd nodes with default timers and fsync.
type etcdCluster struct {
	path      string
	procs     []*proc.Process
	endpoints []string
}

// NewEtcd returns the deployment of three etcd nodes and the system on it.
func NewEtcd() System { return &etcd{cluster: &etcdCluster{}} }

type etcd struct{ cluster *etcdCluster }

func (e *etcd) Name() string           { return "etcd" }
func (e *etcd) Deployment() Deployment { return e.cluster }
func (e *etcd) Describe() string {
	return "TryLock = Txn(create revision 0: put, else get); Unlock = Txn(my revision: delete); linearizable Get; clients on the leader, 16 a connection"
}

func (c *etcdCluster) Name() string { return "etcd" }

func (c *etcdCluster) Check() error {
	path, err := needProgram("etcd", "on Debian or Ubuntu: apt-get install etcd-server")
	c.path = path
	return err
}

func (c *etcdCluster) Describe() string {
	return version(c.path, "--version") + ", 3 nodes, default timers, fsync on, quota 8 GiB"
}

func (c *etcdCluster) Start(ctx context.Context, dir string) error {
	addrs, err := proc.FreeAddrs(6)
	if err != nil {
		return err
	}
	var initial []string
	for i := range 3 {
		initial = append(initial, fmt.Sprintf("e%d=http://%s", i+1, addrs[3+i]))
	}
	for i := range 3 {
		name, client, raft := fmt.Sprintf("e%d", i+1), "http://"+addrs[i], "http://"+addrs[3+i]
		p, err := proc.Start("etcd-"+name, filepath.Join(dir, name), c.path,
			"--name", name, "--data-dir", filepath.Join(dir, name, "data"),
			"--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", raft, "--initial-advertise-peer-urls", raft,
			"--initial-cluster", strings.Join(initial, ","), "--initial-cluster-state", "new",
			"--initial-cluster-token", "lockbench", "--quota-backend-bytes", fmt.Sprint(8<<30))
		if err != nil {
			return err
		}
		c.procs = append(c.procs, p)
		c.endpoints = append(c.endpoints, addrs[i])
	}
	return waitFor(ctx, "etcd", func(context.Context) error { return c.Alive() }, func(ctx context.Context) error {
		_, err := c.leader(ctx)
		return err
	})
}

func (c *etcdCluster) Alive() error               { return alive(c.procs) }
func (c *etcdCluster) Processes() []*proc.Process { return c.procs }

func (c *etcdCluster) Stop() error {
	err := proc.StopAll(c.procs, 10*time.Second)
	c.procs = nil
	return err
}

func dialEtcd(endpoints ...string) (*clientv3.Client, error) {
	cl, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	return cl, nil
}

// leader returns the endpoint of the leader.
func (c *etcdCluster) leader(ctx context.Context) (string, error) {
	cl, err := dialEtcd(c.endpoints...)
	if err != nil {
		return "", err
	}
	defer cl.Close()
	var errs []error
	for _, ep := range c.endpoints {
		st, err := cl.Status(ctx, ep)
		switch {
		case err != nil:
			errs = append(errs, err)
		case st.Leader != 0 && st.Leader == st.Header.MemberId:
			return ep, nil
		}
	}
	return "", fmt.Errorf("find etcd's leader: none of %v leads: %w", c.endpoints, errors.Join(errs...))
}

func (c *etcdCluster) Load(ctx context.Context, locks []*Lock) error {
	ep, err := c.leader(ctx)
	if err != nil {
		return err
	}
	cl, err := dialEtcd(ep)
	if err != nil {
		return err
	}
	defer cl.Close()
	// Slowly: etcd keeps a buffer as large as the largest number of writes that
	// ever came within 100 ms, and copies it for every read and transaction. A
	// quick load doubles what each costs for good.
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	return inParallel(ctx, locks, 1, 20, func(ctx context.Context, _ int, part []*Lock) error {
		<-pace.C
		ops := make([]clientv3.Op, len(part))
		for i, l := range part {
			ops[i] = clientv3.OpPut(redisKey(l), string(l.Value))
		}
		_, err := cl.Txn(ctx).Then(ops...).Commit()
		return err
	})
}

func (e *etcd) Open(ctx context.Context, n int) ([]Client, func() error, error) {
	ep, err := e.cluster.leader(ctx)
	if err != nil {
		return nil, nil, err
	}
	var conns []*clientv3.Client
	closeAll := func() error {
		var errs []error
		for _, c := range conns {
			errs = append(errs, c.Close())
		}
		return errors.Join(errs...)
	}
	clients := make([]Client, n)
	for i := range clients {
		if i%clientsPerConn == 0 {
			conn, err := dialEtcd(ep)
			if err != nil {
				return nil, nil, errors.Join(err, closeAll())
			}
			conns = append(conns, conn)
		}
		clients[i] = &etcdClient{c: conns[len(conns)-1], taken: map[string]int64{}}
	}
	return clients, closeAll, nil
}

type etcdClient struct {
	c     *clientv3.Client
	taken map[string]int64 // revision at which this client took a lock
}

func (c *etcdClient) TryLock(ctx context.Context, l *Lock) (bool, []byte, error) {
	key := redisKey(l)
	resp, err := c.c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, string(l.Value))).Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		return false, nil, err
	}
	if resp.Succeeded {
		c.taken[key] = resp.Header.Revision
		return true, nil, nil
	}
	kvs := resp.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 {
		return false, nil, errors.New("etcd refused the lock but shows no holder")
	}
	return false, kvs[0].Value, nil
}

func (c *etcdClient) Unlock(ctx context.Context, l *Lock) (bool, error) {
	key := redisKey(l)
	resp, err := c.c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", c.taken[key])).
		Then(clientv3.OpDelete(key)).Commit()
	if err != nil {
		return false, err
	}
	delete(c.taken, key)
	return resp.Succeeded, nil
}

func (c *etcdClient) Get(ctx context.Context, l *Lock) ([]byte, error) {
	resp, err := c.c.Get(ctx, redisKey(l))
	if err != nil || len(resp.Kvs) == 0 {
		return nil, err
	}
	return resp.Kvs[0].Value, nil
}

func (c *etcdClient) List(ctx context.Context, repo string) (Listing, error) {
	resp, err := c.c.Get(ctx, redisPrefix(repo), clientv3.WithPrefix())
	if err != nil {
		return Listing{}, err
	}
	var got Listing
	for _, kv := range resp.Kvs {
		got.Locks++
		got.Bytes += len(kv.Value)
	}
	return got, nil
}
