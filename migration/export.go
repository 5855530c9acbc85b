package migration

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// Left is a record of the cluster that an atlantis.db has no place for.
type Left struct {
	Kind   string `json:"kind"` // lock, command_lock or document
	Key    string `json:"key"`
	KeyHex string `json:"key_hex,omitempty"` // the key's bytes when they are not UTF-8
	Reason string `json:"reason"`
}

// Kinds of records in [Left] and [Rewritten].
const (
	KindLock        = "lock"
	KindCommandLock = "command_lock"
	KindDocument    = "document"
)

// Rewritten is a record whose stored value Atlantis would not understand as
// the cluster does; the file has a value with the same facts instead.
type Rewritten struct {
	Kind  string `json:"kind"`
	Key   string `json:"key"`
	About string `json:"about"`
}

// ExportPlan is what an atlantis.db will hold of a namespace, and what not.
type ExportPlan struct {
	Namespace string
	Index     uint64 // log index of the content
	Term      uint64
	Records   []SourceRecord // of all three buckets; values hold secrets
	Skipped   []Left
	Rewritten []Rewritten
	// OwnerIDs are the locks of owner ids: Atlantis shows them as of pull
	// request 0, and the owner id as their user.
	OwnerIDs []string
	// Leases counts those of OwnerIDs that would have expired; in the file they
	// do not.
	Leases int
	// Elsewhere are other namespaces that hold records.
	Elsewhere []string
	// Digest is that of the cluster's content in the form of [Report.Digest].
	Digest string
}

// PlanExport decides what each record of a namespace becomes in an atlantis.db.
func PlanExport(view *state.View, namespace string) (*ExportPlan, error) {
	if err := lockcluster.ValidateNamespace(namespace); err != nil {
		return nil, err
	}
	e := &exporter{plan: &ExportPlan{Namespace: namespace, Index: view.Index(), Term: view.Term()}, view: view}
	state.ListLocks(view, namespace, state.LockFilter{}, func(l *lockcluster.Lock) bool {
		e.lock(l)
		return true
	})
	state.Keys(view, namespace, lockcluster.SpaceCommand, "", func(name string) bool {
		e.command(state.GetCommandLock(view, namespace, name))
		return true
	})
	state.Keys(view, namespace, lockcluster.SpaceDocument, "", func(key string) bool {
		e.document(state.GetDocument(view, namespace, key))
		return true
	})
	for _, ns := range state.Namespaces(view) {
		if ns != namespace {
			e.plan.Elsewhere = append(e.plan.Elsewhere, ns)
		}
	}
	slices.SortFunc(e.plan.Records, compareRecords)
	e.plan.Digest = digestSum(e.digests)
	return e.plan, nil
}

func compareRecords(a, b SourceRecord) int {
	return cmp.Or(cmp.Compare(a.Bucket, b.Bucket), cmp.Compare(a.Key, b.Key))
}

type exporter struct {
	plan    *ExportPlan
	view    *state.View
	digests [][sha256.Size]byte
}

func (e *exporter) skip(kind, key, reason string) {
	e.plan.Skipped = append(e.plan.Skipped, Left{Kind: kind, Key: key, KeyHex: keyHex(key), Reason: reason})
}

func (e *exporter) add(bucket, key string, value []byte) {
	e.plan.Records = append(e.plan.Records, SourceRecord{Bucket: bucket, Key: key, Value: value})
}

func (e *exporter) lock(l *lockcluster.Lock) {
	text := l.Key.Text()
	value, about := forStock(l)
	stored := l.Value
	if stored == nil {
		stored = value
	}
	e.digests = append(e.digests, lockDigest(l, stored))
	if !keptByStock(text) {
		e.skip(KindLock, text, stockDropsText)
		return
	}
	if about != "" {
		e.plan.Rewritten = append(e.plan.Rewritten, Rewritten{KindLock, text, about})
	}
	if l.Owner.ID != "" {
		e.plan.OwnerIDs = append(e.plan.OwnerIDs, text)
		if l.TTL > 0 {
			e.plan.Leases++
		}
	}
	e.add(BucketLocks, text, value)
}

// lockDigest is the digest of a lock as an import of its value counts it.
func lockDigest(l *lockcluster.Lock, value []byte) [sha256.Size]byte {
	owner := lockcluster.Owner{Host: l.Owner.Host, Repo: l.Owner.Repo, Pull: l.Owner.Pull}
	if r, err := compat.ParseLock(value); err == nil {
		owner = r.Owner
	}
	return digestOf(PlanRecord{Bucket: BucketLocks, Identity: l.Key.Text(), Request: lockcluster.Acquire{Owner: owner, Value: value}})
}

func (e *exporter) command(c *lockcluster.CommandLock) {
	name, err := compat.ParseCommandName(c.Name)
	value := c.Value
	if value == nil && err == nil {
		value = compat.NewCommandLockValue(name, c.LockedAt)
	}
	e.digests = append(e.digests, digestOf(PlanRecord{
		Bucket: BucketCommandLocks, Identity: c.Name, Request: lockcluster.LockCommand{Value: value},
	}))
	if err != nil {
		e.skip(KindCommandLock, c.Name, "Atlantis knows no command of this name")
		return
	}
	if rec, err := compat.ParseCommandLock(value); err != nil || rec.Command.String() != c.Name {
		value = compat.NewCommandLockValue(name, c.LockedAt)
		e.plan.Rewritten = append(e.plan.Rewritten, Rewritten{KindCommandLock, c.Name, "its value does not say that this command is locked"})
	}
	e.add(BucketCommandLocks, compat.CommandLockBoltKey(c.Name), value)
}

func (e *exporter) document(d *lockcluster.Document) {
	rec, err := compat.ParsePullStatus(d.Value)
	key := ""
	if err == nil {
		key, err = rec.Key()
	}
	switch {
	case err != nil:
		e.skip(KindDocument, d.Key, "it is no pull status, and an atlantis.db holds no other documents")
	case key != d.Key:
		e.skip(KindDocument, d.Key, "it is the status of another pull request than its key says")
	default:
		e.digests = append(e.digests, digestOf(PlanRecord{
			Bucket: BucketPulls, Identity: key, Request: lockcluster.PutDocument{Value: d.Value},
		}))
		e.add(BucketPulls, key, d.Value)
	}
}

// ExportOptions says where the content of a cluster goes.
type ExportOptions struct {
	File string
	// Overwrite replaces a file that is there, unless an Atlantis has it open.
	Overwrite bool
	// Progress is told how many of all records are written; may be nil.
	Progress func(done, total int)
}

// ExportReport says what an export wrote. Its JSON fields are relied on by
// scripts: more may be added, none is renamed. It holds no value.
type ExportReport struct {
	File         string      `json:"file"`
	Source       string      `json:"source"` // where the content came from; the caller sets it
	Namespace    string      `json:"namespace"`
	Locks        int         `json:"locks"`
	Pulls        int         `json:"pulls"`
	CommandLocks int         `json:"command_locks"`
	Skipped      []Left      `json:"skipped"`
	Rewritten    []Rewritten `json:"rewritten"`
	// OwnerLocks counts locks of owner ids, Leases those of them with a TTL.
	OwnerLocks []string `json:"owner_locks"`
	Leases     int      `json:"leases"`
	Elsewhere  []string `json:"other_namespaces"`
	Index      uint64   `json:"index"`
	Term       uint64   `json:"term"`
	// Digest is that of the file, read back, and what an import of it will
	// show; ClusterDigest is that of the content it was made from. They differ
	// if something was skipped or rewritten, else not.
	Digest        string `json:"digest"`
	ClusterDigest string `json:"cluster_digest"`
	SHA256        string `json:"sha256"`
	SizeBytes     int64  `json:"size_bytes"`
}

// Complete reports whether the file has every record of the namespace.
func (r *ExportReport) Complete() bool { return len(r.Skipped) == 0 }

// ExportBolt writes what a view holds of a namespace to a new atlantis.db,
// which appears under its name when it is complete, on disk and read back.
//
// Errors: [ErrExists], [ErrInUse], [lockcluster.ErrInvalid], or those of the
// file system; nothing is left behind then.
func ExportBolt(ctx context.Context, view *state.View, namespace string, o ExportOptions) (*ExportReport, error) {
	plan, err := PlanExport(view, namespace)
	if err != nil {
		return nil, err
	}
	file, err := WriteBolt(ctx, plan.Records, o)
	if err != nil {
		return nil, err
	}
	r := &ExportReport{
		File: o.File, Namespace: namespace, Skipped: orEmpty(plan.Skipped), Rewritten: orEmpty(plan.Rewritten),
		OwnerLocks: orEmpty(plan.OwnerIDs), Leases: plan.Leases, Elsewhere: orEmpty(plan.Elsewhere),
		Index: plan.Index, Term: plan.Term, Digest: file.Digest, ClusterDigest: plan.Digest, SHA256: file.SHA256, SizeBytes: file.Size,
	}
	for _, rec := range plan.Records {
		switch rec.Bucket {
		case BucketLocks:
			r.Locks++
		case BucketPulls:
			r.Pulls++
		case BucketCommandLocks:
			r.CommandLocks++
		}
	}
	if r.Complete() && len(r.Rewritten) == 0 && r.Digest != r.ClusterDigest {
		return r, fmt.Errorf("the file's digest %s is not the cluster's %s though nothing was left out: do not use the file", r.Digest, r.ClusterDigest)
	}
	return r, nil
}

// ParseTarget takes apart what --to names: "boltdb:FILE".
func ParseTarget(to string) (file string, err error) {
	scheme, file, ok := strings.Cut(to, ":")
	if !ok || scheme != SourceBolt || file == "" {
		return "", fmt.Errorf("%w: where to write to is given as boltdb:FILE, e.g. boltdb:/var/lib/atlantis/atlantis.db", lockcluster.ErrInvalid)
	}
	return file, nil
}
