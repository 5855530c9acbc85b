package state

import (
	"fmt"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state/statepb"
)

// settingsMax bounds the settings that have a value.
const settingsMax = 1000

func (a *Applier) setMigration(r lockcluster.SetMigration) lockcluster.Result {
	before := a.migration()
	if r.ExpectedEpoch != before.Epoch {
		return lockcluster.Result{Status: lockcluster.StatusConflict, Text: fmt.Sprintf(
			"the migration stands at epoch %d, not %d: look at it again", before.Epoch, r.ExpectedEpoch)}
	}
	next := r.Next
	next.Active = activeOf(next)
	if err := follows(&before, &next, r.IfEmpty); err != nil {
		return a.invalid(err)
	}
	if r.IfEmpty && holdsRecords(a.tx, next.Namespace) {
		return lockcluster.Result{Status: lockcluster.StatusConflict, Text: fmt.Sprintf(
			"the enhanced system holds records in namespace %s", next.Namespace)}
	}
	res := a.bumpEpoch()
	next.ChangedAt, next.GradualEpoch = a.env.Now, 0
	if next.Mode == lockcluster.ModeGradual {
		next.GradualEpoch = a.meta.TokenEpoch
		if before.Mode == lockcluster.ModeGradual {
			next.GradualEpoch = before.GradualEpoch
		}
	}
	a.tx.Put(keyMigration, encode(migrationRecord(&next)))
	was := a.road
	a.road = roadFrom(a.tx)
	a.rearm(was, before.Namespace) // all other namespaces were the enhanced system's
	return res
}

// activeOf returns the active system: in most modes there is no choice.
func activeOf(m lockcluster.Migration) lockcluster.System {
	switch m.Mode {
	case lockcluster.ModeEnhanced:
		return lockcluster.SystemEnhanced
	case lockcluster.ModeLegacy, lockcluster.ModeShadow:
		return lockcluster.SystemLegacy
	}
	return m.Active
}

// follows reports why next cannot come after before. In ModeGradual the active
// system is the home of all records that were there when the mode began: it is
// who decided then, and stays while the mode does. An enhanced system that
// holds nothing may be told that the records are the legacy system's.
func follows(before, next *lockcluster.Migration, ifEmpty bool) error {
	if next.Mode != lockcluster.ModeGradual {
		return nil
	}
	decided := before.Decides(next.Namespace)
	if decided == 0 {
		decided = before.Active
	}
	free := ifEmpty && decided == lockcluster.SystemEnhanced && before.Mode != lockcluster.ModeGradual
	if next.Active != decided && !free {
		return fmt.Errorf("%w: in gradual mode the active system is the one that decided before: %s", lockcluster.ErrInvalid, decided)
	}
	return nil
}

func holdsRecords(r Reader, ns string) bool {
	found := false
	for _, table := range [...]byte{tableLock, tableCommand, tableDocument} {
		r.Scan(inNamespace(table, ns, ""), "", func(string, []byte) bool {
			found = true
			return false
		})
	}
	return found
}

// rearm has the timers count the leases of ns in full if the enhanced system
// ends more of them now than it did: nobody could renew them meanwhile.
func (a *Applier) rearm(was *lockcluster.Migration, ns string) {
	if expires(a.road, ns) <= expires(was, ns) {
		return
	}
	for _, space := range [...]lockcluster.Space{lockcluster.SpaceLock, lockcluster.SpaceDocument} {
		eachLease(a.tx, leaseKey(space, ns, ""), func(l Lease) bool {
			a.changes = append(a.changes, LeaseChange{Lease: l, Armed: true})
			return true
		})
	}
}

func (a *Applier) setConfig(r lockcluster.SetConfig) lockcluster.Result {
	sub, overlay := a.nested()
	for _, s := range r.Settings {
		if s.Value == "" {
			sub.tx.Delete(settingKey(s.Name))
		} else {
			sub.tx.Put(settingKey(s.Name), encode(&statepb.SettingRecord{Value: []byte(s.Value)}))
		}
	}
	n := 0
	sub.tx.Scan(string(rune(tableSetting)), "", func(string, []byte) bool { n++; return true })
	if n > settingsMax {
		return a.invalid(fmt.Errorf("%w: at most %d settings are kept", lockcluster.ErrInvalid, settingsMax))
	}
	a.take(sub, overlay)
	return lockcluster.Result{Status: lockcluster.StatusApplied}
}

// shadow has requests decided as if the enhanced system decided.
func (a *Applier) shadow(r lockcluster.Shadow) lockcluster.Result {
	m := a.road
	if m == nil || m.Mode != lockcluster.ModeShadow || m.Namespace != r.Namespace || r.Epoch != a.meta.TokenEpoch {
		return lockcluster.Result{Status: lockcluster.StatusIgnored, Text: textEpoch}
	}
	res := lockcluster.Result{Status: lockcluster.StatusApplied}
	for _, req := range r.Requests {
		one := breakAnswer(req, WithoutValues(a.ordinary(req)))
		one.Index = a.env.Index
		res.Results = append(res.Results, one)
	}
	return res
}

// route decides a request that the leader's controller has sent here because
// this is the home of the key that it names.
func (a *Applier) route(r lockcluster.Routed) lockcluster.Result {
	if reason := a.misrouted(&r); reason != "" {
		return notActive(reason)
	}
	if a.env.System == lockcluster.SystemLegacy {
		a.passToken(r.Token)
	}
	a.routed = &r
	defer func() { a.routed = nil }()
	if !a.ownsAll(r.Request) {
		return notActive(textHome)
	}
	return a.ordinary(r.Request)
}

// misrouted returns why r is not this system's to decide, whatever it names.
func (a *Applier) misrouted(r *lockcluster.Routed) string {
	if a.env.System == lockcluster.SystemLegacy {
		if r.Home != lockcluster.SystemLegacy {
			return textHome
		}
		return "" // its epochs are fenced by the backend
	}
	m := a.road
	switch {
	case r.Home != lockcluster.SystemEnhanced:
		return textHome
	case m == nil, r.Epoch != a.meta.TokenEpoch, m.Mode != lockcluster.ModeGradual, r.GradualEpoch != m.GradualEpoch, r.Base != m.Active,
		!asksIn(r.Request, m.Namespace):
		return textEpoch
	case m.GateClosed:
		return textGate
	}
	return ""
}

// ownsAll reports whether every record that req names is at home here, or not
// there at all.
func (a *Applier) ownsAll(req lockcluster.Request) bool {
	if txn, ok := req.(lockcluster.Txn); ok {
		for _, inner := range txn.Requests {
			if !a.ownsAll(inner) {
				return false
			}
		}
		return true
	}
	home, found := a.homeOfNamed(req)
	return !found || a.atHome(home)
}

// homeOfNamed returns the home of the one record that req names, and whether
// there is such a record.
func (a *Applier) homeOfNamed(req lockcluster.Request) (lockcluster.Home, bool) {
	switch r := req.(type) {
	case lockcluster.Acquire:
		return a.homeAt(lockKey(r.Key.Namespace, r.Key.Text()), &statepb.LockRecord{})
	case lockcluster.Release:
		return a.homeAt(lockKey(r.Namespace, r.Text), &statepb.LockRecord{})
	case lockcluster.LockCommand:
		return a.homeAt(commandKey(r.Namespace, r.Name), &statepb.CommandLockRecord{})
	case lockcluster.UnlockCommand:
		return a.homeAt(commandKey(r.Namespace, r.Name), &statepb.CommandLockRecord{})
	case lockcluster.PutDocument:
		return a.homeAt(documentKey(r.Namespace, r.Key), &statepb.DocumentRecord{})
	case lockcluster.DeleteDocument:
		return a.homeAt(documentKey(r.Namespace, r.Key), &statepb.DocumentRecord{})
	case lockcluster.SetTTL:
		return a.homeAt(documentKey(r.Namespace, r.Key), &statepb.DocumentRecord{})
	}
	return lockcluster.Home{}, false
}

func (a *Applier) homeAt(key string, rec homedRecord) (lockcluster.Home, bool) {
	if !get(a.tx, key, rec) {
		return lockcluster.Home{}, false
	}
	return homeFrom(rec), true
}

// atHome reports whether a record with home h is this system's, as the routed
// request in hand says.
func (a *Applier) atHome(h lockcluster.Home) bool {
	m := lockcluster.Migration{GradualEpoch: a.routed.GradualEpoch, Active: a.routed.Base}
	return m.HomeOf(h) == a.routed.Home
}

// newHome returns the home of a record that is made now.
func (a *Applier) newHome() lockcluster.Home {
	if a.routed == nil {
		return lockcluster.Home{}
	}
	return lockcluster.Home{System: a.routed.Home, Epoch: a.routed.GradualEpoch}
}
