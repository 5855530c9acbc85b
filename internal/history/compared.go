package history

import (
	"slices"
	"time"

	"github.com/lockcluster/lockcluster"
)

// compared says which parts of answers are compared.
type compared struct {
	essential bool // not stored values, users, times and leases: see [Options]
	visible   bool // not what only the log tells: the leader's times, the epochs of leases, homes
}

// result returns r with only the parts that are compared.
func (c compared) result(r lockcluster.Result) lockcluster.Result {
	if !c.essential && !c.visible {
		return r
	}
	r.Lock, r.CommandLock, r.Document = c.lock(r.Lock), c.commandLock(r.CommandLock), c.document(r.Document)
	r.Locks = slices.Clone(r.Locks)
	for i := range r.Locks {
		r.Locks[i] = *c.lock(&r.Locks[i])
	}
	r.Results = slices.Clone(r.Results)
	for i := range r.Results {
		r.Results[i] = c.result(r.Results[i])
	}
	return r
}

// value returns a stored value as far as it is compared.
func (c compared) value(v []byte) string {
	if c.essential {
		return ""
	}
	return string(v)
}

func (c compared) lock(l *lockcluster.Lock) *lockcluster.Lock {
	if l == nil || !c.essential && !c.visible {
		return l
	}
	v := *l
	v.AcquiredAt, v.RenewedAt, v.LeaseEpoch, v.Home = time.Time{}, time.Time{}, 0, lockcluster.Home{}
	if c.essential {
		v.User, v.Priority, v.Value = "", 0, nil
	}
	return &v
}

func (c compared) commandLock(l *lockcluster.CommandLock) *lockcluster.CommandLock {
	if l == nil || !c.essential && !c.visible {
		return l
	}
	v := *l
	v.LockedAt, v.Home = time.Time{}, lockcluster.Home{}
	if c.essential {
		v.Value = nil
	}
	return &v
}

func (c compared) document(d *lockcluster.Document) *lockcluster.Document {
	if d == nil || !c.essential && !c.visible {
		return d
	}
	v := *d
	v.ArmedAt, v.LeaseEpoch, v.Home = time.Time{}, 0, lockcluster.Home{}
	if c.essential {
		v.Value = nil
	}
	return &v
}
