package resp

import (
	"strconv"
	"time"

	"github.com/lockcluster/lockcluster"
)

// The commands that write, over a session with a transaction.

func dataSet(s *session, args [][]byte) reply {
	a, bad := parseSet(args[3:], s.now)
	if bad.isError() {
		return bad
	}
	return s.set(nameOf(args[1]), args[2], a)
}

func dataSetNX(s *session, args [][]byte) reply {
	rep := s.set(nameOf(args[1]), args[2], setArgs{command: "setnx", condition: lockcluster.PutIfAbsent})
	return setNXReply(rep)
}

func setNXReply(rep reply) reply {
	if rep.isError() {
		return rep
	}
	return boolInt(rep.kind != kindNull)
}

func dataGetSet(s *session, args [][]byte) reply {
	return s.set(nameOf(args[1]), args[2], setArgs{command: "getset", get: true})
}

func dataSetEX(s *session, args [][]byte) reply {
	a, bad := parseSetEX(args, s.now)
	if bad.isError() {
		return bad
	}
	return s.set(nameOf(args[1]), args[3], a)
}

// parseSetEX reads SETEX and PSETEX key time value.
func parseSetEX(args [][]byte, now time.Time) (setArgs, reply) {
	a := setArgs{command: asciiLower(args[0])}
	unit := "ex"
	if a.command == "psetex" {
		unit = "px"
	}
	bad := a.setTTL(unit, args[2], now)
	return a, bad
}

// set runs a SET by the rules; the answer may depend on what is there.
func (s *session) set(n name, value []byte, a setArgs) reply {
	req, bad := s.setRequest(n, value, a)
	if bad.isError() {
		return bad
	}
	if put, ok := req.(lockcluster.PutDocument); ok {
		if a.get || a.condition != lockcluster.PutAlways || a.keepTTL {
			s.note(n)
		}
		s.tx.valueBytes += len(put.Value)
		res := s.change(put)
		return setReply(&res, a)
	}
	if acquire, ok := req.(lockcluster.Acquire); ok {
		n.key = acquire.Key.Text() // the key may be in the old form
	}
	s.note(n)
	if a.condition == lockcluster.PutIfPresent && !s.has(n) {
		return replyNull
	}
	s.tx.valueBytes += len(value)
	res := s.change(req)
	return setReply(&res, a)
}

func dataDel(s *session, args [][]byte) reply {
	count := int64(0)
	for _, k := range args[1:] {
		rep := s.del(nameOf(k))
		if rep.isError() {
			return rep
		}
		if rep.kind != kindNull {
			count++
		}
	}
	return integer(count)
}

func dataGetDel(s *session, args [][]byte) reply { return s.del(nameOf(args[1])) }

// del removes what is under n and returns it; null when there was nothing, or
// not what the guard allows.
func (s *session) del(n name) reply {
	if n.isDocument() {
		s.note(n)
		res := s.change(lockcluster.DeleteDocument{Namespace: s.ns, Key: n.key})
		return delReply(&res)
	}
	var mark seenMark
	if s.guard != nil {
		mark, _ = s.guard(n)
	}
	if n.space == lockcluster.SpaceCommand {
		s.note(n)
		res := s.change(lockcluster.UnlockCommand{Namespace: s.ns, Name: n.key, Token: mark.token})
		return delReply(&res)
	}
	l := s.findLock(n.key)
	if l == nil {
		return replyNull
	}
	res := s.change(lockcluster.Release{Namespace: s.ns, Text: l.Key.Text(), Guard: lockcluster.Guard{Token: mark.token}})
	return delReply(&res)
}

// delReply is the removed value; null when nothing was removed.
func delReply(res *lockcluster.Result) reply {
	switch res.Status {
	case lockcluster.StatusReleased, lockcluster.StatusDeleted:
		return oldValue(res)
	case lockcluster.StatusInvalid:
		return errReply("ERR " + res.Text)
	}
	return replyNull
}

func dataPersist(s *session, args [][]byte) reply {
	n := nameOf(args[1])
	if !n.isDocument() {
		s.note(n)
		return integer(0) // a lock has no TTL to lose
	}
	s.note(n)
	res := s.change(lockcluster.SetTTL{Namespace: s.ns, Key: n.key})
	return persistReply(&res)
}

func persistReply(res *lockcluster.Result) reply {
	if res.Status == lockcluster.StatusInvalid {
		return errReply("ERR " + res.Text)
	}
	return boolInt(res.Document != nil && res.Document.TTL > 0)
}

// expireArgs is what EXPIRE, PEXPIRE, EXPIREAT or PEXPIREAT asks for.
type expireArgs struct {
	ttl            time.Duration // zero or less: remove the key
	nx, xx, gt, lt bool
}

func parseExpire(args [][]byte, now time.Time) (a expireArgs, bad reply) {
	command := asciiLower(args[0])
	unit := map[string]string{"expire": "ex", "pexpire": "px", "expireat": "exat", "pexpireat": "pxat"}[command]
	n, err := strconv.ParseInt(string(args[2]), 10, 64)
	if err != nil {
		return a, errReply(textNotInt)
	}
	for _, o := range args[3:] {
		switch asciiLower(o) {
		case "nx":
			a.nx = true
		case "xx":
			a.xx = true
		case "gt":
			a.gt = true
		case "lt":
			a.lt = true
		default:
			return a, errReply("ERR Unsupported option " + clean(string(o[:min(len(o), 32)])))
		}
	}
	switch {
	case a.nx && (a.xx || a.gt || a.lt):
		return a, errReply("ERR NX and XX, GT or LT options at the same time are not compatible")
	case a.gt && a.lt:
		return a, errReply("ERR GT and LT options at the same time are not compatible")
	}
	ttl, ok := ttlOf(unit, n, now)
	if !ok {
		return a, errorf("ERR invalid expire time in '%s' command", command)
	}
	a.ttl = ttl
	return a, reply{}
}

// allows reports whether the conditions let the TTL of d be changed.
func (a *expireArgs) allows(d *lockcluster.Document, now time.Time) bool {
	left := time.Duration(0) // without a TTL: endless
	if d.TTL > 0 {
		left = d.ArmedAt.Add(d.TTL).Sub(now)
	}
	switch {
	case a.nx:
		return d.TTL == 0
	case a.xx && d.TTL == 0:
		return false
	case a.gt:
		return d.TTL > 0 && a.ttl > left
	case a.lt:
		return d.TTL == 0 || a.ttl < left
	}
	return true
}

func dataExpire(s *session, args [][]byte) reply {
	a, bad := parseExpire(args, s.now)
	if bad.isError() {
		return bad
	}
	n := nameOf(args[1])
	if !n.isDocument() {
		if s.has(n) {
			return errReply(textLockTTL)
		}
		return integer(0)
	}
	d := s.document(n.key)
	if d == nil || !a.allows(d, s.now) {
		return integer(0)
	}
	var res lockcluster.Result
	if a.ttl <= 0 {
		res = s.change(lockcluster.DeleteDocument{Namespace: s.ns, Key: n.key})
	} else {
		res = s.change(lockcluster.SetTTL{Namespace: s.ns, Key: n.key, TTL: a.ttl})
	}
	if res.Status == lockcluster.StatusInvalid {
		return errReply("ERR " + res.Text)
	}
	return integer(1)
}
