package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	bolt "go.etcd.io/bbolt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/internal/testutil"
	"github.com/lockcluster/lockcluster/migration"
	"github.com/lockcluster/lockcluster/rpc"
)

// The kinds of legacy system.
const (
	kindBolt  = "boltdb"
	kindRedis = "redis"
)

// legacyHost is the node that has the BoltDB file.
const legacyHost = "n1"

// road is a cluster of three nodes with a legacy system attached.
type road struct {
	*Nodes
	kind   string
	file   string        // of kindBolt
	redis  *redisProcess // of kindRedis
	client *rpc.Client   // asks any node

	proxies map[string]*holdingProxy // by node id, between it and the Redis; nil: there are none
}

// startRoad starts a road in mode legacy. tags are build tags of the node, empty
// for those that users have.
func startRoad(t *testing.T, kind, tags string, env ...string) *road {
	t.Helper()
	r := &road{kind: kind}
	r.start(t, tags, env...)
	return r
}

func (r *road) start(t *testing.T, tags string, env ...string) {
	t.Helper()
	s := Setup{Nodes: 3, Tags: tags, Env: env}
	if r.kind == kindBolt {
		r.file = filepath.Join(t.TempDir(), "atlantis.db")
		newAtlantisFile(t, r.file)
		s.Args = func(id string) []string {
			if id != legacyHost {
				return nil
			}
			return []string{"--legacy-boltdb", r.file}
		}
	} else {
		r.redis = startRedis(t)
		s.Args = func(id string) []string {
			addr := r.redis.addr
			if r.proxies != nil {
				r.proxies[id] = startProxy(t, addr)
				addr = r.proxies[id].addr
			}
			return []string{"--legacy-redis", "redis://" + addr + "/0"}
		}
	}
	r.Nodes = s.Start(t)
	r.client = r.dial(t, r.GRPC()...)
	testutil.WaitFor(t, time.Minute, func() error {
		s, err := r.migration(t.Context())
		if err == nil && (s.Mode != "legacy" || !s.Ready || !s.Legacy.Reachable) {
			err = fmt.Errorf("mode %s, ready %v, legacy system %+v", s.Mode, s.Ready, s.Legacy)
		}
		return err
	})
}

func (r *road) dial(t testing.TB, endpoints ...string) *rpc.Client {
	t.Helper()
	c, err := rpc.Dial(t.Context(), rpc.ClientConfig{Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// newAtlantisFile makes the file that an Atlantis makes when it starts.
func newAtlantisFile(t testing.TB, path string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range []string{migration.BucketLocks, migration.BucketPulls, migration.BucketCommandLocks} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// migrationStatus is the part of `migration status` that tests need.
type migrationStatus struct {
	Mode       string
	Active     string `json:"active_system"`
	Epoch      uint64
	GateClosed bool `json:"gate_closed"`
	Reason     string
	Leader     string
	Ready      bool
	Legacy     struct {
		Reachable bool
		Problem   string
		systemStatus
	}
	Enhanced     systemStatus
	MirrorBehind int `json:"mirror_behind"`
	ShadowQueue  int `json:"shadow_queue"`
	Shadow       struct {
		Operations, Compared, Skipped, Outages, Total, Unexplained uint64
	}
	Mismatches []struct {
		Operation, Key, Difference string
		Legacy, Enhanced           struct{ Status string }
	}
	Switches []struct {
		From, To, Reason, Error string
		GateClosedMS            float64 `json:"gate_closed_ms"`
		Carried                 int
	}
}

type systemStatus struct {
	Locks        int
	CommandLocks int `json:"command_locks"`
	Documents    int
	Digest       string
}

// migration asks for the status of the migration.
func (r *road) migration(ctx context.Context) (s migrationStatus, err error) {
	return migrationAt(ctx, r.client)
}

func migrationAt(ctx context.Context, c *rpc.Client) (s migrationStatus, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	b, err := c.MigrationStatus(ctx)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

// mustMigration is migration for a cluster that must answer.
func (r *road) mustMigration(t testing.TB) migrationStatus {
	t.Helper()
	s, err := r.migration(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// switchTo switches to a system with the command line.
func (r *road) switchTo(t testing.TB, to string) lockcluster.SwitchResult {
	t.Helper()
	out, err := r.Run(t.Context(), "cluster", "switch", to, "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var res lockcluster.SwitchResult
	if err := json.Unmarshal(out, &res); err != nil {
		t.Fatal(err)
	}
	return res
}

// mode changes the mode with the command line.
func (r *road) mode(t testing.TB, args ...string) lockcluster.ModeResult {
	t.Helper()
	out, err := r.Run(t.Context(), append([]string{"cluster", "mode", "-o", "json"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	var res lockcluster.ModeResult
	if err := json.Unmarshal(out, &res); err != nil {
		t.Fatal(err)
	}
	return res
}

// leadBy has another node lead than the given one, and returns it.
func (r *road) leadBy(t testing.TB, not string) (leader *Node) {
	t.Helper()
	testutil.WaitFor(t, time.Minute, func() error {
		if leader = r.Leader(t); leader.ID != not {
			return nil
		}
		_, err := r.Run(t.Context(), "cluster", "transfer-leader") // to whom has caught up
		return fmt.Errorf("%s leads: %w", not, err)
	})
	return leader
}

// redisProcess is a redis-server that keeps what it has acknowledged.
type redisProcess struct {
	addr, dir string
	cmd       *exec.Cmd
	end       chan struct{}
}

// startRedis starts a redis-server that is stopped when the test ends.
func startRedis(t testing.TB) *redisProcess {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		fmt.Fprintln(os.Stderr, "NOT RUN: redis-server is not installed; `make test` installs it (apt-get install redis-server)")
		t.Skip("redis-server is not installed")
	}
	p := &redisProcess{addr: testutil.FreeAddr(t), dir: t.TempDir()}
	t.Cleanup(p.kill)
	p.start(t)
	return p
}

func (p *redisProcess) start(t testing.TB) {
	t.Helper()
	_, port, _ := strings.Cut(p.addr, ":")
	p.cmd = exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes",
		"--appendfsync", "always", "--dir", p.dir)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end, cmd := make(chan struct{}), p.cmd
	go func() {
		_ = cmd.Wait()
		close(end)
	}()
	p.end = end
	c := redis.NewClient(&redis.Options{Addr: p.addr, DisableIdentity: true})
	defer c.Close()
	testutil.WaitFor(t, 30*time.Second, func() error { return c.Ping(t.Context()).Err() })
}

func (p *redisProcess) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		<-p.end
	}
}
