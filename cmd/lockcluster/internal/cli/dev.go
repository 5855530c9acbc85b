package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lockcluster/lockcluster/cmd/lockcluster/internal/dev"
	"github.com/lockcluster/lockcluster/migration"
	"github.com/lockcluster/lockcluster/rpc"
)

const (
	devNodes    = 3
	devBasePort = 7000
)

func (a *app) devCommand() *cobra.Command {
	o := dev.Options{Environ: a.environ}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster on this machine",
		Long: `dev starts the nodes of a cluster as separate processes on this machine, waits
until they serve, says what to type next, starts a node again that ends, and
stops them all on Ctrl-C. Node i (from 1) listens on 127.0.0.1, with P the base port: Raft on P+i, gRPC on P+100+i,
HTTP on P+200+i, the Redis protocol on P+300+i.

Without --data-dir the data is removed at the end. With it, DIR/<id>/ holds the
data of node <id>, its process id (pid) and what it logs (log); the next start on
DIR finds every lock again.`,
		Example: `  lockcluster dev
  lockcluster dev --data-dir ./locks --nodes 5`,
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.dev(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.IntVar(&o.Nodes, "nodes", devNodes, "how many nodes")
	f.StringVar(&o.DataDir, "data-dir", "", "directory to keep the data in; removed at the end if not given")
	f.IntVar(&o.BasePort, "base-port", devBasePort, "`port` from which the nodes' ports are counted")
	f.StringVar(&o.LogStore, "log-store", "wal", "how the nodes keep the Raft log: wal or boltdb")
	f.StringVar(&o.LegacyBoltDB, "legacy-boltdb", "", "Atlantis's own `file` atlantis.db as the legacy system, served by node n1; stop that Atlantis first")
	return cmd
}

func (a *app) dev(ctx context.Context, o dev.Options) error {
	if err := o.Validate(); err != nil {
		return usagef("%w", err)
	}
	if err := checkLegacyFile(ctx, o.LegacyBoltDB); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	o.Executable = exe

	// The first signal asks the nodes to stop, the second one kills them.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	runCtx, stop := context.WithCancel(ctx)
	killCtx, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer kill()
	if byGoRun(exe) {
		go stopWithParent(runCtx, stop)
	}
	go func() {
		for _, f := range []func(){stop, kill} {
			select {
			case <-signals:
				f()
			case <-killCtx.Done():
				return
			}
		}
	}()

	say(a.Err, "starting %d nodes on this machine ...\n", o.Nodes)
	c, err := dev.Start(runCtx, o, func(text string) { say(a.Err, "%s\n", text) })
	if err != nil {
		return err
	}
	err = a.printDev(runCtx, o, c)
	if err == nil {
		err = c.Run(runCtx)
	}
	say(a.Err, "stopping the nodes ...\n")
	c.Stop(killCtx)
	return err
}

// checkLegacyFile refuses what node n1 could not serve as the legacy system: a node
// starts without its old store, which may come back, and waits for it without end.
func checkLegacyFile(ctx context.Context, file string) error {
	if file == "" {
		return nil
	}
	_, _, err := migration.ReadOrigin(ctx, migration.Origin{File: file})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return usagef("--legacy-boltdb %s: there is no such file; name the atlantis.db that an Atlantis has made, or leave --legacy-boltdb out", file)
	case err != nil:
		return usagef("--legacy-boltdb: %w; name the atlantis.db of an Atlantis that is stopped, or leave --legacy-boltdb out", err)
	}
	return nil
}

// printDev says what runs and what to type next.
func (a *app) printDev(ctx context.Context, o dev.Options, c *dev.Cluster) error {
	answer := struct {
		Leader  string     `json:"leader"`
		DataDir string     `json:"data_dir"`
		Nodes   []dev.Node `json:"nodes"`
	}{a.devLeader(ctx, c), c.Dir, c.Nodes()}
	return a.print(answer, func(w io.Writer) error {
		t := newTable(w, "NODE", "ROLE", "PID", "RAFT", "GRPC", "HTTP", "REDIS")
		for _, n := range answer.Nodes {
			role := "follower"
			if n.ID == answer.Leader {
				role = "leader"
			}
			t.row(n.ID, role, fmt.Sprint(n.PID), n.RaftAddr, n.GRPCAddr, n.HTTPAddr, n.RESPAddr)
		}
		if err := t.flush(); err != nil {
			return err
		}
		_, err := io.WriteString(w, devNextSteps(o, c.Dir))
		return err
	})
}

// Bounds of the wait until every node has made itself known.
const (
	devSettleTimeout = 20 * time.Second
	devSettlePause   = 50 * time.Millisecond
)

// devLeader waits until every node knows the leader and all others, and returns
// who leads; empty if that cannot be told in time.
func (a *app) devLeader(ctx context.Context, c *dev.Cluster) (leader string) {
	ctx, cancel := context.WithTimeout(ctx, devSettleTimeout)
	defer cancel()
	for _, n := range c.Nodes() {
		client, err := rpc.Dial(ctx, rpc.ClientConfig{Endpoints: []string{n.GRPCAddr}})
		if err != nil {
			return ""
		}
		leader = settled(ctx, client)
		_ = client.Close()
	}
	return leader
}

// settled waits until one node knows the leader and can reach all others.
func settled(ctx context.Context, client *rpc.Client) (leader string) {
	for {
		s, err := client.Status(ctx, false)
		if err == nil && s.Leader != "" && !slices.ContainsFunc(s.Members, func(m rpc.MemberStatus) bool { return !m.Reachable }) {
			return s.Leader
		}
		select {
		case <-time.After(devSettlePause):
		case <-ctx.Done():
			return s.Leader
		}
	}
}

// devNextSteps is what to type next.
func devNextSteps(o dev.Options, dir string) string {
	self, endpoints := selfCommand(o.Executable, os.Args[0]), ""
	addrs := dev.GRPCAddrs(o.BasePort, o.Nodes)
	if o.BasePort != devBasePort || o.Nodes < devNodes {
		endpoints = " --endpoints " + strings.Join(addrs, ",")
	}
	kept := "it is removed at the end; keep it with --data-dir DIR"
	if o.DataDir != "" {
		kept = "it is kept"
	}
	redis := o.BasePort + 301
	return fmt.Sprintf(`
data and logs: %s (%s)

Point Atlantis at any node, it takes it for its Redis:
  atlantis server --locking-db-type=redis --redis-host=127.0.0.1 --redis-port=%d ...

Look at the cluster and its locks:
  %s cluster status%s
  %[4]s locks list%[5]s
  %[4]s locks acquire acme/infra/./default/ --pull 1 --user ann%[5]s
  redis-cli -p %[3]d keys '*'

Stop everything with Ctrl-C.
`, dir, kept, redis, self, endpoints)
}

// byGoRun reports whether "go run" has built and started this program.
func byGoRun(executable string) bool {
	return slices.ContainsFunc(strings.Split(filepath.ToSlash(executable), "/"),
		func(part string) bool { return strings.HasPrefix(part, "go-build") })
}

// stopWithParent stops when the parent has gone: "go run" passes no signal on
// when it is told to end itself.
func stopWithParent(ctx context.Context, stop func()) {
	parent := os.Getppid()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for os.Getppid() == parent {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	stop()
}

// selfCommand returns how this program was called, for the user to repeat.
func selfCommand(executable, arg0 string) string {
	if byGoRun(executable) {
		return "go run ./cmd/lockcluster"
	}
	return arg0
}
