package resp

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockcluster/lockcluster/compat/resp/script"
)

// Server is the Redis door. Use [Open].
type Server struct {
	cfg      Config
	sys      System
	log      *slog.Logger
	metrics  *metrics
	table    commandTable
	scripts  *scriptCache
	ln       net.Listener
	started  time.Time
	runID    string // names this run of the server, 40 hex digits as in Redis
	budget   budget
	memory   script.Budget
	waiting  waiting           // GETs that wait for somebody's SET
	readings readings          // what pools of connections have read
	stripes  [64]chan struct{} // transactions that met a conflict take turns, by key

	ctx    context.Context // ends when the server is closed by force
	cancel context.CancelFunc
	wg     sync.WaitGroup

	stopping atomic.Bool
	nextConn atomic.Int64
	mu       sync.Mutex // guards conns
	conns    map[*conn]struct{}
}

// Open listens on cfg.Addr and serves sys until [Server.Close].
func Open(cfg Config, sys System) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	table := newCommandTable()
	m, err := newMetrics(cfg.Registerer, table)
	if err != nil {
		return nil, fmt.Errorf("register redis metrics: %w", err)
	}
	ln, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		m.close()
		return nil, fmt.Errorf("listen for redis clients: %w", err)
	}
	if cfg.TLS != nil {
		ln = tls.NewListener(ln, cfg.TLS)
	}
	s := &Server{
		cfg: cfg, sys: sys, log: cfg.Logger, metrics: m, table: table, ln: ln, started: time.Now(),
		runID: newRunID(), readings: readings{seen: seen[reading]{max: readingsMax}}, scripts: newScriptCache(), conns: map[*conn]struct{}{},
	}
	for i := range s.stripes {
		s.stripes[i] = make(chan struct{}, 1)
	}
	s.budget.free.Store(cfg.BufferMax)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Go(s.accept)
	s.wg.Go(s.clock)
	return s, nil
}

func newRunID() string {
	var id [20]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Close stops listening, lets requests that are running finish until ctx ends,
// and closes every connection. When it returns no goroutine is left.
func (s *Server) Close(ctx context.Context) error {
	if s.stopping.Swap(true) {
		return errors.New("redis server is closed already")
	}
	err := s.ln.Close()
	s.eachConn(func(c *conn) { c.interrupt() })
	done := make(chan struct{})
	go func() {
		s.waitForConns()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.eachConn(func(c *conn) { _ = c.net.Close() })
	}
	s.cancel()
	<-done
	s.wg.Wait()
	s.metrics.close()
	return err
}

// waitForConns returns when every connection's goroutine has ended, or the
// server was closed by force and they are about to.
func (s *Server) waitForConns() {
	tick := time.NewTicker(clockTick)
	defer tick.Stop()
	for s.connCount() > 0 && s.ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
		}
	}
}

func (s *Server) connCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *Server) eachConn(f func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		f(c)
	}
}

// acceptPauseMax bounds the pause after an error, for example too many open
// files.
const acceptPauseMax = time.Second

func (s *Server) accept() {
	pause := time.Duration(0)
	for {
		nc, err := s.ln.Accept()
		if err != nil {
			if s.stopping.Load() || errors.Is(err, net.ErrClosed) {
				return
			}
			pause = min(max(2*pause, 5*time.Millisecond), acceptPauseMax)
			s.log.Warn("accept redis connection", "err", err, "pause", pause)
			select {
			case <-time.After(pause):
			case <-s.ctx.Done():
			}
			continue
		}
		pause = 0
		s.admit(nc)
	}
}

// admit starts a connection's goroutine, unless there are too many.
func (s *Server) admit(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	full, stopping := len(s.conns) >= s.cfg.ConnsMax, s.stopping.Load()
	if !full && !stopping {
		s.conns[c] = struct{}{}
	}
	s.mu.Unlock()
	if full || stopping {
		s.metrics.rejected.Inc()
		_ = nc.SetDeadline(time.Now().Add(time.Second))
		if full && s.cfg.TLS == nil { // a handshake would hold up everybody else
			_, _ = nc.Write([]byte("-ERR max number of clients reached\r\n"))
		}
		_ = nc.Close()
		return
	}
	s.metrics.connections.Inc()
	s.wg.Go(func() {
		defer func() {
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
			s.metrics.connections.Dec()
		}()
		c.serve()
	})
}

// clock ends requests that are late and drops memory that is too old.
func (s *Server) clock() {
	tick := time.NewTicker(clockTick)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-tick.C:
			s.eachConn(func(c *conn) { c.deadline.expire(now) })
			s.memory.Check(s.cfg.ScriptMemory)
		}
	}
}

// nodes lists the cluster; without a list, this node.
func (s *Server) nodes() []Node {
	if s.cfg.Nodes != nil {
		return s.cfg.Nodes()
	}
	return []Node{{ID: "self", Addr: s.ln.Addr().String(), Leader: true, Self: true, Live: true}}
}
