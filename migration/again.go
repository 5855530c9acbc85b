package migration

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// importsPrefix begins the settings in which a cluster keeps what was imported: one
// for each import, so that two at the same time do not write over each other's.
// They are for no person to set.
const importsPrefix = "internal.imported."

const (
	// importsMax bounds the imports that a cluster remembers of a namespace; while
	// several go on it may be some more.
	importsMax = 8
	// importsSizeMax keeps one below the size that a setting may have.
	importsSizeMax = 4000
)

// storedWithin is how long an Atlantis may take from making a lock, whose time it
// keeps, until the lock is in its file, and how long reading the file may take:
// what is younger than that may not have been there to be imported.
const storedWithin = 5 * time.Second

// NewImportSetting returns the name of a setting that no other import has. What an
// import leaves in the cluster is under that name.
func NewImportSetting(namespace string) string {
	return importsPrefix + namespace + "/" + rand.Text()[:16] // a namespace has no slash
}

// IsImportsSetting reports whether a setting is one that an import has left.
func IsImportsSetting(name string) bool { return strings.HasPrefix(name, importsPrefix) }

// Imported is what a cluster keeps of an import, so that a later one can tell
// what it would bring back.
type Imported struct {
	Origin     string    `json:"origin"`           // where the source was read, and on which machine
	SHA256     string    `json:"sha256,omitempty"` // of what was read; empty: it was followed
	At         time.Time `json:"at"`               // what the source got later is not in the cluster from there
	OnConflict string    `json:"on_conflict"`
	Complete   bool      `json:"complete"` // it came to its end
	// Brought tells what it did not bring, see [Brings]; empty: that is not known, as
	// of a source that was followed.
	Brought string `json:"brought,omitempty"`
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

// Remembered is one setting in which a cluster keeps what was imported.
type Remembered struct {
	Setting string
	Imports []Imported // one; more where all of a namespace were kept in one setting
}

// latest is the time of the latest import in it.
func (r *Remembered) latest() (at time.Time) {
	for _, i := range r.Imports {
		if i.At.After(at) {
			at = i.At
		}
	}
	return at
}

// ParseMemory reads, among a cluster's settings, what was imported into a namespace,
// the latest last. What cannot be read is an error, so that it is not taken for nothing.
func ParseMemory(settings map[string]string, namespace string) ([]Remembered, error) {
	var memory []Remembered
	for name, value := range settings {
		if rest, ok := strings.CutPrefix(name, importsPrefix+namespace); !ok || rest != "" && rest[0] != '/' {
			continue
		}
		list, err := ParseImported(value)
		if err != nil {
			return nil, err
		}
		memory = append(memory, Remembered{name, list})
	}
	slices.SortFunc(memory, func(a, b Remembered) int {
		return cmp.Or(a.latest().Compare(b.latest()), strings.Compare(a.Setting, b.Setting))
	})
	return memory, nil
}

// AllImports lists what a cluster remembers, the latest last.
func AllImports(memory []Remembered) (all []Imported) {
	for _, r := range memory {
		all = append(all, r.Imports...)
	}
	slices.SortStableFunc(all, func(a, b Imported) int { return a.At.Compare(b.At) })
	return all
}

// NoteImported returns the value under which a cluster is to keep an import, in a
// setting of its own, and the settings in memory that can go then: those of the same
// import before, with the same choice between conflicts, unless it came to its end then and has not now, and the oldest
// beyond what is kept. Whoever else notes an import meanwhile takes nothing from this
// one: nobody writes into another's setting, and what goes is old.
func NoteImported(memory []Remembered, now Imported) (value string, outdated []string, err error) {
	b, err := json.Marshal([]Imported{now})
	if err == nil && len(b) > importsSizeMax {
		now.Brought = ""
		b, err = json.Marshal([]Imported{now})
	}
	switch {
	case err != nil:
		return "", nil, err
	case len(b) > importsSizeMax:
		return "", nil, fmt.Errorf("%w: the name of the source is too long", lockcluster.ErrInvalid)
	}
	var kept []string
	for _, r := range memory {
		replaces := func(old Imported) bool {
			return old.Origin == now.Origin && old.SHA256 == now.SHA256 && old.OnConflict == now.OnConflict && (now.Complete || !old.Complete)
		}
		if slices.ContainsFunc(r.Imports, func(old Imported) bool { return !replaces(old) }) {
			kept = append(kept, r.Setting)
		} else {
			outdated = append(outdated, r.Setting)
		}
	}
	return string(b), append(outdated, kept[:max(0, len(kept)+1-importsMax)]...), nil
}

// Back is a record that an import would bring back.
type Back struct {
	PlanRecord
	From *Imported // the import that brought it, as far as that can be told
}

// BroughtBack returns the records of a plan that a cluster had from an earlier
// import and has no more: somebody released them there. To import them would
// bring them back.
//
// Of the same content every record that is gone was there, as the earlier plan
// tells; of an import that did not come to its end only what comes before the
// last record that it brought. Of another content of the same source, or of a
// source that shares locks with the cluster, it is what is clearly older than the
// earlier import. What an import surely did not bring never came from it. A source
// that the cluster has nothing of brings nothing back.
func BroughtBack(src *Source, plan *Plan, now *Imported, earlier []Imported, cluster state.Reader) ([]Back, error) {
	had := make([]bool, len(plan.Records))
	last, shares := -1, false
	for i, rec := range plan.Records {
		var same bool
		if had[i], same = inCluster(cluster, plan.Namespace, rec); had[i] {
			last, shares = i, shares || same
		}
	}
	// Who brought a record is rather an import of this source, and the latest.
	var judges, others []judge
	for _, before := range slices.Backward(earlier) {
		if !before.isSource(now) && !shares {
			continue
		}
		gone, err := gone(src, plan.Namespace, now, &before, last)
		switch {
		case err != nil:
			return nil, err
		case before.isSource(now):
			judges = append(judges, judge{&before, gone})
		default:
			others = append(others, judge{&before, gone})
		}
	}
	judges = append(judges, others...)
	var back []Back
	for i, rec := range plan.Records {
		if had[i] {
			continue
		}
		if j := slices.IndexFunc(judges, func(j judge) bool { return j.gone(i, rec) && j.before.mayHaveBrought(rec) }); j >= 0 {
			back = append(back, Back{rec, judges[j].before})
		}
	}
	return back, nil
}

// judge tells of an earlier import whether a record that the cluster has no more
// was brought by it.
type judge struct {
	before *Imported
	gone   func(i int, rec PlanRecord) bool
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
