package migration

import (
	"bytes"

	"github.com/lockcluster/lockcluster"
)

// Diff is what has become different between two plans of one source.
type Diff struct {
	Added   []PlanRecord
	Changed []PlanRecord // as they are now
	Removed []PlanRecord // as they were
}

// Empty reports whether nothing is different.
func (d *Diff) Empty() bool { return len(d.Added)+len(d.Changed)+len(d.Removed) == 0 }

// recordID is what makes two records of a plan the same.
type recordID struct{ bucket, identity string }

func idOf(r PlanRecord) recordID { return recordID{r.Bucket, r.Identity} }

// DiffPlans returns what must change in a copy of before so that it is one of
// after; before may be nil for nothing at all. The order is that of the plans.
func DiffPlans(before, after *Plan) Diff {
	var d Diff
	was := map[recordID]lockcluster.Request{}
	if before != nil {
		for _, r := range before.Records {
			was[idOf(r)] = r.Request
		}
	}
	for _, r := range after.Records {
		id := idOf(r)
		old, ok := was[id]
		switch {
		case !ok:
			d.Added = append(d.Added, r)
		case !sameRequest(old, r.Request):
			d.Changed = append(d.Changed, r)
		}
		delete(was, id)
	}
	if len(was) == 0 {
		return d
	}
	for _, r := range before.Records {
		if _, gone := was[idOf(r)]; gone {
			d.Removed = append(d.Removed, r)
		}
	}
	return d
}

// sameRequest reports whether two requests of one record would store the same.
func sameRequest(a, b lockcluster.Request) bool {
	switch p := a.(type) {
	case lockcluster.Acquire:
		// Everything else of it is read from the value.
		q, ok := b.(lockcluster.Acquire)
		return ok && p.Key == q.Key && p.Owner == q.Owner && bytes.Equal(p.Value, q.Value)
	case lockcluster.LockCommand:
		q, ok := b.(lockcluster.LockCommand)
		return ok && bytes.Equal(p.Value, q.Value)
	case lockcluster.PutDocument:
		q, ok := b.(lockcluster.PutDocument)
		return ok && bytes.Equal(p.Value, q.Value)
	}
	panic("a plan holds no other request")
}
