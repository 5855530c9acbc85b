package system

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster/bench/internal/proc"
)

// redisKey is the key under which Atlantis keeps a lock in Redis; etcd uses
// the same, so that keys are equally long.
func redisKey(l *Lock) string { return "pr/" + l.Text() }

func redisPrefix(repo string) string { return "pr/" + repo + "/" }

// redisServer is one redis-server that syncs its log at every write.
type redisServer struct {
	path string
	proc *proc.Process
	addr string
}

// NewRedis returns two systems on one redis-server: with atomic commands, and
// as Atlantis uses it.
func NewRedis() (atomic, asAtlantis System) {
	d := &redisServer{}
	return &redisSystem{name: "redis", deployment: d, addr: d.address, dialect: redisAtomic},
		&redisSystem{name: "redis-atlantis", deployment: d, addr: d.address, dialect: redisAsAtlantis}
}

func (d *redisServer) Name() string { return "redis" }

func (d *redisServer) Check() error {
	path, err := needProgram("redis-server", "on Debian or Ubuntu: apt-get install redis-server")
	d.path = path
	return err
}

func (d *redisServer) Describe() string {
	return version(d.path, "--version") + ", 1 node without replica, appendonly yes, appendfsync always, RDB off"
}

func (d *redisServer) address(context.Context) (string, error) { return d.addr, nil }

func (d *redisServer) Start(ctx context.Context, dir string) error {
	addrs, err := proc.FreeAddrs(1)
	if err != nil {
		return err
	}
	d.addr = addrs[0]
	host, port, err := net.SplitHostPort(d.addr)
	if err != nil {
		return fmt.Errorf("split the address of redis: %w", err)
	}
	d.proc, err = proc.Start("redis", dir, d.path, "--bind", host, "--port", port, "--dir", filepath.Clean(dir),
		"--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no")
	if err != nil {
		return err
	}
	c := redis.NewClient(&redis.Options{Addr: d.addr})
	defer c.Close()
	return waitFor(ctx, "redis", func(context.Context) error { return d.Alive() }, func(ctx context.Context) error {
		return c.Ping(ctx).Err()
	})
}

func (d *redisServer) Alive() error               { return alive(d.Processes()) }
func (d *redisServer) Processes() []*proc.Process { return []*proc.Process{d.proc} }

func (d *redisServer) Stop() error {
	if d.proc == nil {
		return nil
	}
	return d.proc.Stop(10 * time.Second)
}

func (d *redisServer) Load(ctx context.Context, locks []*Lock) error {
	return loadByRedis(ctx, d.addr, locks, 500)
}

// loadByRedis sends pipelines of SETs over a few connections.
func loadByRedis(ctx context.Context, addr string, locks []*Lock, batch int) error {
	c := redis.NewClient(&redis.Options{Addr: addr, ReadTimeout: time.Minute, WriteTimeout: time.Minute, MaxRetries: -1})
	defer c.Close()
	return inParallel(ctx, locks, 4, batch, func(ctx context.Context, _ int, part []*Lock) error {
		_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, l := range part {
				p.Set(ctx, redisKey(l), l.Value, 0)
			}
			return nil
		})
		return err
	})
}

// alive returns how the first ended process ended.
func alive(ps []*proc.Process) error {
	for _, p := range ps {
		if err := p.Err(); err != nil {
			return err
		}
	}
	return nil
}

// redisDialect is how a lock is taken and released over the Redis protocol.
type redisDialect int

const (
	redisAtomic     redisDialect = iota + 1 // SET NX GET; compare and delete in a script
	redisAsAtlantis                         // GET then SET; GET then DEL
	redisDoor                               // SET NX GET; DEL that our door restricts to what the connection has taken or seen
)

// unlockScript deletes a key only if it still holds the caller's bytes.
var unlockScript = redis.NewScript(`if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`)

// redisSystem speaks the Redis protocol with whoever listens at addr.
type redisSystem struct {
	name       string
	deployment Deployment
	addr       func(context.Context) (string, error)
	dialect    redisDialect
}

func (s *redisSystem) Name() string           { return s.name }
func (s *redisSystem) Deployment() Deployment { return s.deployment }

func (s *redisSystem) Describe() string {
	const rest = "; GET; SCAN and MGET; one connection a client"
	switch s.dialect {
	case redisAtomic:
		return "TryLock = SET NX GET; Unlock = script (compare, delete)" + rest
	case redisDoor:
		return "TryLock = SET NX GET; Unlock = DEL of exactly what this connection has taken" + rest
	default:
		return "as Atlantis does: TryLock = GET, SET; Unlock = GET, decode, DEL" + rest
	}
}

func (s *redisSystem) Open(ctx context.Context, n int) ([]Client, func() error, error) {
	addr, err := s.addr(ctx)
	if err != nil {
		return nil, nil, err
	}
	c := redis.NewClient(&redis.Options{
		Addr: addr, PoolSize: n, MaxRetries: -1, DialTimeout: 5 * time.Second,
		ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
	})
	clients := make([]Client, n)
	var conns []*redis.Conn
	closeAll := func() error {
		var errs []error
		for _, conn := range conns {
			errs = append(errs, conn.Close())
		}
		return errors.Join(append(errs, c.Close())...)
	}
	for i := range clients {
		conn := c.Conn()
		conns = append(conns, conn)
		if err := conn.Ping(ctx).Err(); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("connect to %s: %w", s.name, err), closeAll())
		}
		clients[i] = &redisClient{c: conn, dialect: s.dialect}
	}
	return clients, closeAll, nil
}

type redisClient struct {
	c       *redis.Conn
	dialect redisDialect
}

func (c *redisClient) TryLock(ctx context.Context, l *Lock) (bool, []byte, error) {
	key := redisKey(l)
	if c.dialect != redisAsAtlantis {
		holder, err := c.c.SetArgs(ctx, key, l.Value, redis.SetArgs{Mode: "NX", Get: true}).Result()
		if errors.Is(err, redis.Nil) {
			return true, nil, nil // there was nobody
		}
		return false, []byte(holder), err
	}
	holder, err := c.Get(ctx, l)
	if err != nil || holder != nil {
		return false, holder, err
	}
	if err := c.c.Set(ctx, key, l.Value, 0).Err(); err != nil {
		return false, nil, err
	}
	return true, nil, nil
}

func (c *redisClient) Unlock(ctx context.Context, l *Lock) (bool, error) {
	key := redisKey(l)
	switch c.dialect {
	case redisAtomic:
		n, err := unlockScript.Run(ctx, c.c, []string{key}, l.Value).Int()
		return n == 1, err
	case redisAsAtlantis:
		holder, err := c.Get(ctx, l)
		if err != nil || holder == nil {
			return false, err
		}
		if err := decode(holder); err != nil {
			return false, err
		}
	}
	n, err := c.c.Del(ctx, key).Result()
	return n == 1, err
}

func (c *redisClient) Get(ctx context.Context, l *Lock) ([]byte, error) {
	value, err := c.c.Get(ctx, redisKey(l)).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return value, err
}

// listBatch is how many keys one SCAN asks for, and one MGET: our door takes
// commands of at most 1000 words.
const listBatch = 999

func (c *redisClient) List(ctx context.Context, repo string) (Listing, error) {
	var got Listing
	var cursor uint64
	for {
		keys, next, err := c.c.Scan(ctx, cursor, redisPrefix(repo)+"*", listBatch).Result()
		if err != nil {
			return got, err
		}
		for len(keys) > 0 {
			n := min(len(keys), listBatch)
			values, err := c.c.MGet(ctx, keys[:n]...).Result()
			if err != nil {
				return got, err
			}
			for _, v := range values {
				if s, ok := v.(string); ok {
					got.Locks++
					got.Bytes += len(s)
				}
			}
			keys = keys[n:]
		}
		if cursor = next; cursor == 0 {
			return got, nil
		}
	}
}
