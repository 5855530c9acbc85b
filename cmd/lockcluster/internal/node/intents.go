package node

import (
	"strings"

	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// lockKeyPrefix is what Atlantis puts before a lock's key text in Redis.
const lockKeyPrefix = "pr/"

// holds returns whether a Redis key is held as far as the node knows by itself.
func holds(node *cluster.Node) func(namespace, key string) bool {
	return func(namespace, key string) (held bool) {
		node.StaleRead(func(r state.Reader, _ uint64) {
			if text, ok := strings.CutPrefix(key, lockKeyPrefix); ok {
				held = state.FindLock(r, namespace, compat.CanonicalText(text)) != nil
			} else if name, ok := compat.ParseCommandLockKey(key); ok {
				held = state.GetCommandLock(r, namespace, name) != nil
			}
		})
		return held
	}
}
