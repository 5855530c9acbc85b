package resp

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidwall/redcon"

	"github.com/lockcluster/lockcluster"
)

// conn is one connection. Its own goroutine uses everything but deadline, which
// the server's clock looks at too.
type conn struct {
	s    *Server
	net  net.Conn
	host string // address without port
	id   int64
	born time.Time

	guard  guard
	in     *bufio.Reader
	reader *redcon.Reader
	out    writer

	deadline deadline
	request  timed     // the context of the request that is running
	now      time.Time // when it began

	authenticated bool
	closing       bool // after the answers that are gathered
	db            int
	namespace     string
	name          string
	libName       string
	libVersion    string
	goRedis       bool // by libName; Atlantis's client
	lastCommand   string

	seen seen[name]

	get getter // scratch of the commonest command

	interrupted atomic.Bool // no further request shall be read
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		s: s, net: nc, id: s.nextConn.Add(1), born: time.Now(),
		authenticated: s.cfg.Password == "", namespace: lockcluster.DefaultNamespace,
		seen: newSeen(), host: hostOf(nc.RemoteAddr()),
	}
	c.guard = guard{
		r: nc, sizeMax: s.cfg.ValueSizeMax, argsMax: s.cfg.ArgsMax, budget: &s.budget, authenticated: c.authenticated,
	}
	c.in = bufio.NewReader(&c.guard)
	c.reader = redcon.NewReader(c.in)
	c.out = writer{conn: nc, limit: s.cfg.WriteLimit}
	c.deadline.parent = s.ctx
	c.get.bind(c)
	return c
}

// loginLimit is how long a connection may stay without AUTH.
const loginLimit = 30 * time.Second

// login lets the connection in.
func (c *conn) login() {
	if c.authenticated {
		return
	}
	c.authenticated, c.guard.authenticated = true, true
	_ = c.net.SetReadDeadline(time.Time{})
	if c.interrupted.Load() {
		c.interrupt()
	}
}

// logout makes it unknown again, if there is a password.
func (c *conn) logout() {
	if c.s.cfg.Password == "" {
		return
	}
	c.authenticated, c.guard.authenticated = false, false
	_ = c.net.SetReadDeadline(time.Now().Add(loginLimit))
	if c.interrupted.Load() {
		c.interrupt()
	}
}

// interrupt makes the connection end after the request that is running.
func (c *conn) interrupt() {
	c.interrupted.Store(true)
	_ = c.net.SetReadDeadline(time.Unix(1, 0)) // wakes a waiting read
}

// serve answers requests until the client goes, breaks the protocol or the
// server stops.
func (c *conn) serve() {
	defer func() {
		if p := recover(); p != nil {
			c.s.metrics.panics.Inc()
			c.s.log.Error("redis connection ended by a bug", "conn", c.id, "stack", string(debug.Stack()))
		}
		c.guard.close()
		c.deadline.close()
		_ = c.net.Close()
	}()
	if !c.authenticated {
		_ = c.net.SetReadDeadline(c.born.Add(loginLimit))
	}
	for !c.closing && !c.interrupted.Load() {
		commands, err := c.reader.ReadCommands()
		if err != nil {
			c.ended(err)
			return
		}
		for _, cmd := range commands {
			c.serveOne(cmd.Args)
			if c.closing || c.out.err != nil {
				break
			}
			c.out.spill()
		}
		if c.out.flush() != nil {
			return
		}
		c.release()
	}
}

// release gives back the memory of large commands.
func (c *conn) release() {
	if !c.guard.large || !c.guard.idle() || c.in.Buffered() > 0 {
		return
	}
	// redcon would keep its buffer at its largest size.
	c.reader = redcon.NewReader(c.in)
	c.guard.settle()
	c.guard.large = false
}

// ended tells the client why it is closed, if it is the client's doing.
func (c *conn) ended(err error) {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
		return
	case errors.Is(err, errBudget):
		c.s.metrics.errors("TRYAGAIN")
		c.out.write(&reply{kind: kindError, text: err.Error()})
	case strings.HasPrefix(err.Error(), "Protocol error"): // the guard's or redcon's
		c.s.metrics.protocolErrors.Inc()
		c.s.log.Debug("redis client breaks the protocol", "conn", c.id, "addr", c.net.RemoteAddr().String(), "err", err)
		c.out.write(&reply{kind: kindError, text: "ERR " + err.Error()})
	default:
		return
	}
	_ = c.out.flush()
}

// serveOne answers one command; a bug in a command costs its client an error,
// and nobody else anything.
func (c *conn) serveOne(args [][]byte) {
	if len(args) == 0 {
		return
	}
	c.now = time.Now()
	cmd := c.s.table.lookup(args[0])
	mark := len(c.out.b)
	defer func() {
		c.deadline.end()
		if p := recover(); p != nil {
			c.s.metrics.panics.Inc()
			c.s.log.Error("redis command failed by a bug", "command", commandName(cmd), "conn", c.id, "stack", string(debug.Stack()))
			c.out.b = c.out.b[:min(mark, len(c.out.b))]
			c.out.write(&reply{kind: kindError, text: textInternal})
			// Part of the answer may be out already: nothing can follow it.
			c.closing = true
		}
	}()
	rep := c.run(cmd, args)
	if rep.kind == kindError {
		c.s.metrics.errors(rep.text)
	}
	c.out.write(&rep)
	c.s.metrics.observe(cmd, time.Since(c.now))
}

// run checks what every command has in common and calls it.
func (c *conn) run(cmd *command, args [][]byte) reply {
	switch {
	case cmd == nil:
		return c.unknown(args[0])
	case !c.authenticated && cmd.flags&flagNoAuth == 0:
		return errReply(textNoAuth)
	case len(args) > c.s.cfg.ArgsMax:
		return errorf("ERR a command has at most %d arguments", c.s.cfg.ArgsMax)
	case !cmd.takes(len(args)):
		return wrongArgs(cmd.name)
	}
	c.lastCommand = cmd.name
	c.deadline.begin(c.now, c.s.cfg.HoldLimit, &c.request)
	if cmd.conn != nil {
		return cmd.conn(c, args)
	}
	return c.runData(cmd, args)
}

// renew gives the request that is running the whole time again.
func (c *conn) renew() { c.deadline.begin(time.Now(), c.s.cfg.HoldLimit, &c.request) }

func (c *conn) unknown(name []byte) reply {
	// A browser that was lured here must not smuggle commands in behind its
	// headers (as in Redis).
	if s := strings.ToLower(string(name)); s == "post" || s == "host:" {
		c.closing = true
	}
	return errorf("ERR unknown command '%s'", clean(string(name[:min(len(name), 64)])))
}
