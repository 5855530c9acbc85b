package migration

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/lockcluster/lockcluster"
)

// Report says what became of every record of a source. Its JSON fields are
// relied on by scripts: more may be added, none is renamed. It holds no value.
type Report struct {
	Source       string `json:"source"`
	Namespace    string `json:"namespace"`
	DryRun       bool   `json:"dry_run"`
	Imported     int    `json:"imported"`      // locks that are new in the cluster
	Unchanged    int    `json:"unchanged"`     // locks that the cluster had before, with the same owner
	Pulls        int    `json:"pulls"`         // pull statuses that the cluster now has from here, new or not
	CommandLocks int    `json:"command_locks"` // command locks that the cluster now has from here, new or not

	// CommandLockNames are the commands that the cluster now has locked from here.
	CommandLockNames []string `json:"command_lock_names"`

	Quarantined []Quarantined `json:"quarantined"`
	Conflicts   []Conflict    `json:"conflicts"`
	Duplicates  []Duplicate   `json:"duplicates"`
	Notes       []Note        `json:"notes"`
	// IgnoredBuckets are those of the source that are not Atlantis's.
	IgnoredBuckets []string `json:"ignored_buckets"`
	// OtherKeys counts the keys of a Redis that are not Atlantis's.
	OtherKeys int `json:"other_keys,omitempty"`

	// QuarantineDir is where the bytes of what was not imported are, if they are
	// kept. The caller of the import sets it.
	QuarantineDir string `json:"quarantine_dir,omitempty"`

	// Backup is the file with the cluster's state before the import, if one was
	// asked for. The caller of the import sets it.
	Backup string `json:"backup,omitempty"`

	// Digest is a hash over what the cluster now has from the source:
	// identity, pull request and value of every record. It depends on neither
	// the order nor the cluster.
	Digest string `json:"digest"`

	// SourceSHA256 is the hash of the state that was imported, and
	// SourceSHA256After that of the file when the import had ended. They
	// differ only when Atlantis wrote in between.
	SourceSHA256      string `json:"source_sha256,omitempty"`
	SourceSHA256After string `json:"source_sha256_after,omitempty"`
	SourceTxid        uint64 `json:"source_txid,omitempty"`

	digests [][sha256.Size]byte
	known   int // records that the cluster had before
}

// newReport starts the report of a plan: what it leaves out is known already.
func newReport(p *Plan) *Report {
	r := &Report{
		Namespace:      p.Namespace,
		Quarantined:    p.Quarantined,
		Conflicts:      slices.Clone(p.Conflicts),
		Duplicates:     p.Duplicates,
		Notes:          p.Notes,
		IgnoredBuckets: p.Ignored,
	}
	r.normalize()
	return r
}

// normalize makes every list one that JSON shows as [].
func (r *Report) normalize() {
	r.Quarantined = orEmpty(r.Quarantined)
	r.Conflicts = orEmpty(r.Conflicts)
	r.Duplicates = orEmpty(r.Duplicates)
	r.Notes = orEmpty(r.Notes)
	r.IgnoredBuckets = orEmpty(r.IgnoredBuckets)
	r.CommandLockNames = orEmpty(r.CommandLockNames)
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// Complete reports whether every record was imported or was there before. When
// not, a person has to look at the quarantine and the conflicts: exit code 3.
func (r *Report) Complete() bool {
	return len(r.Quarantined) == 0 && !slices.ContainsFunc(r.Conflicts, open)
}

// open reports whether nobody has decided who of a conflict has the lock.
func open(c Conflict) bool { return c.Kept == "" }

// leftOut counts the locks, pull statuses and command locks that a plan leaves
// out because a person has to look.
func (p *Plan) leftOut() int {
	n := len(p.Quarantined)
	for _, c := range p.Conflicts {
		if open(c) {
			n++
		}
	}
	return n
}

// take notes that the cluster has a record, new or from before.
func (r *Report) take(rec PlanRecord, isNew bool) {
	if !isNew {
		r.known++
	}
	switch {
	case rec.Bucket == BucketPulls:
		r.Pulls++
	case rec.Bucket == BucketCommandLocks:
		r.CommandLocks++
		r.CommandLockNames = append(r.CommandLockNames, rec.Identity)
	case isNew:
		r.Imported++
	default:
		r.Unchanged++
	}
	r.digests = append(r.digests, digestOf(rec))
}

// NoteServed adds a note if the import brought locks into a cluster that had the
// source before, in part or as a whole: if Atlantis runs on that cluster, it may
// have released them there.
func (r *Report) NoteServed() {
	if r.DryRun || r.Imported == 0 {
		return
	}
	were := strconv.Itoa(r.Imported) + " locks were"
	if r.Imported == 1 {
		were = "1 lock was"
	}
	r.Notes = append(r.Notes, Note{Bucket: BucketLocks, About: []string{
		were + " added to a cluster that had records of this source already; locks that Atlantis has released there are back",
	}})
}

// Known counts the records that the cluster had before.
func (r *Report) Known() int { return r.known }

// finish computes the digest.
func (r *Report) finish() { r.Digest = digestSum(r.digests) }

// digestSum returns the digest of records with these digests, in any order.
func digestSum(digests [][sha256.Size]byte) string {
	slices.SortFunc(digests, func(a, b [sha256.Size]byte) int { return slices.Compare(a[:], b[:]) })
	h := sha256.New()
	for _, d := range digests {
		_, _ = h.Write(d[:]) // a hash's Write never fails
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// digestOf returns the hash of one record's bucket, identity, pull request and
// value.
func digestOf(rec PlanRecord) [sha256.Size]byte {
	host, pull, value := "", 0, []byte(nil)
	switch q := rec.Request.(type) {
	case lockcluster.Acquire:
		host, pull, value = q.Owner.Host, q.Owner.Pull, q.Value
	case lockcluster.LockCommand:
		value = q.Value
	case lockcluster.PutDocument:
		value = q.Value
	}
	sum := sha256.Sum256(value)
	var b []byte
	for _, part := range []string{rec.Bucket, rec.Identity, host, strconv.Itoa(pull), string(sum[:])} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return sha256.Sum256(b)
}
