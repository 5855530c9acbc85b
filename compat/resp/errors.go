package resp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lockcluster/lockcluster"
)

// The error texts end up in pull requests: they are for people, and hold no
// value. Their first word decides what go-redis does: it repeats CLUSTERDOWN
// and TRYAGAIN, and never LOCKED or ERR.
const (
	textSyntax    = "ERR syntax error"
	textNotInt    = "ERR value is not an integer or out of range"
	textNoAuth    = "NOAUTH Authentication required."
	textWrongPass = "WRONGPASS invalid username-password pair or user is disabled."
	textNoScript  = "NOSCRIPT No matching script. Please use EVAL."
	textNoLeader  = "CLUSTERDOWN no leader answered in time; nothing was changed, try again"
	textUnknown   = "CLUSTERDOWN the outcome is unknown: the request may have taken effect or not; repeating it is safe"
	textStopping  = "CLUSTERDOWN this node is stopping; nothing was changed, try again"
	textOverload  = "TRYAGAIN this node has more requests than it can take; nothing was changed, try again"
	textTxTooMany = "TRYAGAIN other clients kept changing the same keys; nothing was changed, try again"
	textLockTTL   = "ERR a lock does not expire: use a lease over gRPC, or a key that does not begin with pr/ or global/"
	textReadOnly  = "ERR Write commands are not allowed from read-only scripts."
	textInternal  = "ERR internal error; the node's log says more"
)

// failure turns an error of the system into an answer.
func failure(err error, wrote bool) reply {
	switch {
	case errors.Is(err, lockcluster.ErrOutcomeUnknown):
		return errReply(textUnknown)
	case errors.Is(err, lockcluster.ErrOverloaded):
		return errReply(textOverload)
	case errors.Is(err, lockcluster.ErrClosed):
		return errReply(textStopping)
	case errors.Is(err, lockcluster.ErrNoLeader):
		return errReply(textNoLeader)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		if wrote {
			return errReply(textUnknown)
		}
		return errReply(textNoLeader)
	}
	return errReply("ERR " + err.Error())
}

func errorf(format string, args ...any) reply { return errReply(fmt.Sprintf(format, args...)) }

func wrongArgs(command string) reply {
	return errorf("ERR wrong number of arguments for '%s' command", command)
}

// heldBy names the holder of a lock to whoever wanted it.
func heldBy(l *lockcluster.Lock) reply {
	return errorf("LOCKED held by %s since %s", l.Owner, l.AcquiredAt.UTC().Format(time.RFC3339))
}

func commandHeld(l *lockcluster.CommandLock) reply {
	return errorf("LOCKED the %s command has been locked since %s", l.Name, l.LockedAt.UTC().Format(time.RFC3339))
}

// clean makes text fit for one line of an error reply.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}
