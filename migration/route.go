package migration

import (
	"hash/fnv"
	"slices"

	"github.com/lockcluster/lockcluster"
)

// Routes returns the system that a lock goes to when it is taken while it is
// free: in mode gradual the enhanced one if a canary rule matches or the key's
// [Share] is below the percentage, else the legacy one; in the other modes the
// one that decides. teams are the groups of the user who asks.
//
// The share is a function of the key alone, never of the pull request: two
// pull requests for one project are sent the same way. A rule on user groups is
// no such function, so the answer counts only for a lock that nobody holds: who
// routes keeps a held lock with the system that has it.
func Routes(key lockcluster.Key, teams []string, m *lockcluster.Migration) lockcluster.System {
	if s := m.Decides(key.Namespace); s != 0 {
		return s
	}
	for _, rule := range m.Canary {
		if matches(rule, key, teams) {
			return lockcluster.SystemEnhanced
		}
	}
	return byShare(Share(key.Namespace, key.Text()), m.Percentage)
}

// RoutesText is [Routes] for a record that is no project lock, a document or a
// command lock: canary rules are not about those.
func RoutesText(namespace, text string, m *lockcluster.Migration) lockcluster.System {
	if s := m.Decides(namespace); s != 0 {
		return s
	}
	return byShare(Share(namespace, text), m.Percentage)
}

func byShare(share, percentage uint32) lockcluster.System {
	if share < percentage {
		return lockcluster.SystemEnhanced
	}
	return lockcluster.SystemLegacy
}

// matches reports whether every field that a rule sets is the lock's. A rule
// that sets none matches nothing.
func matches(rule lockcluster.CanaryRule, key lockcluster.Key, teams []string) bool {
	if rule == (lockcluster.CanaryRule{}) {
		return false
	}
	return (rule.ProjectName == "" || rule.ProjectName == key.Project) &&
		(rule.Workspace == "" || rule.Workspace == key.Workspace) &&
		(rule.UserGroup == "" || slices.Contains(teams, rule.UserGroup))
}

// shares is how finely keys are told apart: one share is one percent.
const shares = 100

// Share maps a key to 0 to 99, evenly and for all time: raising the percentage
// adds keys and takes none away. It is the 64-bit FNV-1a hash of the namespace,
// a zero byte and the key's text, after MurmurHash3's last mixing step (FNV
// alone leaves texts that differ at the end close together), modulo 100. Every
// node and every version must compute the same: never change it.
func Share(namespace, text string) uint32 {
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(namespace)) // a hash's Write never fails
	_, _ = sum.Write([]byte{0})
	_, _ = sum.Write([]byte(text))
	h := sum.Sum64()
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return uint32(h % shares)
}
