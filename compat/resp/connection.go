package resp

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/lockcluster/lockcluster"
)

// redisVersion is the Redis whose commands the door follows.
const redisVersion = "7.0.15"

// databasesMax is how many databases SELECT knows; each is a namespace.
const databasesMax = 10_000

// cmdHello answers HELLO [2|3 [AUTH user password] [SETNAME name]].
func cmdHello(c *conn, args [][]byte) reply {
	resp3 := c.out.resp3
	if len(args) > 1 {
		switch string(args[1]) {
		case "2":
			resp3 = false
		case "3":
			resp3 = true
		default:
			return errReply("NOPROTO unsupported protocol version")
		}
	}
	newName, authenticated := c.name, c.authenticated
	for i := 2; i < len(args); {
		switch word := asciiLower(args[i]); {
		case word == "auth" && i+2 < len(args):
			if !c.checkPassword(args[i+1], args[i+2]) {
				return errReply(textWrongPass)
			}
			authenticated = true
			i += 3
		case word == "setname" && i+1 < len(args):
			newName = string(args[i+1])
			if !validName(newName) {
				return errReply(textBadName)
			}
			i += 2
		default:
			return errorf("ERR Syntax error in HELLO option '%s'", clean(string(args[i][:min(len(args[i]), 32)])))
		}
	}
	if !authenticated {
		return errReply("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time")
	}
	c.login()
	c.out.resp3, c.name = resp3, newName
	proto := int64(2)
	if resp3 {
		proto = 3
	}
	return mapping(
		bulkText("server"), bulkText("redis"),
		bulkText("version"), bulkText(redisVersion),
		bulkText("proto"), integer(proto),
		bulkText("id"), integer(c.id),
		bulkText("mode"), bulkText("standalone"),
		bulkText("role"), bulkText("master"),
		bulkText("modules"), array(),
	)
}

// cmdAuth answers AUTH [user] password.
func cmdAuth(c *conn, args [][]byte) reply {
	if len(args) > 3 {
		return errReply(textSyntax)
	}
	user := []byte(c.s.cfg.Username)
	if len(args) == 3 {
		user = args[1]
	} else if c.s.cfg.Password == "" {
		return errReply("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
	}
	if !c.checkPassword(user, args[len(args)-1]) {
		return errReply(textWrongPass)
	}
	c.login()
	return replyOK
}

// checkPassword takes the same time whatever is wrong. Without a password
// configured every one is right, as for Redis's default user.
func (c *conn) checkPassword(user, password []byte) bool {
	if c.s.cfg.Password == "" {
		return true
	}
	ok := constantTimeEqual(user, []byte(c.s.cfg.Username)) & constantTimeEqual(password, []byte(c.s.cfg.Password))
	if ok != 1 {
		c.s.log.Warn("redis client sent a wrong user or password", "conn", c.id, "addr", c.net.RemoteAddr().String())
	}
	return ok == 1
}

// constantTimeEqual compares digests, so that lengths do not show either.
func constantTimeEqual(a, b []byte) int {
	x, y := sha256.Sum256(a), sha256.Sum256(b)
	return subtle.ConstantTimeCompare(x[:], y[:])
}

func cmdSelect(c *conn, args [][]byte) reply {
	n, err := strconv.ParseInt(string(args[1]), 10, 64)
	switch {
	case err != nil:
		return errReply(textNotInt)
	case n < 0 || n >= databasesMax:
		return errorf("ERR DB index is out of range: use 0 to %d", databasesMax-1)
	}
	c.selectDB(int(n))
	return replyOK
}

func (c *conn) selectDB(n int) {
	if n != c.db {
		c.seen = newSeen()
	}
	c.db, c.namespace = n, lockcluster.NamespaceOfDatabase(n)
}

func cmdQuit(c *conn, _ [][]byte) reply {
	c.closing = true
	return replyOK
}

func cmdReset(c *conn, _ [][]byte) reply {
	c.selectDB(0)
	c.seen = newSeen()
	c.name, c.out.resp3 = "", false
	c.logout()
	return status("RESET")
}

func cmdOK(*conn, [][]byte) reply { return replyOK }

const textBadName = "ERR Client names cannot contain spaces, newlines or special characters."

func validName(s string) bool {
	for i := range len(s) {
		if s[i] < '!' || s[i] > '~' {
			return false
		}
	}
	return len(s) <= lockcluster.NameSizeMax
}

// cmdClient answers the CLIENT subcommands that client libraries send. What a
// library only tries must get the error that Redis gives, or it would rely on
// it: MAINT_NOTIFICATIONS for one.
func cmdClient(c *conn, args [][]byte) reply {
	switch sub := asciiLower(args[1]); {
	case sub == "setinfo" && len(args) == 4:
		return c.setInfo(asciiLower(args[2]), string(args[3]))
	case sub == "setname" && len(args) == 3:
		if !validName(string(args[2])) {
			return errReply(textBadName)
		}
		c.name = string(args[2])
		return replyOK
	case sub == "getname" && len(args) == 2:
		if c.name == "" {
			return replyNull
		}
		return bulkText(c.name)
	case sub == "id" && len(args) == 2:
		return integer(c.id)
	case sub == "info" && len(args) == 2, sub == "list":
		// Other connections belong to other goroutines, and mostly to other
		// people: each client sees itself.
		return bulkText(c.describe() + "\n")
	case (sub == "no-evict" || sub == "no-touch") && len(args) == 3:
		return replyOK
	case sub == "help" && len(args) == 2:
		return array(status("CLIENT GETNAME | ID | INFO | LIST | NO-EVICT | NO-TOUCH | SETINFO | SETNAME"))
	case sub == "setinfo" || sub == "setname" || sub == "getname" || sub == "id" || sub == "info":
		return wrongArgs("client|" + sub)
	}
	return unknownSubcommand("CLIENT", args[1])
}

func unknownSubcommand(command string, sub []byte) reply {
	return errorf("ERR unknown subcommand '%s'. Try %s HELP.", clean(string(sub[:min(len(sub), 64)])), command)
}

func (c *conn) setInfo(attribute, value string) reply {
	if !validName(value) {
		return errorf("ERR %s cannot contain spaces, newlines or special characters.", clean(attribute))
	}
	switch attribute {
	case "lib-name":
		c.libName = value
		// "go-redis(,go1.26.8)"; a wrapper puts its own name in the brackets.
		c.goRedis = value == "go-redis" || strings.HasPrefix(value, "go-redis(")
	case "lib-ver":
		c.libVersion = value
	default:
		return errorf("ERR Unrecognized option '%s'", clean(attribute))
	}
	return replyOK
}

// describe is the connection's line in CLIENT LIST.
func (c *conn) describe() string {
	proto := 2
	if c.out.resp3 {
		proto = 3
	}
	return fmt.Sprintf("id=%d addr=%s laddr=%s name=%s age=%d idle=0 flags=N db=%d cmd=%s user=%s lib-name=%s lib-ver=%s resp=%d",
		c.id, addrText(c.net.RemoteAddr()), addrText(c.net.LocalAddr()), c.name, int(time.Since(c.born).Seconds()),
		c.db, c.lastCommand, c.s.cfg.Username, c.libName, c.libVersion, proto)
}

func addrText(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

// The commands that would empty, change or stop a server are refused: nobody's
// locks shall be lost by a command meant for another Redis.

func cmdFlush(_ *conn, args [][]byte) reply {
	return errorf("ERR %s is refused: it would free every lock of every Atlantis here; release locks one by one, or by pull request", strings.ToUpper(asciiLower(args[0])))
}

func cmdConfig(_ *conn, _ [][]byte) reply {
	return errReply("ERR CONFIG is refused: this is lockcluster, a node's settings are its flags, environment or file (lockcluster server --help)")
}

func cmdDebug(_ *conn, _ [][]byte) reply {
	return errReply("ERR DEBUG is refused: this is lockcluster, use its metrics and logs")
}
