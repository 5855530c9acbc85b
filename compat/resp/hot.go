package resp

import (
	"errors"
	"hash/maphash"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// The commands that Atlantis lives on, on the shortest way: one read or one
// request, no snapshot.

// getter is the scratch of a GET: one read of a name's record. The function
// that the system calls is made once for each connection.
type getter struct {
	c     *conn
	f     func(state.Reader, uint64)
	n     name
	found bool
	value []byte
	mark  seenMark
	text  string // a lock's present key text
}

func (g *getter) bind(c *conn) { g.c, g.f = c, g.look }

func (g *getter) look(r state.Reader, _ uint64) {
	g.found, g.value = false, nil
	switch ns := g.c.namespace; g.n.space {
	case lockcluster.SpaceLock:
		l := state.GetLock(r, ns, g.n.key)
		if l == nil && mayBeOld(g.n.key) {
			l = state.FindLock(r, ns, g.n.key)
		}
		if l != nil {
			g.take(l)
		}
	case lockcluster.SpaceCommand:
		if l := state.GetCommandLock(r, ns, g.n.key); l != nil {
			g.found, g.value = true, l.Value
			g.mark = seenMark{token: l.Token}
		}
	case lockcluster.SpaceDocument:
		if d := state.GetDocument(r, ns, g.n.key); d != nil {
			g.found, g.value = true, d.Value
		}
	}
}

func (g *getter) take(l *lockcluster.Lock) {
	g.found, g.value, g.text = true, lockValue(l), l.Key.Text()
	g.mark = seenMark{token: l.Token}
}

// read fills g with what is under n.
func (g *getter) read(n name) error {
	g.n = n
	return g.c.s.sys.Read(&g.c.request, g.f)
}

func cmdGet(c *conn, args [][]byte) reply {
	g := &c.get
	n := nameOf(args[1])
	if err := g.read(n); err != nil {
		return failure(err, false)
	}
	if n.isDocument() {
		if !g.found {
			return replyNull
		}
		return bulk(g.value)
	}
	if !g.found && c.reserve(n) {
		c.s.metrics.secondLooks.Inc()
		if err := g.read(n); err != nil {
			return failure(err, false)
		}
	}
	if !g.found {
		c.forget(n)
		return replyNull
	}
	if n.space == lockcluster.SpaceLock {
		n.key = g.text
	}
	g.mark.at = c.now
	c.remember(n, g.mark)
	return bulk(g.value)
}

// reserve says that this client will probably take n, and reports whether it
// should look again. Few GETs of one address wait at a time: they occupy
// connections of a pool whose next SET they wait for.
func (c *conn) reserve(n name) bool {
	if !c.s.waiting.enter(c.host) {
		return false
	}
	defer c.s.waiting.leave(c.host)
	return c.s.cfg.Intents.Reserve(&c.request, c.namespace, n.text())
}

func cmdSet(c *conn, args [][]byte) reply {
	a, bad := parseSet(args[3:], c.now)
	if bad.isError() {
		return bad
	}
	return c.set(args, args[2], a)
}

func cmdSetNX(c *conn, args [][]byte) reply {
	return setNXReply(c.set(args, args[2], setArgs{command: "setnx", condition: lockcluster.PutIfAbsent}))
}

func cmdGetSet(c *conn, args [][]byte) reply {
	return c.set(args, args[2], setArgs{command: "getset", get: true})
}

func cmdSetEX(c *conn, args [][]byte) reply {
	a, bad := parseSetEX(args, c.now)
	if bad.isError() {
		return bad
	}
	return c.set(args, args[3], a)
}

// set decides a SET with one request, except where Redis's XX needs more.
func (c *conn) set(args [][]byte, value []byte, a setArgs) reply {
	n := nameOf(args[1])
	if !n.isDocument() && a.condition == lockcluster.PutIfPresent {
		return c.transact(args[1], func(s *session) reply { return s.set(n, value, a) })
	}
	s := session{s: c.s, ns: c.namespace}
	req, bad := s.setRequest(n, value, a)
	if bad.isError() {
		return bad
	}
	res, err := c.s.sys.Do(&c.request, lockcluster.RequestID{}, req)
	if n.isDocument() {
		if err != nil {
			return failure(err, true)
		}
		return setReply(&res, a)
	}
	if acquire, ok := req.(lockcluster.Acquire); ok {
		n.key = acquire.Key.Text() // the key may be in the old form
	}
	c.s.cfg.Intents.Settle(c.namespace, n.text())
	if err != nil {
		return failure(err, true)
	}
	c.noteSet(n, &res)
	return setReply(&res, a)
}

// noteSet remembers the lock that is now known to be there: a DEL that follows
// on this connection means that one.
func (c *conn) noteSet(n name, res *lockcluster.Result) {
	switch res.Status {
	case lockcluster.StatusGranted, lockcluster.StatusAlreadyHeld:
	default:
		return
	}
	mark := seenMark{at: c.now}
	switch {
	case res.Lock != nil:
		mark.token = res.Lock.Token
	case res.CommandLock != nil:
		mark.token = res.CommandLock.Token
	default:
		return
	}
	c.remember(n, mark)
}

func cmdDel(c *conn, args [][]byte) reply {
	if len(args) > 2 {
		return c.transact(args[1], func(s *session) reply {
			s.guard = c.guardOf
			return dataDel(s, args)
		})
	}
	rep := c.del(args[1])
	if rep.isError() {
		return rep
	}
	return boolInt(rep.kind != kindNull)
}

func cmdGetDel(c *conn, args [][]byte) reply { return c.del(args[1]) }

// guardOf returns what a DEL of n by this client may delete.
func (c *conn) guardOf(n name) (seenMark, bool) { return c.remembered(n) }

// del removes what is under one key with one request.
func (c *conn) del(key []byte) reply {
	n := nameOf(key)
	var req lockcluster.Request
	switch n.space {
	case lockcluster.SpaceDocument:
		req = lockcluster.DeleteDocument{Namespace: c.namespace, Key: n.key}
	case lockcluster.SpaceCommand:
		mark, _ := c.guardOf(n)
		req = lockcluster.UnlockCommand{Namespace: c.namespace, Name: n.key, Token: mark.token}
	case lockcluster.SpaceLock:
		if n.key == "" || len(n.key) > lockcluster.KeySizeMax {
			return replyNull // no lock has such a key
		}
		mark, _ := c.guardOf(n)
		req = lockcluster.Release{Namespace: c.namespace, Text: n.key, Guard: lockcluster.Guard{Token: mark.token}}
	}
	res, err := c.s.sys.Do(&c.request, lockcluster.RequestID{}, req)
	if err != nil {
		return failure(err, true)
	}
	switch {
	case res.Status == lockcluster.StatusNotFound && n.space == lockcluster.SpaceLock && mayBeOld(n.key):
		return c.delOld(key, n)
	case res.Status == lockcluster.StatusNotHolder:
		c.s.metrics.guardedDels.Inc()
		c.s.log.Info("del kept a lock that its sender had not read", "conn", c.id, "namespace", c.namespace)
	}
	return delReply(&res)
}

// delOld removes the lock that a key in the old form means.
func (c *conn) delOld(key []byte, n name) reply {
	return c.transact(key, func(s *session) reply {
		s.guard = func(name) (seenMark, bool) {
			if l := s.findLock(n.key); l != nil {
				return c.guardOf(name{lockcluster.SpaceLock, l.Key.Text()})
			}
			return seenMark{}, false
		}
		return s.del(n)
	})
}

// transact runs f over a snapshot and commits what it has written; when what
// it has read changes meanwhile, all is done again. Transactions that met a
// conflict take turns with those of the same first key on this node, so that
// they do not starve each other.
func (c *conn) transact(first []byte, f func(*session) reply) reply {
	return c.attempts(first, func() (reply, bool) {
		view, err := c.s.sys.View(&c.request)
		if err != nil {
			return failure(err, false), true
		}
		s := c.session(view)
		s.tx = newTx(view, c.now, false)
		return c.commit(s, f(s))
	})
}

var stripeSeed = maphash.MakeSeed()

// attempts calls try until it is done or the time is over.
func (c *conn) attempts(first []byte, try func() (reply, bool)) reply {
	rep, done := try()
	if done {
		return rep
	}
	stripe := c.s.stripes[maphash.Bytes(stripeSeed, first)%uint64(len(c.s.stripes))]
	select {
	case stripe <- struct{}{}:
		defer func() { <-stripe }()
	case <-c.request.Done():
		return errReply(textTxTooMany)
	}
	for c.request.Err() == nil {
		c.s.metrics.conflicts.Inc()
		if rep, done = try(); done {
			return rep
		}
	}
	return errReply(textTxTooMany)
}

func (c *conn) session(base state.Reader) *session {
	return &session{s: c.s, ns: c.namespace, now: c.now, goRedis: c.goRedis, base: base}
}

// commit proposes what a session has written; done is false when it must be
// done again.
func (c *conn) commit(s *session, rep reply) (answer reply, done bool) {
	switch {
	case s.tx.full:
		return errReply(errTxFull), true
	case rep.isError() || len(s.tx.requests) == 0:
		return rep, true
	}
	res, err := c.s.sys.Do(&c.request, lockcluster.RequestID{}, s.request())
	switch {
	case errors.Is(err, lockcluster.ErrInvalid):
		return errReply("ERR " + err.Error()), true
	case err != nil:
		return failure(err, true), true
	case res.Status == lockcluster.StatusConflict:
		return reply{}, false
	case res.Status == lockcluster.StatusInvalid:
		return errReply("ERR " + res.Text), true
	}
	for _, req := range s.tx.requests {
		switch r := req.(type) {
		case lockcluster.Acquire:
			c.s.cfg.Intents.Settle(s.ns, lockPrefix+r.Key.Text())
		case lockcluster.LockCommand:
			c.s.cfg.Intents.Settle(s.ns, name{lockcluster.SpaceCommand, r.Name}.text())
		}
	}
	return rep, true
}

// runData runs a command that has no shorter way.
func (c *conn) runData(cmd *command, args [][]byte) reply {
	switch {
	case cmd.flags&flagWrite != 0:
		return c.transact(args[1], func(s *session) reply { return cmd.data(s, args) })
	case cmd.flags&flagKeyless != 0:
		return cmd.data(c.session(nil), args)
	case cmd.flags&flagList == 0 && len(args) <= 64:
		var rep reply
		err := c.s.sys.Read(&c.request, func(r state.Reader, _ uint64) { rep = cmd.data(c.session(r), args) })
		if err != nil {
			return failure(err, false)
		}
		return rep
	}
	view, err := c.s.sys.View(&c.request)
	if err != nil {
		return failure(err, false)
	}
	return cmd.data(c.session(view), args)
}
