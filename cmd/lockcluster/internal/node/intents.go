package node

import (
	"strings"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/compat/resp"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// holds returns whether a Redis key is held as far as the node knows by itself.
func (r *runner) holds(namespace, key string) (held bool) {
	r.node.StaleRead(func(rd state.Reader, _ uint64) {
		if text, ok := strings.CutPrefix(key, compat.LockKeyPrefix); ok {
			held = state.FindLock(rd, namespace, compat.CanonicalText(text)) != nil
		} else if name, ok := compat.ParseCommandLockKey(key); ok {
			held = state.GetCommandLock(rd, namespace, name) != nil
		}
	})
	return held
}

// settle tells the table of intents which Redis keys have been taken.
func settle(intents *resp.IntentTable) func(string, lockcluster.Space, string) {
	return func(namespace string, space lockcluster.Space, key string) {
		if space == lockcluster.SpaceCommand {
			intents.Settle(namespace, compat.CommandLockKey(key))
			return
		}
		intents.Settle(namespace, compat.LockKeyPrefix+key)
	}
}
