package resp

import (
	"strings"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
)

const (
	lockPrefix    = compat.LockKeyPrefix
	commandPrefix = "global/"
	// commandNameMax is how long a command's name may be; with a longer one the
	// key is a document like any other.
	commandNameMax = 64
)

// name is what a Redis key stands for.
type name struct {
	space lockcluster.Space
	key   string // lock key text, command name or document key
}

// nameOf tells what a Redis key stands for.
func nameOf(key []byte) name {
	if len(key) >= len(lockPrefix) && string(key[:len(lockPrefix)]) == lockPrefix {
		return name{lockcluster.SpaceLock, compat.CanonicalText(string(key[len(lockPrefix):]))}
	}
	if len(key) > len(commandPrefix) && string(key[:len(commandPrefix)]) == commandPrefix {
		if n, ok := compat.ParseCommandLockKey(string(key)); ok && len(n) <= commandNameMax && strings.IndexByte(n, 0) < 0 {
			return name{lockcluster.SpaceCommand, n}
		}
	}
	return name{lockcluster.SpaceDocument, string(key)}
}

// text returns the Redis key.
func (n name) text() string {
	switch n.space {
	case lockcluster.SpaceLock:
		return lockPrefix + n.key
	case lockcluster.SpaceCommand:
		return compat.CommandLockKey(n.key)
	case lockcluster.SpaceDocument:
	}
	return n.key
}

func (n name) isDocument() bool { return n.space == lockcluster.SpaceDocument }

// mayBeOld reports whether a lock key text can be in the form of Atlantis
// before v0.40.0, "repo/path/workspace".
func mayBeOld(text string) bool {
	return !strings.HasSuffix(text, "/") && strings.Count(text, "/") >= 2
}

// exactRepo returns the repository that a SCAN pattern of Atlantis names:
// "pr/<repository full name>*" and no other glob.
func exactRepo(pattern string) (repo string, ok bool) {
	repo, ok = strings.CutPrefix(pattern, lockPrefix)
	if !ok {
		return "", false
	}
	repo, ok = strings.CutSuffix(repo, "*")
	if !ok || strings.ContainsAny(repo, `*?[\`) {
		return "", false
	}
	slash := strings.IndexByte(repo, '/')
	return repo, slash > 0 && repo[len(repo)-1] != '/'
}
