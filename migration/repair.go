package migration

import (
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
)

// Repaired is a source with what can be put right put right.
type Repaired struct {
	Records []SourceRecord `json:"-"` // hold secrets
	Changes []RepairChange `json:"changes"`
	// Left are the records that were left out: they cannot be read.
	Left []Quarantined `json:"left_out"`
	// Conflicts are locks that two pull requests claim; left out, too.
	Conflicts []Conflict `json:"conflicts"`
	// Duplicates are second records of one lock, of which one was kept.
	Duplicates []Duplicate `json:"duplicates"`

	plan *Plan
}

// RepairChange is a record that is stored otherwise than in the source.
type RepairChange struct {
	Bucket string   `json:"bucket"`
	Key    string   `json:"key"`
	NewKey string   `json:"new_key,omitempty"` // if it was re-keyed
	About  []string `json:"about"`
}

// Complete reports whether nothing was left out.
func (r *Repaired) Complete() bool { return len(r.Left) == 0 && len(r.Conflicts) == 0 }

// WriteQuarantine keeps the bytes of what was left out: see
// [Plan.WriteQuarantine].
func (r *Repaired) WriteQuarantine(dir string) error { return r.plan.WriteQuarantine(dir) }

// Repair returns the records of a source as a present Atlantis would store
// them: each under the key of its value, once, with values that it reads as we
// do. Values that are sound stay as they are, byte for byte. The source is not
// changed.
func Repair(src *Source) (*Repaired, error) {
	plan, err := BuildPlan(src, PlanOptions{})
	if err != nil {
		return nil, err
	}
	r := &Repaired{
		Changes: []RepairChange{}, Left: orEmpty(plan.Quarantined), Conflicts: orEmpty(plan.Conflicts), Duplicates: orEmpty(plan.Duplicates), plan: plan,
	}
	for _, rec := range plan.Records {
		key, value, about := repaired(rec)
		change := RepairChange{Bucket: rec.Bucket, Key: rec.SourceKey, About: about}
		if key != rec.SourceKey {
			change.NewKey = key
			change.About = append(change.About, "re-keyed")
		}
		if len(change.About) > 0 {
			r.Changes = append(r.Changes, change)
		}
		r.Records = append(r.Records, SourceRecord{Bucket: rec.Bucket, Key: key, Value: value})
	}
	return r, nil
}

// repaired returns the key and value under which a record is to be stored, and
// what was done to the value.
func repaired(rec PlanRecord) (key string, value []byte, about []string) {
	switch q := rec.Request.(type) {
	case lockcluster.Acquire:
		if why := stockLock(q.Value, q.Key, q.Owner); why != "" || lacksRepo(q.Value) {
			if anew := rewriteLock(q.Value, time.Time{}); anew != nil && stockLock(anew, q.Key, q.Owner) == "" {
				return rec.Identity, anew, []string{"value written anew: " + orElse(why, "its pull request named no repository")}
			}
		}
		return rec.Identity, q.Value, nil
	case lockcluster.PutDocument:
		if !stockReadsPull(q.Value) {
			if anew := rewritePull(q.Value); anew != nil {
				return rec.Identity, anew, []string{"value written anew: what Atlantis could not read in it is empty"}
			}
		}
		return rec.Identity, q.Value, nil
	case lockcluster.LockCommand:
		return compat.CommandLockBoltKey(rec.Identity), q.Value, nil
	default:
		panic("a plan holds no other request")
	}
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
