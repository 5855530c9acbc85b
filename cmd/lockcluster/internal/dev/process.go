package dev

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// starter starts processes from one thread that lives as long as the cluster:
// the kernel sends the parent-death signal when the thread that started a
// process ends, and Go ends threads as it likes.
type starter struct {
	requests chan func()
}

func newStarter() *starter {
	s := &starter{requests: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for f := range s.requests {
			f()
		}
	}()
	return s
}

func (s *starter) start(cmd *exec.Cmd) error {
	errC := make(chan error, 1)
	s.requests <- func() { errC <- cmd.Start() }
	return <-errC
}

// close ends the thread. Only after all processes have ended.
func (s *starter) close() { close(s.requests) }

// process is a running node.
type process struct {
	node  Node
	cmd   *exec.Cmd
	doneC chan struct{} // closed when it has ended
	err   error         // how it ended; read after doneC
}

// startNode starts a node's process, with its log appended to its file.
func (s *starter) startNode(n Node, all []Node, o Options) (*process, error) {
	if err := os.MkdirAll(n.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of node %s: %w", n.ID, err)
	}
	log, err := os.OpenFile(n.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log of node %s: %w", n.ID, err)
	}
	defer func() { _ = log.Close() }() // the process has its own
	cmd := exec.Command(o.Executable, n.args(o, all)...)
	cmd.Env = withoutSettings(o.Environ)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = sysProcAttr()
	if err := s.start(cmd); err != nil {
		return nil, fmt.Errorf("start node %s: %w", n.ID, err)
	}
	n.PID = cmd.Process.Pid
	p := &process{node: n, cmd: cmd, doneC: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		_ = os.Remove(n.pidFile())
		close(p.doneC)
	}()
	if err := os.WriteFile(n.pidFile(), []byte(strconv.Itoa(n.PID)+"\n"), 0o600); err != nil {
		p.signal(syscall.SIGKILL)
		<-p.doneC
		return nil, fmt.Errorf("write pid of node %s: %w", n.ID, err)
	}
	return p, nil
}

// withoutSettings removes LOCKCLUSTER_* variables: what is meant for one node
// would reach all.
func withoutSettings(environ []string) []string {
	var kept []string
	for _, e := range environ {
		if !strings.HasPrefix(e, "LOCKCLUSTER_") {
			kept = append(kept, e)
		}
	}
	return kept
}

func (p *process) signal(s os.Signal) {
	// The only error is that it has ended, which doneC tells.
	_ = p.cmd.Process.Signal(s)
}

// exitCode returns the code that an ended process left with, -1 if a signal
// ended it.
func (p *process) exitCode() int { return p.cmd.ProcessState.ExitCode() }

// ending says how the process ended, for a person.
func (p *process) ending() string {
	var exit *exec.ExitError
	switch {
	case p.err == nil:
		return "exit code 0"
	case errors.As(p.err, &exit):
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return "killed by signal " + ws.Signal().String()
		}
		return fmt.Sprintf("exit code %d", exit.ExitCode())
	}
	return p.err.Error()
}

// obituary says how the process ended, and why as far as its log tells.
func (p *process) obituary() string {
	last := ""
	if p.exitCode() >= 0 { // by itself, so it has said why
		last = lastLines(p.node.LogFile)
	}
	return fmt.Sprintf("node %s (process %d) ended: %s%s", p.node.ID, p.node.PID, p.ending(), last)
}
