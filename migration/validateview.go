package migration

import (
	"fmt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// SourceOfView returns what a cluster holds of a namespace as if it were a
// legacy system: the stored values, or what Atlantis would be shown for locks
// without one. others counts documents that are not Atlantis's.
func SourceOfView(view *state.View, namespace string) (src *Source, others int) {
	src = &Source{}
	add := func(bucket, key string, value []byte) {
		src.Records = append(src.Records, SourceRecord{Bucket: bucket, Key: key, Value: value})
	}
	state.ListLocks(view, namespace, state.LockFilter{}, func(l *lockcluster.Lock) bool {
		value := l.Value
		if value == nil {
			value = compat.NewLockValue(*l)
		}
		add(BucketLocks, l.Key.Text(), value)
		return true
	})
	state.Keys(view, namespace, lockcluster.SpaceCommand, "", func(name string) bool {
		add(BucketCommandLocks, compat.CommandLockBoltKey(name), state.GetCommandLock(view, namespace, name).Value)
		return true
	})
	state.Keys(view, namespace, lockcluster.SpaceDocument, "", func(key string) bool {
		if _, _, _, err := compat.ParsePullStatusKey(key); err != nil {
			others++
			return true
		}
		add(BucketPulls, key, state.GetDocument(view, namespace, key).Value)
		return true
	})
	return src, others
}

// ValidateView is [Validate] for what a cluster holds of a namespace. It also
// compares each lock's owner with its value, and checks the invariants of the
// whole state.
func ValidateView(view *state.View, namespace string, o ValidateOptions) (*ValidationReport, error) {
	if err := lockcluster.ValidateNamespace(namespace); err != nil {
		return nil, err
	}
	src, others := SourceOfView(view, namespace)
	r := Validate(src, o)
	r.Source, r.Namespace, r.Index, r.Other = "cluster", namespace, view.Index(), others
	at := map[string]int{}
	for i, rec := range r.Records {
		if rec.Bucket == BucketLocks {
			at[rec.Key] = i
		}
	}
	state.ListLocks(view, namespace, state.LockFilter{}, func(l *lockcluster.Lock) bool {
		if l.Value == nil || l.Owner.ID != "" {
			return true
		}
		if rec, err := compat.ParseLock(l.Value); err == nil && rec.Owner.Pull != l.Owner.Pull {
			i := at[l.Key.Text()]
			r.Records[i].Findings = append(r.Records[i].Findings, Finding{
				Severity: SeverityError, Kind: FindOwner,
				Text:   fmt.Sprintf("the cluster has it for pull request %d, its value says %d", l.Owner.Pull, rec.Owner.Pull),
				Repair: "release the lock and plan again",
			})
		}
		return true
	})
	if err := state.CheckInvariants(view); err != nil {
		r.Invariants = err.Error()
	}
	r.count()
	return r, nil
}
