package state

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state/statepb"
)

// CheckInvariants reads the whole state and reports everything in it that the
// rules can never have written: records without their index and the other way
// round, counters that do not count, tokens above the last one, leases that do
// not fit. It is what a snapshot, a restore and every randomised test are held
// against. A nil error means that all is well. Stored values are not in the
// error's text.
func CheckInvariants(r Reader) error { return checkInvariants(r, false) }

// CheckImage is [CheckInvariants] for the image of a legacy system, which keeps
// TTLs for the way back but arms no lease.
func CheckImage(r Reader) error { return checkInvariants(r, true) }

func checkInvariants(r Reader, image bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.Join(err, fmt.Errorf("unreadable record: %v", p))
		}
	}()
	c := &checker{r: r, image: image, hosted: map[string]uint64{}, tokens: map[lockcluster.Token]bool{}, stats: GetStats(r)}
	get(r, keyMeta, &c.meta)
	get(r, keyRequestMeta, &c.books)
	c.tables()
	c.locks()
	c.commandLocks()
	c.documents()
	c.pulls()
	c.repos()
	c.leases()
	c.answers()
	c.road()
	return errors.Join(c.errs...)
}

// checkErrorsMax bounds the report: the first findings say enough.
const checkErrorsMax = 20

type checker struct {
	r      Reader
	image  bool // of a legacy system
	stats  Stats
	meta   statepb.MetaRecord
	books  statepb.RequestMetaRecord
	tokens map[lockcluster.Token]bool
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

// tables looks for records of no table, jumping from table to table.
func (c *checker) tables() {
	const known = string(tableLock) + string(tablePull) + string(tableRepo) + string(tableCommand) + string(tableDocument) +
		string(tableLease) + string(tableMeta) + string(tableMigration) + string(tableSetting) + string(tableNode) + string(tableAnswer) + string(tableClient) +
		string(tableAnswerOrder) + string(tableClientOrder) + string(tableRequestMeta)
	for from, found := "", true; found; {
		found = false
		c.r.Scan("", from, func(key string, _ []byte) bool {
			if strings.IndexByte(known, key[0]) < 0 {
				c.fail("a record of unknown table %q", key[0])
			}
			from, found = string([]byte{key[0] + 1}), key[0] < 0xff
			return false
		})
	}
}

// token checks the fencing token of a lock or command lock.
func (c *checker) token(what, key string, t lockcluster.Token) {
	if t.IsZero() || c.stats.LastToken.Less(t) || c.tokens[t] && !c.meta.GetMirrored() {
		c.fail("%s %q: token %s is missing, used twice or above the last one %s", what, key, t, c.stats.LastToken)
	}
	c.tokens[t] = true
}

func (c *checker) locks() {
	n := c.each(tableLock, func(ns, text string, value []byte) {
		var rec statepb.LockRecord
		decode(string(rune(tableLock)), value, &rec)
		l := lockFrom(ns, text, &rec)
		if l.Key.Text() != text || l.Key.Validate() != nil || l.Owner.Validate() != nil ||
			l.Owner.ID == "" && l.Owner.Repo != l.Key.Repo {
			c.fail("lock %q: key or owner is not valid", text)
		}
		c.token("lock", text, l.Token)
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
	if c.image {
		return
	}
	var rec statepb.LeaseRecord
	has := get(c.r, leaseKey(space, ns, key), &rec)
	if has {
		c.leaseN++
	}
	if has != (ttl > 0) || has && (rec.GetTtlNs() != ttl || rec.GetLeaseEpoch() != epoch) {
		c.fail("lease of %q does not fit its record", key)
	}
	if epoch > c.meta.GetLeaseCounter() {
		c.fail("lease of %q: epoch %d is above the last one %d", key, epoch, c.meta.GetLeaseCounter())
	}
}

func (c *checker) commandLocks() {
	n := c.each(tableCommand, func(_, name string, value []byte) {
		var rec statepb.CommandLockRecord
		decode(string(rune(tableCommand)), value, &rec)
		if len(rec.GetValue()) == 0 {
			c.fail("command lock %q has no value", name)
		}
		c.token("command lock", name, lockcluster.Token{Epoch: rec.GetTokenEpoch(), Counter: rec.GetTokenCounter()})
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

// road reads the state of the migration and the settings.
func (c *checker) road() {
	m := GetMigration(c.r)
	if roadFrom(c.r) != nil {
		if err := validateMigration(&m); err != nil {
			c.fail("state of the migration: %v", err)
		}
		if gradual := m.Mode == lockcluster.ModeGradual; gradual != (m.GradualEpoch != 0) || m.GradualEpoch > m.Epoch {
			c.fail("mode %s began at epoch %d of %d", m.Mode, m.GradualEpoch, m.Epoch)
		}
	}
	for _, s := range Settings(c.r) {
		if s.Name == "" || s.Value == "" {
			c.fail("setting %q is empty", s.Name)
		}
	}
}

// answers holds the remembered answers against the order they are kept in, and
// the clients against theirs.
func (c *checker) answers() {
	var size uint64
	answers := c.ordered(tableAnswer, tableAnswerOrder, func(key string, value []byte) (uint64, string) {
		var rec statepb.AnswerRecord
		decode(key, value, &rec)
		size += uint64(len(key) + len(value))
		return rec.GetOrder(), key
	})
	clients := c.ordered(tableClient, tableClientOrder, func(key string, value []byte) (uint64, string) {
		var rec statepb.ClientRecord
		decode(key, value, &rec)
		return rec.GetOrder(), key[1:]
	})
	if answers != c.books.GetCount() || clients != c.books.GetClients() || size != c.books.GetSizeBytes() {
		c.fail("%d remembered answers of %d bytes and %d clients, but the counters say %d, %d and %d",
			answers, size, clients, c.books.GetCount(), c.books.GetSizeBytes(), c.books.GetClients())
	}
}

// ordered checks that each record of table has its one record in the order
// table, which must hold what of returns beside the order. It returns the
// number of records.
func (c *checker) ordered(table, order byte, of func(key string, value []byte) (uint64, string)) uint64 {
	var n, orders uint64
	c.r.Scan(string(rune(table)), "", func(key string, value []byte) bool {
		n++
		at, name := of(key, value)
		got, _ := c.r.Get(string(appendUint64([]byte{order}, at)))
		if string(got) != name || at > c.books.GetNextOrder() {
			c.fail("table %q: record %d of table %q is not in its order", order, at, table)
		}
		return true
	})
	c.r.Scan(string(rune(order)), "", func(string, []byte) bool { orders++; return true })
	if n != orders {
		c.fail("table %q: %d records for %d of table %q", order, orders, n, table)
	}
	return n
}
