package resp

import (
	"math"
	"strconv"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
)

// setArgs is what a SET asks for.
type setArgs struct {
	command   string // for error texts
	condition lockcluster.PutCondition
	get       bool
	keepTTL   bool
	ttl       time.Duration
	expires   bool
}

// parseSet reads the options behind SET key value.
func parseSet(options [][]byte, now time.Time) (a setArgs, bad reply) {
	a.command = "set"
	for i := 0; i < len(options); i++ {
		word := asciiLower(options[i])
		switch word {
		case "nx", "xx":
			if a.condition != lockcluster.PutAlways {
				return a, errReply(textSyntax)
			}
			a.condition = lockcluster.PutIfAbsent
			if word == "xx" {
				a.condition = lockcluster.PutIfPresent
			}
		case "get":
			a.get = true
		case "keepttl":
			if a.expires {
				return a, errReply(textSyntax)
			}
			a.keepTTL = true
		case "ex", "px", "exat", "pxat":
			if a.expires || a.keepTTL || i+1 >= len(options) {
				return a, errReply(textSyntax)
			}
			i++
			if bad := a.setTTL(word, options[i], now); bad.isError() {
				return a, bad
			}
		default:
			return a, errReply(textSyntax)
		}
	}
	return a, reply{}
}

func (a *setArgs) setTTL(unit string, raw []byte, now time.Time) (bad reply) {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return errReply(textNotInt)
	}
	if n <= 0 {
		return errorf("ERR invalid expire time in '%s' command", a.command)
	}
	ttl, ok := ttlOf(unit, n, now)
	if !ok {
		return errorf("ERR invalid expire time in '%s' command", a.command)
	}
	a.expires, a.ttl = true, max(ttl, time.Millisecond) // a time that is past: as good as at once
	return reply{}
}

// ttlYearsMax is the longest TTL that the rules take.
const ttlYearsMax = 100

// ttlOf turns an expiry in one of Redis's four units into a duration from now;
// ok is false when it is too long to be kept.
func ttlOf(unit string, n int64, now time.Time) (ttl time.Duration, ok bool) {
	switch unit {
	case "ex", "exat":
		if n > math.MaxInt64/1000 || n < math.MinInt64/1000 {
			return 0, false
		}
		n *= 1000
	}
	if unit == "exat" || unit == "pxat" {
		n -= now.UnixMilli()
	}
	if n > ttlYearsMax*365*24*int64(time.Hour/time.Millisecond) {
		return 0, false
	}
	if n < -int64(time.Hour/time.Millisecond) {
		n = -int64(time.Hour / time.Millisecond) // long past; keeps it from overflowing
	}
	return time.Duration(n) * time.Millisecond, true
}

// setRequest makes the request that SET key value stands for, by the key's
// kind. PutIfPresent on a lock is up to the caller.
func (s *session) setRequest(n name, value []byte, a setArgs) (lockcluster.Request, reply) {
	if s.s.cfg.RedactStoredCredentials {
		value = compat.RedactCredentials(value)
	}
	if a.expires && !n.isDocument() {
		return nil, errReply(textLockTTL)
	}
	switch n.space {
	case lockcluster.SpaceLock:
		r, err := compat.AcquireFromValue(s.ns, value)
		if err != nil {
			return nil, errorf("ERR the value of a pr/ key must be an Atlantis lock: %s", err)
		}
		if compat.CheckKey(n.key, r.Key) == compat.KeyDisagrees {
			return nil, errorf("ERR the key names another lock than the value, which is for %q", lockPrefix+r.Key.Text())
		}
		return r, reply{}
	case lockcluster.SpaceCommand:
		r, err := compat.ParseCommandLock(value)
		if err != nil {
			return nil, errorf("ERR the value of a global/<command>/lock key must be an Atlantis command lock: %s", err)
		}
		if r.Command.String() != n.key {
			return nil, errorf("ERR the key is for command %q, the value for %q", n.key, r.Command.String())
		}
		return r.Request(s.ns, value), reply{}
	case lockcluster.SpaceDocument:
	}
	return lockcluster.PutDocument{
		Namespace: s.ns, Key: n.key, Value: value, Condition: a.condition, TTL: a.ttl, KeepTTL: a.keepTTL,
	}, reply{}
}

// setReply turns the result of a SET into its answer.
func setReply(res *lockcluster.Result, a setArgs) reply {
	switch res.Status {
	case lockcluster.StatusGranted, lockcluster.StatusStored:
		if a.get {
			return oldValue(res)
		}
		return replyOK
	case lockcluster.StatusAlreadyHeld, lockcluster.StatusHeld:
		switch {
		case a.get && (a.condition == lockcluster.PutIfAbsent || res.Status == lockcluster.StatusAlreadyHeld):
			return oldValue(res)
		case a.condition == lockcluster.PutIfAbsent:
			return replyNull
		case res.Status == lockcluster.StatusAlreadyHeld:
			return replyOK
		case res.Lock != nil:
			return heldBy(res.Lock)
		case res.CommandLock != nil:
			return commandHeld(res.CommandLock)
		}
		return errReply("LOCKED held by another")
	case lockcluster.StatusNotStored:
		if a.get {
			return oldValue(res)
		}
		return replyNull
	case lockcluster.StatusHostConflict:
		return errReply("LOCKED " + res.Text)
	case lockcluster.StatusInvalid:
		return errReply("ERR " + res.Text)
	}
	return errorf("ERR unexpected result %s", res.Status)
}

// oldValue is what was there before; for a lock that was just granted, nothing.
func oldValue(res *lockcluster.Result) reply {
	switch {
	case res.Status == lockcluster.StatusGranted:
		return replyNull
	case res.Lock != nil:
		return bulk(lockValue(res.Lock))
	case res.CommandLock != nil:
		return bulk(res.CommandLock.Value)
	case res.Document != nil:
		return bulk(res.Document.Value)
	}
	return replyNull
}
