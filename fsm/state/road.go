package state

import (
	"fmt"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state/statepb"
)

// GetMigration returns the state of the road between two systems. Where none
// was ever set, the enhanced system decides everything. The epoch is always
// that of the fencing tokens.
func GetMigration(r Reader) lockcluster.Migration {
	var meta statepb.MetaRecord
	epoch := uint64(1)
	if get(r, keyMeta, &meta) {
		epoch = meta.GetTokenEpoch()
	}
	return atEpoch(roadFrom(r), epoch)
}

func atEpoch(road *lockcluster.Migration, epoch uint64) lockcluster.Migration {
	if road == nil {
		return lockcluster.Migration{Epoch: epoch, Mode: lockcluster.ModeEnhanced, Active: lockcluster.SystemEnhanced}
	}
	m := *road
	m.Epoch = epoch
	return m
}

// roadFrom returns what was set last, without the epoch; nil if nothing was.
func roadFrom(r Reader) *lockcluster.Migration {
	var rec statepb.MigrationRecord
	if !get(r, keyMigration, &rec) {
		return nil
	}
	m := &lockcluster.Migration{
		Mode: lockcluster.Mode(rec.GetMode()), Active: lockcluster.System(rec.GetActive()), GateClosed: rec.GetGateClosed(),
		Legacy: string(rec.GetLegacy()), LegacyHost: string(rec.GetLegacyHost()), Namespace: string(rec.GetNamespace()),
		Percentage: rec.GetPercentage(), GradualEpoch: rec.GetGradualEpoch(), ChangedAt: millis(rec.GetChangedUnixMs()),
		Reason: string(rec.GetReason()),
	}
	for _, c := range rec.GetCanary() {
		m.Canary = append(m.Canary, lockcluster.CanaryRule{
			ProjectName: string(c.GetProjectName()), Workspace: string(c.GetWorkspace()), UserGroup: string(c.GetUserGroup()),
		})
	}
	return m
}

func migrationRecord(m *lockcluster.Migration) *statepb.MigrationRecord {
	rec := &statepb.MigrationRecord{
		Mode: uint32(m.Mode), Active: uint32(m.Active), GateClosed: m.GateClosed, Legacy: []byte(m.Legacy),
		LegacyHost: []byte(m.LegacyHost), Namespace: []byte(m.Namespace), Percentage: m.Percentage,
		GradualEpoch: m.GradualEpoch, ChangedUnixMs: m.ChangedAt.UnixMilli(), Reason: []byte(m.Reason),
	}
	for _, c := range m.Canary {
		rec.Canary = append(rec.Canary, &statepb.CanaryRecord{
			ProjectName: []byte(c.ProjectName), Workspace: []byte(c.Workspace), UserGroup: []byte(c.UserGroup),
		})
	}
	return rec
}

// Settings returns all settings that have a value, by name.
func Settings(r Reader) []lockcluster.Setting {
	var all []lockcluster.Setting
	r.Scan(string(rune(tableSetting)), "", func(key string, value []byte) bool {
		var rec statepb.SettingRecord
		decode(key, value, &rec)
		all = append(all, lockcluster.Setting{Name: key[1:], Value: string(rec.GetValue())})
		return true
	})
	return all
}

// GetSetting returns the value of a setting, empty if it has none.
func GetSetting(r Reader, name string) string {
	var rec statepb.SettingRecord
	get(r, settingKey(name), &rec)
	return string(rec.GetValue())
}

// MigrationChanged returns the state of the road and whether the entry so far
// has changed it or its epoch.
func (a *Applier) MigrationChanged() (lockcluster.Migration, bool) { return a.migration(), a.moved }

func (a *Applier) migration() lockcluster.Migration { return atEpoch(a.road, a.meta.TokenEpoch) }

func notActive(reason string) lockcluster.Result {
	return lockcluster.Result{Status: lockcluster.StatusNotActive, Text: reason}
}

// Why a request is not active.
const (
	textGate    = "the gate is closed: a switch is under way"
	textLegacy  = "the legacy system decides now"
	textGradual = "each key has its own system now: only the leader's controller may ask"
	textEpoch   = "the state of the migration has changed since"
	textHome    = "the other system decides about this key"
)

// inactive returns why req is not the enhanced system's to decide now; empty
// if it is.
func (a *Applier) inactive(req lockcluster.Request) string {
	m := a.road
	if m == nil || !asksIn(req, m.Namespace) {
		return ""
	}
	switch {
	case m.GateClosed:
		return textGate
	case m.Decides(m.Namespace) == lockcluster.SystemLegacy:
		return textLegacy
	case m.Decides(m.Namespace) != lockcluster.SystemEnhanced:
		return textGradual
	}
	return ""
}

// asksIn reports whether a request of a client reads or changes namespace ns.
func asksIn(req lockcluster.Request, ns string) bool {
	switch r := req.(type) {
	case lockcluster.Acquire:
		return r.Key.Namespace == ns
	case lockcluster.Release:
		return r.Namespace == ns
	case lockcluster.ReleaseByPull:
		return r.Namespace == ns
	case lockcluster.LockCommand:
		return r.Namespace == ns
	case lockcluster.UnlockCommand:
		return r.Namespace == ns
	case lockcluster.PutDocument:
		return r.Namespace == ns
	case lockcluster.DeleteDocument:
		return r.Namespace == ns
	case lockcluster.SetTTL:
		return r.Namespace == ns
	case lockcluster.Import:
		return r.Namespace == ns
	case lockcluster.Txn:
		for _, inner := range r.Requests {
			if asksIn(inner, ns) {
				return true
			}
		}
		return r.Namespace == ns
	}
	return false
}

// mayExpire reports whether the enhanced system may end a lease of ns. While
// the gate is closed it may not: the other system may have renewed the record.
func (a *Applier) mayExpire(ns string, home lockcluster.Home) bool {
	switch expires(a.road, ns) {
	case expiresAll:
		return true
	case expiresSome:
		return a.road.HomeOf(home) == lockcluster.SystemEnhanced
	}
	return false
}

// expiry says which leases of a namespace the enhanced system ends, in rising
// order.
type expiry int

const (
	expiresNone expiry = iota
	expiresSome        // those of its own records
	expiresAll
)

func expires(m *lockcluster.Migration, ns string) expiry {
	switch {
	case m == nil:
		return expiresAll
	case m.GateClosed && ns == m.Namespace:
		return expiresNone
	case m.Decides(ns) == lockcluster.SystemEnhanced:
		return expiresAll
	case m.Decides(ns) == lockcluster.SystemLegacy:
		return expiresNone
	}
	return expiresSome
}

// errNoTTL is the legacy systems' answer to what their store has no place for.
var errNoTTL = fmt.Errorf("%w: the legacy system keeps no leases and no TTLs; switch to the enhanced system first", lockcluster.ErrInvalid)

// refusedByLegacy reports what the legacy system cannot decide.
func refusedByLegacy(s lockcluster.System, req lockcluster.Request) error {
	if s != lockcluster.SystemLegacy {
		return nil
	}
	switch r := req.(type) {
	case lockcluster.SetMigration, lockcluster.SetConfig, lockcluster.Shadow, lockcluster.RegisterNode, lockcluster.Checkpoint, lockcluster.BumpEpoch,
		lockcluster.Pin:
		return fmt.Errorf("%w: %T is for the enhanced system", lockcluster.ErrInvalid, req)
	case lockcluster.Routed:
		return refusedByLegacy(s, r.Request)
	case lockcluster.Txn:
		for _, inner := range r.Requests {
			if err := refusedByLegacy(s, inner); err != nil {
				return err
			}
		}
	case lockcluster.Import:
		for i := range r.Locks {
			if r.Locks[i].TTL > 0 {
				return errNoTTL
			}
		}
		for i := range r.Documents {
			if r.Documents[i].TTL > 0 {
				return errNoTTL
			}
		}
	}
	if asksTTL(req) > 0 {
		return errNoTTL
	}
	return nil
}

func asksTTL(req lockcluster.Request) time.Duration {
	switch r := req.(type) {
	case lockcluster.Acquire:
		return r.TTL
	case lockcluster.PutDocument:
		return r.TTL
	case lockcluster.SetTTL:
		return r.TTL
	}
	return 0
}
