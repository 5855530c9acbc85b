package resp

import (
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/redcon"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// The commands that only read. Each serves a connection and a script.

func dataGet(s *session, args [][]byte) reply {
	if v, ok := s.value(nameOf(args[1])); ok {
		return bulk(v)
	}
	return replyNull
}

// mgetSizeMax bounds the values of one MGET in a script, which has them all in
// memory.
const mgetSizeMax = 2 * lockcluster.ValueSizeMax

func dataMGet(s *session, args [][]byte) reply {
	items := make([]reply, 0, len(args)-1)
	size := 0
	for i := range args[1:] {
		items = append(items, dataGet(s, args[i:i+2]))
		if size += len(items[i].data); size > mgetSizeMax {
			return errorf("ERR the values have more than %d bytes; ask for fewer keys", mgetSizeMax)
		}
	}
	return array(items...)
}

// cmdMGet sends each value when it is read: all together may be a thousand
// times the largest.
func cmdMGet(c *conn, args [][]byte) reply {
	view, err := c.s.sys.View(&c.request)
	if err != nil {
		return failure(err, false)
	}
	s := c.session(view)
	c.out.b = redcon.AppendArray(c.out.b, len(args)-1)
	for i := range args[1:] {
		rep := dataGet(s, args[i:i+2])
		if c.out.write(&rep); c.out.err != nil {
			break
		}
	}
	return replySent
}

func dataStrlen(s *session, args [][]byte) reply {
	v, _ := s.value(nameOf(args[1]))
	return integer(int64(len(v)))
}

func dataExists(s *session, args [][]byte) reply {
	n := int64(0)
	for _, k := range args[1:] {
		if s.has(nameOf(k)) {
			n++
		}
	}
	return integer(n)
}

func dataType(s *session, args [][]byte) reply {
	if s.has(nameOf(args[1])) {
		return status("string")
	}
	return status("none")
}

func dataKeys(s *session, args [][]byte) reply {
	return reply{kind: kindKeys, keys: s.keys(string(args[1]))}
}

func dataDBSize(s *session, _ [][]byte) reply {
	n := int64(0)
	for _, space := range []lockcluster.Space{lockcluster.SpaceLock, lockcluster.SpaceCommand, lockcluster.SpaceDocument} {
		s.noteRange(space, "")
		state.Keys(s.reader(), s.ns, space, "", func(string) bool {
			n++
			return true
		})
	}
	return integer(n)
}

// dataScan returns everything at once, whatever cursor and COUNT say: a cursor
// would be valid on one node only, and Atlantis's cluster client asks one node
// for all.
func dataScan(s *session, args [][]byte) reply {
	if _, err := strconv.ParseUint(string(args[1]), 10, 64); err != nil {
		return errReply("ERR invalid cursor")
	}
	pattern, want := "*", "string"
	for i := 2; i < len(args); i += 2 {
		if i+1 >= len(args) {
			return errReply(textSyntax)
		}
		v := string(args[i+1])
		switch strings.ToLower(string(args[i])) {
		case "match":
			pattern = v
		case "count":
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				return errReply(textNotInt)
			}
			if n < 1 {
				return errReply(textSyntax)
			}
		case "type":
			want = strings.ToLower(v)
		default:
			return errReply(textSyntax)
		}
	}
	list := reply{kind: kindKeys}
	if want == "string" {
		list.keys = s.keys(pattern)
	}
	return array(bulkText("0"), list)
}

// dataTTL answers TTL, PTTL, EXPIRETIME and PEXPIRETIME: -2 for no such key,
// -1 for one that does not expire. The time is what the wall clock tells; the
// leader's own clock decides, and a new leader counts the whole TTL anew.
func dataTTL(s *session, args [][]byte) reply {
	n := nameOf(args[1])
	if !n.isDocument() {
		if s.has(n) {
			return integer(-1)
		}
		return integer(-2)
	}
	d := s.document(n.key)
	switch {
	case d == nil:
		return integer(-2)
	case d.TTL == 0:
		return integer(-1)
	}
	at := d.ArmedAt.Add(d.TTL)
	left := max(0, at.Sub(s.now))
	switch asciiLower(args[0]) {
	case "ttl":
		return integer(int64((left + 500*time.Millisecond) / time.Second))
	case "pttl":
		return integer(int64(left / time.Millisecond))
	case "expiretime":
		return integer((at.UnixMilli() + 500) / 1000)
	}
	return integer(at.UnixMilli())
}

func dataTime(s *session, _ [][]byte) reply {
	return array(
		bulkText(strconv.FormatInt(s.now.Unix(), 10)),
		bulkText(strconv.Itoa(s.now.Nanosecond()/1000)),
	)
}

func dataEcho(_ *session, args [][]byte) reply { return bulk(args[1]) }

func dataPing(_ *session, args [][]byte) reply {
	switch len(args) {
	case 1:
		return status("PONG")
	case 2:
		return bulk(args[1])
	}
	return wrongArgs("ping")
}

func asciiLower(b []byte) string { return strings.ToLower(string(b)) }
