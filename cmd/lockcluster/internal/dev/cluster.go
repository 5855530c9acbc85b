package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lockcluster/lockcluster/cluster"
)

// Time limits.
const (
	startTimeout = 60 * time.Second
	stopTimeout  = 20 * time.Second // of a node that was asked to stop; then it is killed
	probeTimeout = 2 * time.Second
	probePause   = 100 * time.Millisecond
)

// A node that ends is started again, at most restartsMax times in
// restartsPeriod: one that cannot run shall not keep the machine busy.
const (
	restartsMax    = 5
	restartsPeriod = time.Minute
	restartPause   = 2 * time.Second // a person sees the others go on
)

// Cluster is a running cluster.
type Cluster struct {
	Dir string // where the data is

	options   Options
	temporary bool
	lock      *os.File
	starter   *starter
	notify    func(string)  // tells the user, one line
	eventsC   chan *process // have ended
	restartsC chan *process // to be replaced now
	removed   int           // nodes that are no members any more; of Run

	mu       sync.Mutex // guards what follows
	procs    []*process // by node
	restarts map[string][]time.Time
	stopping bool
}

// Start starts the nodes and waits until all of them serve. notify tells the
// user what happens from then on, from any goroutine. If Start fails nothing
// keeps running.
func Start(ctx context.Context, o Options, notify func(string)) (*Cluster, error) {
	c := &Cluster{
		options: o, notify: notify, restarts: map[string][]time.Time{},
		eventsC: make(chan *process, 2*nodesMax), restartsC: make(chan *process, nodesMax),
	}
	if err := c.prepare(); err != nil {
		return nil, err
	}
	nodes := layout(c.options, c.Dir)
	if err := c.startAll(ctx, nodes); err != nil {
		c.Stop(context.WithoutCancel(ctx))
		return nil, err
	}
	return c, nil
}

// prepare finds out whether the cluster can start, and takes its directory.
func (c *Cluster) prepare() (err error) {
	if err := c.options.Validate(); err != nil {
		return err
	}
	if c.options.LegacyBoltDB != "" { // the nodes run elsewhere
		if c.options.LegacyBoltDB, err = filepath.Abs(c.options.LegacyBoltDB); err != nil {
			return fmt.Errorf("legacy file: %w", err)
		}
	}
	nodes := layout(c.options, c.options.DataDir)
	if c.options.DataDir == "" {
		if err := checkPorts(nodes); err != nil {
			return err
		}
		c.temporary = true
		if c.Dir, err = os.MkdirTemp("", "lockcluster-dev-"); err != nil {
			return fmt.Errorf("make temporary data directory: %w", err)
		}
		c.starter = newStarter()
		return nil
	}
	if c.Dir, err = filepath.Abs(c.options.DataDir); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	nodes = layout(c.options, c.Dir)
	if err := checkDir(c.Dir); err != nil {
		return err
	}
	if err := checkRunning(nodes); err != nil {
		return err
	}
	if err := checkPorts(nodes); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if c.lock, err = claim(c.Dir); err != nil {
		return err
	}
	if err := checkShape(c.options, c.Dir); err != nil {
		_ = c.lock.Close()
		return err
	}
	c.starter = newStarter()
	return nil
}

func (c *Cluster) startAll(ctx context.Context, nodes []Node) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, n := range nodes {
		p, err := c.starter.startNode(n, nodes, c.options)
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.procs = append(c.procs, p)
		c.mu.Unlock()
		c.watch(p)
	}
	for _, n := range nodes {
		if err := c.waitReady(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// watch reports the end of a process on eventsC.
func (c *Cluster) watch(p *process) {
	go func() {
		<-p.doneC
		c.eventsC <- p
	}()
}

// waitReady waits until the node serves. A node that ends first is an error,
// unless it asks to be started again.
func (c *Cluster) waitReady(ctx context.Context, n Node) error {
	for {
		why := ready(ctx, n.HTTPAddr)
		if why == nil {
			return nil
		}
		select {
		case p := <-c.eventsC:
			if err := c.ended(p); err != nil {
				return err
			}
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("node %s does not serve after %s: %w%s", n.ID, startTimeout, why, lastLines(n.LogFile))
			}
			return errors.New("interrupted while the nodes were starting")
		case <-time.After(probePause):
		}
	}
}

// ready asks a node whether it serves.
func ready(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return nil
}

// ended handles the end of a node's process while the cluster starts: only
// one that asks for it is started again.
func (c *Cluster) ended(p *process) error {
	if p.exitCode() != cluster.ExitCodeRestart {
		return errors.New(p.obituary())
	}
	if !c.mayRestart(p.node.ID) {
		return fmt.Errorf("node %s asked for a restart %d times; see its log %s", p.node.ID, restartsMax+1, p.node.LogFile)
	}
	return c.restart(p)
}

// mayRestart reports whether a node may be started again, and counts it.
func (c *Cluster) mayRestart(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	recent := slices.DeleteFunc(c.restarts[id], func(at time.Time) bool { return now.Sub(at) > restartsPeriod })
	allowed := len(recent) < restartsMax
	if allowed {
		recent = append(recent, now)
	}
	c.restarts[id] = recent
	return allowed
}

// restart starts a node again whose process has ended.
func (c *Cluster) restart(p *process) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping {
		return nil
	}
	next, err := c.starter.startNode(p.node, layout(c.options, c.Dir), c.options)
	if err != nil {
		return err
	}
	for i := range c.procs {
		if c.procs[i] == p {
			c.procs[i] = next
		}
	}
	c.watch(next)
	c.notify(fmt.Sprintf("node %s was started again: now process %d", next.node.ID, next.node.PID))
	return nil
}

// Run watches over the nodes until ctx ends, or until none is left. A node
// that ends is started again.
func (c *Cluster) Run(ctx context.Context) error {
	pending := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-c.eventsC:
			if c.again(p) {
				pending++
				time.AfterFunc(restartPause, func() { c.restartsC <- p })
			}
		case p := <-c.restartsC:
			pending--
			if err := c.restart(p); err != nil {
				c.notify(err.Error())
			}
		}
		if c.running() == 0 && pending == 0 {
			return errors.New("all nodes have ended")
		}
	}
}

// again tells the user that a node has ended, and reports whether it is to be
// started again.
func (c *Cluster) again(p *process) bool {
	then, restart := "", false
	switch {
	case p.exitCode() == cluster.ExitCodeRemoved:
		c.removed++
		then = "it was removed from the cluster and is not started again"
	case p.exitCode() == cluster.ExitCodeDiverged:
		then = "its data cannot be trusted, so it is not started again"
	case held(p.node.DataDir):
		then = "another process uses its data directory: it is not started again"
	case !c.mayRestart(p.node.ID):
		then = fmt.Sprintf("that was too often within %s: it is not started again", restartsPeriod)
	default:
		then, restart = fmt.Sprintf("it is started again in %s", restartPause), true
	}
	left, all := c.running(), c.options.Nodes-c.removed
	c.notify(fmt.Sprintf("%s\n%d of %d nodes go on%s; node %s: %s", p.obituary(), left, all, quorum(left, all), p.node.ID, then))
	return restart
}

func quorum(left, all int) string {
	if left > all/2 {
		return ""
	}
	return ", too few to decide anything"
}

// Nodes returns the nodes with their processes.
func (c *Cluster) Nodes() []Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	var nodes []Node
	for _, p := range c.procs {
		nodes = append(nodes, p.node)
	}
	return nodes
}

func (c *Cluster) running() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, p := range c.procs {
		select {
		case <-p.doneC:
		default:
			n++
		}
	}
	return n
}

// Stop asks all nodes to stop and waits for them. When ctx ends, or a node
// takes longer than it may, it kills them. A temporary directory is removed.
func (c *Cluster) Stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	c.mu.Lock()
	c.stopping = true
	procs := c.procs
	c.mu.Unlock()
	for _, p := range procs {
		p.signal(syscall.SIGTERM)
	}
	for _, p := range procs {
		select {
		case <-p.doneC:
		case <-ctx.Done():
			c.notify(fmt.Sprintf("node %s (process %d) does not stop and is killed", p.node.ID, p.node.PID))
			p.signal(syscall.SIGKILL)
			<-p.doneC
		}
	}
	c.starter.close()
	if c.lock != nil {
		_ = c.lock.Close()
	}
	if c.temporary {
		c.remove()
	}
}

// remove removes the temporary directory, unless a node runs in it that was
// started by someone else: all its locks would be gone.
func (c *Cluster) remove() {
	for _, n := range layout(c.options, c.Dir) {
		lock, free := lockNode(n.DataDir)
		if !free {
			c.notify(fmt.Sprintf("another process runs node %s in %s: the data of all nodes is kept; stop that process, then remove %s", n.ID, n.DataDir, c.Dir))
			return
		}
		if lock != nil { // kept until the directory is gone
			defer func() { _ = lock.Close() }()
		}
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		c.notify("remove temporary data: " + err.Error())
	}
}

// lastLines returns the end of a node's log, to print below an error.
func lastLines(path string) string {
	const bytesMax, linesMax = 4 << 10, 5
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil && info.Size() > bytesMax {
		if _, err := f.Seek(-bytesMax, io.SeekEnd); err != nil {
			return ""
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, bytesMax))
	if err != nil || len(b) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) > linesMax {
		lines = lines[len(lines)-linesMax:]
	}
	return "; the end of its log " + path + ":\n  " + strings.Join(lines, "\n  ")
}
