package migration

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// importsPrefix begins the settings in which a cluster keeps what was imported,
// one for each namespace. They are for no person to set.
const importsPrefix = "internal.imported."

const (
	// importsMax bounds the imports that a cluster remembers of a namespace.
	importsMax = 8
	// importsSizeMax keeps them below the size that a setting may have.
	importsSizeMax = 4000
)

// storedWithin is how long an Atlantis may take from making a lock, whose time it
// keeps, until the lock is in its file, and how long reading the file may take:
// what is younger than that may not have been there to be imported.
const storedWithin = 5 * time.Second

// ImportsSetting is the name under which a cluster keeps what was imported into
// a namespace.
func ImportsSetting(namespace string) string { return importsPrefix + namespace }

// IsImportsSetting reports whether a setting is one of [ImportsSetting].
func IsImportsSetting(name string) bool { return strings.HasPrefix(name, importsPrefix) }

// Imported is what a cluster keeps of an import, so that a later one can tell
// what it would bring back.
type Imported struct {
	Origin     string    `json:"origin"`           // where the source was read, and on which machine
	SHA256     string    `json:"sha256,omitempty"` // of what was read; empty: it was followed
	At         time.Time `json:"at"`               // what the source got later is not in the cluster from there
	OnConflict string    `json:"on_conflict"`
	Complete   bool      `json:"complete"` // it came to its end
}

// IsSource reports whether two imports are of one source.
func (i *Imported) isSource(other *Imported) bool {
	return i.Origin == other.Origin || i.SHA256 != "" && i.SHA256 == other.SHA256
}

// ParseImported reads what a cluster keeps; what cannot be read is an error, so
// that it is not taken for nothing.
func ParseImported(setting string) (list []Imported, err error) {
	if setting == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(setting), &list); err != nil {
		return nil, fmt.Errorf("read what was imported before: %w", err)
	}
	return list, nil
}

// NoteImported returns what a cluster is to keep after an import: the list with
// now in the place of the same import before, the latest last. One that came to
// its end stays so while it is repeated: all that it brought was there.
func NoteImported(list []Imported, now Imported) (string, error) {
	list = slices.DeleteFunc(slices.Clone(list), func(old Imported) bool {
		same := old.Origin == now.Origin && old.SHA256 == now.SHA256
		if same && old.Complete && !now.Complete {
			now = old
		}
		return same
	})
	list = append(list, now)
	list = list[max(0, len(list)-importsMax):]
	for {
		b, err := json.Marshal(list)
		if err != nil || len(b) <= importsSizeMax {
			return string(b), err
		}
		if len(list) == 1 {
			return "", fmt.Errorf("%w: the name of the source is too long", lockcluster.ErrInvalid)
		}
		list = list[1:]
	}
}

// BroughtBack returns the records of a plan that a cluster had from an earlier
// import and has no more: somebody released them there. To import them would
// bring them back.
//
// Of the same content every record that is gone was there, as the earlier plan
// tells; of an import that did not come to its end only what comes before the
// last record that it brought. Of another content of the same source, or of a
// source that shares locks with the cluster, it is what is clearly older than the
// earlier import. A source that the cluster has nothing of brings nothing back.
func BroughtBack(src *Source, plan *Plan, now *Imported, earlier []Imported, cluster state.Reader) ([]PlanRecord, error) {
	had := make([]bool, len(plan.Records))
	last, shares := -1, false
	for i, rec := range plan.Records {
		var same bool
		if had[i], same = inCluster(cluster, plan.Namespace, rec); had[i] {
			last, shares = i, shares || same
		}
	}
	var back []PlanRecord
	judges := make([]func(i int, rec PlanRecord) bool, 0, len(earlier))
	for _, before := range earlier {
		if !before.isSource(now) && !shares {
			continue
		}
		judge, err := gone(src, plan.Namespace, now, &before, last)
		if err != nil {
			return nil, err
		}
		judges = append(judges, judge)
	}
	for i, rec := range plan.Records {
		if !had[i] && slices.ContainsFunc(judges, func(judge func(int, PlanRecord) bool) bool { return judge(i, rec) }) {
			back = append(back, rec)
		}
	}
	return back, nil
}

// gone returns what tells whether a record that the cluster has no more was
// brought by an earlier import; last is the last one that it still has.
func gone(src *Source, namespace string, now, before *Imported, last int) (func(i int, rec PlanRecord) bool, error) {
	reached := func(i int) bool { return before.Complete || i < last }
	if now.SHA256 == "" || now.SHA256 != before.SHA256 {
		return func(i int, rec PlanRecord) bool { return reached(i) && isOlder(rec, before.At.Add(-storedWithin)) }, nil
	}
	policy, err := ParseConflictPolicy(before.OnConflict)
	if err != nil {
		return nil, err
	}
	plan, err := BuildPlan(src, PlanOptions{Namespace: namespace, OnConflict: policy})
	if err != nil {
		return nil, err
	}
	planned := map[recordID]bool{}
	for _, rec := range plan.Records {
		planned[idOf(rec)] = true
	}
	return func(i int, rec PlanRecord) bool { return reached(i) && planned[idOf(rec)] }, nil
}

// isOlder reports whether a record was made before a time. A pull status does not
// say when; a lock that does not is an old one.
func isOlder(rec PlanRecord, t time.Time) bool {
	switch q := rec.Request.(type) {
	case lockcluster.Acquire:
		return q.AcquiredAt.Before(t)
	case lockcluster.LockCommand:
		return q.LockedAt.Before(t)
	}
	return false
}

// inCluster reports whether the cluster has a record, whoever holds it, and
// whether it is a lock of the same owner.
func inCluster(r state.Reader, ns string, rec PlanRecord) (has, same bool) {
	switch q := rec.Request.(type) {
	case lockcluster.Acquire:
		l := state.FindLock(r, ns, q.Key.Text())
		return l != nil, l != nil && l.Owner.Same(q.Owner)
	case lockcluster.LockCommand:
		return state.GetCommandLock(r, ns, q.Name) != nil, false
	case lockcluster.PutDocument:
		return state.GetDocument(r, ns, q.Key) != nil, false
	}
	panic(fmt.Sprintf("a plan holds a %T", rec.Request))
}
