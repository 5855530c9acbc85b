package fsm_test

import (
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/internal/history"
)

// gen makes random commands from so few names that they collide all the time.
// It looks into the model to hit guards, conditions and leases as often as it
// misses them.
type gen struct {
	pick  func(n int) int // 0 <= pick(n) < n
	model *history.Model
	term  uint64
	sent  []command.Command // commands with an id, to be sent again
	seqs  map[string]uint64
	acked map[string]uint64
	road  bool             // with requests of the road between two systems
	mode  lockcluster.Mode // where most of these lead
}

var (
	genNamespaces = []string{"default", "db1"}
	genRepos      = []string{"org/app", "org/app2", "a", "a/b"} // "a/b" + "c" and "a" + "b/c" are one text
	genPaths      = []string{".", "c", "b/c"}
	genHosts      = []string{"", "github.com", "gitlab.com"}
	genValues     = [][]byte{nil, []byte("v1"), []byte("v2"), {0xff, 0x00, 0x80}}
	genDocs       = []string{"", "org/app/1", "org/app/2", "\xffraw\x00key"}
	genNames      = []string{"apply", "plan"}
	genSpaces     = []lockcluster.Space{lockcluster.SpaceLock, lockcluster.SpaceCommand, lockcluster.SpaceDocument}
	genInstant    = time.Date(2026, 3, 4, 5, 6, 7, 891234567, time.FixedZone("", 7200))
)

func one[T any](g *gen, from []T) T { return from[g.pick(len(from))] }

func (g *gen) chance(percent int) bool { return g.pick(100) < percent }

// entry returns the commands of one log entry.
func (g *gen) entry() []command.Command {
	commands := make([]command.Command, 1+g.pick(3))
	for i := range commands {
		commands[i] = g.command()
	}
	return commands
}

func (g *gen) command() command.Command {
	if len(g.sent) > 0 && g.chance(10) {
		again := one(g, g.sent) // a retry, perhaps of something acknowledged
		if g.chance(10) {
			again.Request = g.request() // a client that numbers two requests alike
		}
		return again
	}
	c := command.Command{Request: g.request()}
	switch n := g.pick(10); {
	case n < 6:
		client := one(g, []string{"client-a", "client-a", "client-a", "client-b"})
		g.seqs[client]++
		if g.chance(20) {
			g.acked[client] = g.seqs[client] - uint64(g.pick(int(min(g.seqs[client], 5))))
		}
		c.ID = lockcluster.RequestID{ClientID: client, Sequence: g.seqs[client], AckedBelow: g.acked[client]}
		g.sent = append(g.sent, c)
	case n == 6 && g.chance(10):
		c.ID = lockcluster.RequestID{ClientID: "no-sequence"}
	}
	return c
}

func (g *gen) request() lockcluster.Request {
	if g.road && g.chance(45) {
		return g.roadRequest()
	}
	switch n := g.pick(100); {
	case n < 70:
		return g.basic()
	case n < 80:
		return g.txn()
	case n < 88:
		return g.expire()
	case n < 94:
		return g.importRecords()
	case n < 96:
		return lockcluster.BumpEpoch{Reason: "test"}
	case n < 98:
		return lockcluster.RegisterNode{NodeID: one(g, []string{"", "n1", "n2"}), GRPCAddr: one(g, []string{"a:1", "b:2"})}
	default:
		return lockcluster.Checkpoint{}
	}
}

// basic returns a request that may stand in a transaction.
func (g *gen) basic() lockcluster.Request {
	ns := one(g, genNamespaces)
	switch n := g.pick(100); {
	case n < 40:
		return g.acquire(ns)
	case n < 60:
		return g.release(ns)
	case n < 66:
		r := lockcluster.ReleaseByPull{Namespace: ns, Repo: one(g, genRepos), Pull: g.pull(), Host: one(g, genHosts)}
		if g.chance(20) {
			r.Upto = g.model.LastToken()
			r.Upto.Counter -= min(r.Upto.Counter, uint64(g.pick(6)))
		}
		return r
	case n < 74:
		return g.lockCommand(ns)
	case n < 80:
		r := lockcluster.UnlockCommand{Namespace: ns, Name: one(g, genNames)}
		r.Revision = g.revision(ns, lockcluster.SpaceCommand, r.Name)
		if held := g.model.CommandLock(ns, r.Name); held != nil && g.chance(40) {
			r.Token = lockcluster.Token{Epoch: held.Token.Epoch, Counter: held.Token.Counter + uint64(g.pick(2))}
		}
		return r
	case n < 90:
		return g.put(ns)
	case n < 95:
		r := lockcluster.DeleteDocument{Namespace: ns, Key: one(g, genDocs)}
		r.Revision = g.revision(ns, lockcluster.SpaceDocument, r.Key)
		return r
	default:
		return lockcluster.SetTTL{Namespace: ns, Key: one(g, genDocs), TTL: time.Duration(g.pick(3)) * time.Minute}
	}
}

// revision returns the record's own, a wrong one, or none.
func (g *gen) revision(ns string, space lockcluster.Space, key string) uint64 {
	switch g.pick(4) {
	case 0:
		return g.model.Revision(ns, space, key)
	case 1:
		return g.model.Revision(ns, space, key) + 1
	}
	return 0
}

func (g *gen) key(ns string) lockcluster.Key {
	return lockcluster.Key{
		Namespace: ns, Repo: one(g, genRepos), Path: one(g, genPaths), Workspace: "default", Project: one(g, []string{"", "p"}),
	}
}

// pull returns a pull request's number, or Atlantis's for a run without one.
func (g *gen) pull() int { return one(g, []int{1, 2, 3, 1, 2, 3, 0, -1}) }

func (g *gen) owner(repo string) lockcluster.Owner {
	if g.chance(35) {
		return lockcluster.Owner{ID: one(g, []string{"x", "y"}), Host: one(g, genHosts)}
	}
	if g.chance(5) {
		repo = one(g, genRepos)
	}
	return lockcluster.Owner{Host: one(g, genHosts), Repo: repo, Pull: g.pull()}
}

func (g *gen) acquire(ns string) lockcluster.Acquire {
	key := g.key(ns)
	r := lockcluster.Acquire{
		Key: key, Owner: g.owner(key.Repo), User: one(g, []string{"", "jane"}), Value: one(g, genValues),
		Priority: lockcluster.Priority(g.pick(6)), // 5 is none
	}
	if r.Owner.ID != "" && g.chance(60) || g.chance(3) {
		r.TTL = time.Duration(1+g.pick(3)) * time.Minute
	}
	if g.chance(50) {
		r.AcquiredAt = genInstant
	}
	return r
}

func (g *gen) release(ns string) lockcluster.Release {
	r := lockcluster.Release{Namespace: ns, Text: g.key(ns).Text()}
	if held := g.model.List(ns); len(held) > 0 && g.chance(60) {
		r.Text = one(g, held).Key.Text()
	}
	held := g.model.Lock(ns, r.Text)
	if g.chance(30) {
		owner := g.owner(genRepos[0])
		if held != nil && g.chance(60) {
			owner = held.Owner
		}
		r.Guard.Owner = &owner
	}
	if g.chance(15) {
		r.Guard.Pull = g.pull()
	}
	if held != nil && g.chance(30) {
		r.Guard.Token = lockcluster.Token{Epoch: held.Token.Epoch, Counter: held.Token.Counter + uint64(g.pick(2))}
	}
	if g.chance(20) {
		r.Guard.Revision = g.revision(ns, lockcluster.SpaceLock, r.Text)
	}
	return r
}

func (g *gen) lockCommand(ns string) lockcluster.LockCommand {
	r := lockcluster.LockCommand{Namespace: ns, Name: one(g, genNames), Value: one(g, genValues)}
	if g.chance(50) {
		r.LockedAt = genInstant
	}
	return r
}

func (g *gen) put(ns string) lockcluster.PutDocument {
	r := lockcluster.PutDocument{
		Namespace: ns, Key: one(g, genDocs), Value: one(g, genValues), Condition: lockcluster.PutCondition(g.pick(3)),
	}
	if g.chance(40) {
		r.TTL = time.Duration(1+g.pick(2)) * time.Minute
	} else {
		r.KeepTTL = g.chance(40)
	}
	if g.chance(20) {
		r.Revision = g.model.Revision(ns, lockcluster.SpaceDocument, r.Key) + uint64(g.pick(2))
	}
	return r
}

func (g *gen) txn() lockcluster.Txn {
	r := lockcluster.Txn{Namespace: one(g, genNamespaces)}
	for range g.pick(2) {
		space := one(g, genSpaces)
		key := one(g, map[lockcluster.Space][]string{
			lockcluster.SpaceLock: {g.key("").Text()}, lockcluster.SpaceCommand: genNames, lockcluster.SpaceDocument: genDocs,
		}[space])
		revision := g.model.Revision(r.Namespace, space, key)
		if g.chance(15) {
			revision++
		}
		r.Conditions = append(r.Conditions, lockcluster.Condition{Space: space, Key: key, Revision: revision})
	}
	for range g.pick(2) {
		c := lockcluster.RangeCondition{Space: one(g, genSpaces), Prefix: one(g, []string{"", "org/app", "a"})}
		c.Digest = g.model.RangeDigest(r.Namespace, c.Space, c.Prefix)
		if g.chance(15) {
			c.Digest = []byte("stale")
		}
		r.Ranges = append(r.Ranges, c)
	}
	for range g.pick(4) {
		r.Requests = append(r.Requests, g.basic())
	}
	return r
}

func (g *gen) importRecords() lockcluster.Import {
	r := lockcluster.Import{Namespace: one(g, genNamespaces)}
	for range g.pick(3) {
		r.Locks = append(r.Locks, g.acquire(one(g, genNamespaces)))
	}
	for range g.pick(2) {
		r.CommandLocks = append(r.CommandLocks, g.lockCommand(one(g, genNamespaces)))
	}
	for range g.pick(3) {
		r.Documents = append(r.Documents, g.put(one(g, genNamespaces)))
	}
	return r
}

// expire aims at a lease that is there, mostly with its right epoch and term.
func (g *gen) expire() lockcluster.Expire {
	ns := one(g, genNamespaces)
	r := lockcluster.Expire{Namespace: ns, Space: lockcluster.SpaceLock, Key: g.key(ns).Text(), Term: g.term}
	for _, l := range g.model.List(ns) {
		if l.TTL > 0 && g.chance(50) {
			r.Key, r.LeaseEpoch = l.Key.Text(), l.LeaseEpoch
		}
	}
	for _, d := range g.model.Documents(ns) {
		if d.TTL > 0 && g.chance(30) {
			r.Space, r.Key, r.LeaseEpoch = lockcluster.SpaceDocument, d.Key, d.LeaseEpoch
		}
	}
	switch g.pick(8) {
	case 0:
		r.Term--
	case 1:
		r.LeaseEpoch++
	case 2:
		r.Space = one(g, genSpaces)
	}
	return r
}
