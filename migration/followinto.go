package migration

import (
	"context"
	"fmt"

	"github.com/lockcluster/lockcluster"
)

// FollowInto returns the [Follower.Apply] that keeps a namespace of a cluster
// equal to the source. The cluster must have no other writer there: what the
// source no longer has is removed, and what it has in another form is replaced.
func FollowInto(cluster Doer, namespace string) func(context.Context, *Plan, Diff) error {
	return func(ctx context.Context, plan *Plan, d Diff) error {
		client, err := newClientID()
		if err != nil {
			return err
		}
		seq := uint64(0)
		do := func(req lockcluster.Request) error {
			seq++
			id := lockcluster.RequestID{ClientID: client, Sequence: seq, AckedBelow: seq}
			res, err := cluster.Do(ctx, id, req)
			if err != nil {
				return err
			}
			switch res.Status {
			case lockcluster.StatusReleased, lockcluster.StatusDeleted, lockcluster.StatusStored, lockcluster.StatusNotFound:
				return nil
			}
			return fmt.Errorf("the cluster answered %s %s", res.Status, res.Text)
		}
		for _, rec := range d.Removed {
			if err := do(removal(namespace, rec)); err != nil {
				return fmt.Errorf("remove %s: %w", rec.Identity, err)
			}
		}
		add := &Plan{Namespace: namespace, Records: d.Added}
		for _, rec := range d.Changed {
			if doc, ok := rec.Request.(lockcluster.PutDocument); ok {
				if err := do(doc); err != nil {
					return fmt.Errorf("change %s: %w", rec.Identity, err)
				}
				continue
			}
			if err := do(removal(namespace, rec)); err != nil {
				return fmt.Errorf("change %s: %w", rec.Identity, err)
			}
			add.Records = append(add.Records, rec)
		}
		r, err := Importer{Cluster: cluster}.Import(ctx, add)
		switch {
		case err != nil:
			return err
		case len(r.Conflicts) > 0:
			return fmt.Errorf("the cluster holds %s (and %d more) in another form: who else writes to it?", r.Conflicts[0].Identity, len(r.Conflicts)-1)
		}
		return nil
	}
}

// removal frees what a record stands for, whoever has it.
func removal(namespace string, rec PlanRecord) lockcluster.Request {
	switch q := rec.Request.(type) {
	case lockcluster.Acquire:
		return lockcluster.Release{Namespace: namespace, Text: q.Key.Text()}
	case lockcluster.LockCommand:
		return lockcluster.UnlockCommand{Namespace: namespace, Name: q.Name}
	case lockcluster.PutDocument:
		return lockcluster.DeleteDocument{Namespace: namespace, Key: q.Key}
	}
	panic(fmt.Sprintf("a plan holds a %T", rec.Request))
}
