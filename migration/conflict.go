package migration

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
)

// ConflictPolicy says what to do when a source holds one lock for two pull
// requests.
type ConflictPolicy uint8

const (
	// ConflictFail leaves the lock out and reports it: a person decides.
	ConflictFail ConflictPolicy = 0
	// ConflictKeepOlder imports the lock that was taken first.
	ConflictKeepOlder ConflictPolicy = 1
	// ConflictKeepNewer imports the lock that was taken last.
	ConflictKeepNewer ConflictPolicy = 2
)

var conflictPolicyNames = [...]string{"fail", "keep-older", "keep-newer"}

// String returns the policy's name.
func (p ConflictPolicy) String() string {
	if int(p) >= len(conflictPolicyNames) {
		return fmt.Sprintf("policy %d", uint8(p))
	}
	return conflictPolicyNames[p]
}

// ParseConflictPolicy returns the policy of that name.
func ParseConflictPolicy(name string) (ConflictPolicy, error) {
	i := slices.Index(conflictPolicyNames[:], name)
	if i < 0 {
		return 0, fmt.Errorf("%w: conflict policy %q: use fail, keep-older or keep-newer", lockcluster.ErrInvalid, name)
	}
	return ConflictPolicy(i), nil
}

// Where a candidate of a conflict is held.
const (
	InSource  = "source"
	InCluster = "cluster"
)

// Conflict is one identity that more than one holder claims.
type Conflict struct {
	Identity   string      `json:"identity"`
	Candidates []Candidate `json:"candidates"`
	Reason     string      `json:"reason"`
	// Kept is the stored key of the candidate that a policy chose; empty when
	// nothing was imported and a person has to decide.
	Kept string `json:"kept,omitempty"`

	lost []SourceRecord // candidates of the source that are not imported
}

// Candidate is one of the holders in a [Conflict].
type Candidate struct {
	In     string `json:"in"` // InSource or InCluster
	Bucket string `json:"bucket,omitempty"`
	Key    string `json:"key"` // as it is stored there
	KeyHex string `json:"key_hex,omitempty"`
	Host   string `json:"host,omitempty"`
	Repo   string `json:"repo,omitempty"`
	Pull   int    `json:"pull,omitempty"`
	Owner  string `json:"owner,omitempty"`
	User   string `json:"user,omitempty"`
	Time   string `json:"time,omitempty"` // RFC 3339; empty when not known
}

// candidate is a source record that claims an identity.
type candidate struct {
	source SourceRecord
	lock   compat.LockRecord
	form   compat.KeyForm
}

// settle chooses which record of one identity is imported: the earliest one of
// a single pull request, or what the policy says between several. It returns
// nil when none is.
func (p *planner) settle(identity string, all []candidate) *candidate {
	slices.SortStableFunc(all, compareAge)
	claims := byOwner(all)
	if len(claims) == 1 {
		if len(all) > 1 {
			d := Duplicate{Identity: identity, Bucket: BucketLocks, Kept: all[0].source.Key}
			for _, c := range all[1:] {
				d.Dropped = append(d.Dropped, c.source.Key)
			}
			p.plan.Duplicates = append(p.plan.Duplicates, d)
		}
		return &all[0]
	}
	conflict := Conflict{Identity: identity, Reason: fmt.Sprintf("%d pull requests claim this lock", len(claims))}
	for _, c := range all {
		conflict.Candidates = append(conflict.Candidates, c.describe())
	}
	kept := choose(claims, p.options.OnConflict)
	switch {
	case kept != nil:
		conflict.Kept = kept.source.Key
	case p.options.OnConflict != ConflictFail:
		conflict.Reason += ", and their times do not tell which was first"
	}
	for _, c := range all {
		if kept == nil || c.source.Key != kept.source.Key {
			conflict.lost = append(conflict.lost, c.source)
		}
	}
	p.plan.Conflicts = append(p.plan.Conflicts, conflict)
	return kept
}

// compareAge orders by time, then the present key form before the old one. A
// record without a time comes last: nothing is known to be younger.
func compareAge(a, b candidate) int {
	unknown := func(c candidate) int {
		if c.lock.Time.IsZero() {
			return 1
		}
		return 0
	}
	return cmp.Or(
		unknown(a)-unknown(b),
		a.lock.Time.Compare(b.lock.Time),
		boolCompare(b.form == compat.KeyPresent, a.form == compat.KeyPresent),
		cmp.Compare(a.source.Key, b.source.Key),
	)
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

// byOwner groups candidates, which are in order of age, by pull request. A
// candidate without a host joins only where it contradicts nobody.
func byOwner(all []candidate) [][]candidate {
	var claims [][]candidate
next:
	for _, c := range all {
		for i, claim := range claims {
			if !slices.ContainsFunc(claim, func(d candidate) bool { return !d.lock.Owner.Same(c.lock.Owner) }) {
				claims[i] = append(claim, c)
				continue next
			}
		}
		claims = append(claims, []candidate{c})
	}
	return claims
}

// choose returns the earliest record of the pull request that the policy
// prefers; nil when it prefers none, or the times do not tell.
func choose(claims [][]candidate, policy ConflictPolicy) *candidate {
	if policy == ConflictFail {
		return nil
	}
	var best *candidate
	for i := range claims {
		c := &claims[i][0]
		if c.lock.Time.IsZero() {
			return nil
		}
		if best == nil {
			best = c
			continue
		}
		order := c.lock.Time.Compare(best.lock.Time)
		if order == 0 {
			return nil
		}
		if (order < 0) == (policy == ConflictKeepOlder) {
			best = c
		}
	}
	return best
}

func (c candidate) describe() Candidate {
	return Candidate{
		In: InSource, Bucket: c.source.Bucket, Key: c.source.Key, KeyHex: keyHex(c.source.Key),
		Host: c.lock.Owner.Host, Repo: c.lock.Owner.Repo, Pull: c.lock.Owner.Pull,
		User: c.lock.User, Time: timeText(c.lock.Time),
	}
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// keyHex returns the bytes of a key that JSON cannot hold.
func keyHex(key string) string {
	if utf8.ValidString(key) {
		return ""
	}
	return hex.EncodeToString([]byte(key))
}
