package state

import (
	"errors"
	"fmt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state/statepb"
)

// CheckInvariants reads the whole state and reports everything in it that the
// rules can never have written: records without their index and the other way
// round, counters that do not count, tokens above the last one, leases that do
// not fit. It is what a snapshot, a restore and every randomised test are held
// against. A nil error means that all is well. Stored values are not in the
// error's text.
func CheckInvariants(r Reader) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.Join(err, fmt.Errorf("unreadable record: %v", p))
		}
	}()
	c := &checker{r: r, hosted: map[string]uint64{}, stats: GetStats(r)}
	c.locks()
	c.commandLocks()
	c.documents()
	c.pulls()
	c.repos()
	c.leases()
	c.answers()
	return errors.Join(c.errs...)
}

// checkErrorsMax bounds the report: the first findings say enough.
const checkErrorsMax = 20

type checker struct {
	r      Reader
	stats  Stats
	hosted map[string]uint64 // repo record key + host -> locks
	pullN  uint64            // locks with a pull owner
	leaseN uint64
	errs   []error
}

func (c *checker) fail(format string, args ...any) {
	if len(c.errs) < checkErrorsMax {
		c.errs = append(c.errs, fmt.Errorf(format, args...))
	}
}

// each calls f for every record of a table with its namespace and rest.
func (c *checker) each(table byte, f func(ns, rest string, value []byte)) uint64 {
	var n uint64
	c.r.Scan(string(rune(table)), "", func(key string, value []byte) bool {
		n++
		end := 1
		for end < len(key) && key[end] != 0 {
			end++
		}
		if end == len(key) {
			c.fail("table %q: a key without namespace", table)
			return true
		}
		f(key[1:end], key[end+1:], value)
		return true
	})
	return n
}

func (c *checker) locks() {
	seen := map[lockcluster.Token]bool{}
	n := c.each(tableLock, func(ns, text string, value []byte) {
		var rec statepb.LockRecord
		decode(string(rune(tableLock)), value, &rec)
		l := lockFrom(ns, text, &rec)
		if l.Key.Text() != text || l.Key.Validate() != nil || l.Owner.Validate() != nil {
			c.fail("lock %q: key or owner is not valid", text)
		}
		if l.Token.IsZero() || c.stats.LastToken.Less(l.Token) || seen[l.Token] {
			c.fail("lock %q: token %s is missing, used twice or above the last one %s", text, l.Token, c.stats.LastToken)
		}
		seen[l.Token] = true
		if (l.Kind == lockcluster.KindPull) != (l.Owner.ID == "") || (l.Kind == lockcluster.KindLeased) != (l.TTL > 0) {
			c.fail("lock %q: kind %d does not fit its owner or TTL", text, l.Kind)
		}
		if l.Owner.ID == "" {
			c.pullN++
			if _, ok := c.r.Get(pullPrefix(ns, l.Key.Repo, l.Owner.Pull) + text); !ok {
				c.fail("lock %q: not in the pull index", text)
			}
		}
		if l.Owner.Host != "" {
			c.hosted[repoKey(ns, l.Key.Repo)+"\x00"+l.Owner.Host]++
		}
		c.lease(lockcluster.SpaceLock, ns, text, int64(l.TTL), l.LeaseEpoch)
	})
	if n != c.stats.Locks {
		c.fail("%d locks, but the counter says %d", n, c.stats.Locks)
	}
}

func (c *checker) lease(space lockcluster.Space, ns, key string, ttl int64, epoch uint64) {
	var rec statepb.LeaseRecord
	has := get(c.r, leaseKey(space, ns, key), &rec)
	if has {
		c.leaseN++
	}
	if has != (ttl > 0) || has && (rec.GetTtlNs() != ttl || rec.GetLeaseEpoch() != epoch) {
		c.fail("lease of %q does not fit its record", key)
	}
}

func (c *checker) commandLocks() {
	n := c.each(tableCommand, func(_, name string, value []byte) {
		var rec statepb.CommandLockRecord
		decode(string(rune(tableCommand)), value, &rec)
		if len(rec.GetValue()) == 0 {
			c.fail("command lock %q has no value", name)
		}
	})
	if n != c.stats.CommandLocks {
		c.fail("%d command locks, but the counter says %d", n, c.stats.CommandLocks)
	}
}

func (c *checker) documents() {
	n := c.each(tableDocument, func(ns, key string, value []byte) {
		var rec statepb.DocumentRecord
		decode(string(rune(tableDocument)), value, &rec)
		c.lease(lockcluster.SpaceDocument, ns, key, rec.GetTtlNs(), rec.GetLeaseEpoch())
	})
	if n != c.stats.Documents {
		c.fail("%d documents, but the counter says %d", n, c.stats.Documents)
	}
}

func (c *checker) pulls() {
	if n := c.each(tablePull, func(string, string, []byte) {}); n != c.pullN {
		c.fail("%d entries in the pull index for %d pull locks", n, c.pullN)
	}
}

func (c *checker) repos() {
	n := c.each(tableRepo, func(ns, repo string, value []byte) {
		var rec statepb.RepoRecord
		decode(string(rune(tableRepo)), value, &rec)
		if got := c.hosted[repoKey(ns, repo)+"\x00"+string(rec.GetHost())]; got != rec.GetHosted() || got == 0 {
			c.fail("repository %q counts %d locks of its host, there are %d", repo, rec.GetHosted(), got)
		}
	})
	if n != uint64(len(c.hosted)) {
		c.fail("%d repository records for %d pairs of repository and host", n, len(c.hosted))
	}
}

func (c *checker) leases() {
	var n uint64
	Leases(c.r, func(Lease) bool { n++; return true })
	if n != c.leaseN {
		c.fail("%d leases for %d records that expire", n, c.leaseN)
	}
}

func (c *checker) answers() {
	var answers, orders, clients, clientOrders uint64
	count := func(table byte, n *uint64) {
		c.r.Scan(string(rune(table)), "", func(string, []byte) bool { *n++; return true })
	}
	count(tableAnswer, &answers)
	count(tableAnswerOrder, &orders)
	count(tableClient, &clients)
	count(tableClientOrder, &clientOrders)
	if answers != orders || answers != c.stats.Answers || clients != clientOrders || clients != c.stats.Clients {
		c.fail("remembered answers do not add up: %d answers, %d in order, counter %d; %d clients, %d in order, counter %d",
			answers, orders, c.stats.Answers, clients, clientOrders, c.stats.Clients)
	}
}
