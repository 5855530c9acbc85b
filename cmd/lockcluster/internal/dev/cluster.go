package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
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

// restartsMax bounds how often one node is started again at its own request.
const restartsMax = 5

// Cluster is a running cluster.
type Cluster struct {
	Dir string // where the data is

	options   Options
	temporary bool
	lock      *os.File
	starter   *starter
	notify    func(string) // tells the user, one line
	eventsC   chan *process

	mu       sync.Mutex // guards what follows
	procs    []*process // by node
	restarts map[string]int
	stopping bool
}

// Start starts the nodes and waits until all of them serve. notify tells the
// user what happens from then on, from any goroutine. If Start fails nothing
// keeps running.
func Start(ctx context.Context, o Options, notify func(string)) (*Cluster, error) {
	c := &Cluster{options: o, notify: notify, eventsC: make(chan *process, 2*nodesMax), restarts: map[string]int{}}
	if err := c.prepare(); err != nil {
		return nil, err
	}
	nodes := layout(o, c.Dir)
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

// ended handles the end of a node's process: it starts a node again that asks
// for it, and returns an error for any other that was not asked to stop.
func (c *Cluster) ended(p *process) error {
	if p.exitCode() != cluster.ExitCodeRestart {
		last := ""
		if p.exitCode() >= 0 { // by itself, so it has said why
			last = lastLines(p.node.LogFile)
		}
		return fmt.Errorf("node %s (process %d) ended: %s%s", p.node.ID, p.node.PID, p.ending(), last)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping {
		return nil
	}
	if c.restarts[p.node.ID]++; c.restarts[p.node.ID] > restartsMax {
		return fmt.Errorf("node %s asked for a restart %d times; see its log %s", p.node.ID, restartsMax+1, p.node.LogFile)
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
	c.notify(fmt.Sprintf("node %s asked to be started again: now process %d", next.node.ID, next.node.PID))
	return nil
}

// Run watches over the nodes until ctx ends, or until none is left.
func (c *Cluster) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-c.eventsC:
			if err := c.ended(p); err != nil {
				c.notify(err.Error())
			}
			left := c.running()
			if left == 0 {
				return errors.New("all nodes have ended")
			}
			if p.exitCode() != cluster.ExitCodeRestart {
				c.notify(fmt.Sprintf("%d of %d nodes go on%s; to start node %s again, type in another terminal:\n  %s",
					left, c.options.Nodes, quorum(left, c.options.Nodes), p.node.ID, c.command(p.node)))
			}
		}
	}
}

func quorum(left, all int) string {
	if left > all/2 {
		return ""
	}
	return ", too few to decide anything"
}

// command is what starts a node by hand.
func (c *Cluster) command(n Node) string {
	words := append([]string{c.options.Executable}, n.args(c.options, layout(c.options, c.Dir))...)
	for i, w := range words {
		if strings.ContainsAny(w, " \t'\"\\$&|;<>()*?!#~`") {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
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
		if err := os.RemoveAll(c.Dir); err != nil {
			c.notify("remove temporary data: " + err.Error())
		}
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
