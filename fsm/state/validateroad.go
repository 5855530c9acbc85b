package state

import (
	"fmt"
	"unicode/utf8"

	"github.com/lockcluster/lockcluster"
)

// Bounds of one request of the road between two systems.
const (
	mirrorRecordsMax  = 1000
	shadowRequestsMax = 1000
	settingsTogether  = 200
	settingNameMax    = 128
	settingValueMax   = 4096
	canaryRulesMax    = 200
	reasonSizeMax     = lockcluster.NameSizeMax
)

// legacyNames are the legacy systems that can be attached.
var legacyNames = [...]string{"boltdb", "redis"}

func validateRoad(req lockcluster.Request) error {
	switch r := req.(type) {
	case lockcluster.SetMigration:
		return validateMigration(&r.Next)
	case lockcluster.SetConfig:
		return validateConfig(r)
	case lockcluster.Mirror:
		return validateMirror(r)
	case lockcluster.Shadow:
		return validateShadow(r)
	case lockcluster.Routed:
		return validateRouted(r)
	case lockcluster.Pin:
		return lockcluster.ValidateNamespace(r.Namespace)
	}
	return fmt.Errorf("%w: unknown request type %T", lockcluster.ErrInvalid, req)
}

func validateMigration(m *lockcluster.Migration) error {
	switch {
	case m.Mode < lockcluster.ModeEnhanced || m.Mode > lockcluster.ModeBlueGreen:
		return fmt.Errorf("%w: migration mode %d is unknown", lockcluster.ErrInvalid, m.Mode)
	case activeOf(*m) != lockcluster.SystemEnhanced && activeOf(*m) != lockcluster.SystemLegacy:
		return fmt.Errorf("%w: mode %s needs to know which system is active", lockcluster.ErrInvalid, m.Mode)
	case m.Active != 0 && m.Active != activeOf(*m):
		return fmt.Errorf("%w: in mode %s the active system is %s", lockcluster.ErrInvalid, m.Mode, activeOf(*m))
	case m.Legacy != "" && m.Legacy != legacyNames[0] && m.Legacy != legacyNames[1]:
		return fmt.Errorf("%w: legacy system %q: use boltdb or redis", lockcluster.ErrInvalid, m.Legacy)
	case m.Mode != lockcluster.ModeEnhanced && m.Legacy == "":
		return fmt.Errorf("%w: mode %s needs an attached legacy system", lockcluster.ErrInvalid, m.Mode)
	case m.Percentage > 100:
		return fmt.Errorf("%w: the percentage lies between 0 and 100", lockcluster.ErrInvalid)
	case !shortText(m.LegacyHost), !shortText(m.Reason):
		return fmt.Errorf("%w: the legacy host and the reason are UTF-8 of at most %d bytes", lockcluster.ErrInvalid, reasonSizeMax)
	case len(m.Canary) > canaryRulesMax:
		return fmt.Errorf("%w: at most %d canary rules are allowed", lockcluster.ErrInvalid, canaryRulesMax)
	}
	for i, c := range m.Canary {
		if c == (lockcluster.CanaryRule{}) {
			return fmt.Errorf("%w: canary rule %d names nothing and would match every lock; set the percentage to 100 for that",
				lockcluster.ErrInvalid, i+1)
		}
		if !shortText(c.ProjectName) || !shortText(c.Workspace) || !shortText(c.UserGroup) {
			return fmt.Errorf("%w: the names of canary rule %d are UTF-8 of at most %d bytes", lockcluster.ErrInvalid, i+1, reasonSizeMax)
		}
	}
	if m.Mode == lockcluster.ModeEnhanced && m.Namespace == "" {
		return nil
	}
	return lockcluster.ValidateNamespace(m.Namespace)
}

func shortText(s string) bool { return len(s) <= reasonSizeMax && utf8.ValidString(s) }

func validateConfig(r lockcluster.SetConfig) error {
	if len(r.Settings) > settingsTogether {
		return fmt.Errorf("%w: at most %d settings are changed together", lockcluster.ErrInvalid, settingsTogether)
	}
	for _, s := range r.Settings {
		if s.Name == "" || len(s.Name) > settingNameMax || !utf8.ValidString(s.Name) {
			return fmt.Errorf("%w: a setting's name is UTF-8 of 1 to %d bytes", lockcluster.ErrInvalid, settingNameMax)
		}
		if len(s.Value) > settingValueMax || !utf8.ValidString(s.Value) {
			return fmt.Errorf("%w: the value of setting %s is UTF-8 of at most %d bytes", lockcluster.ErrInvalid, s.Name, settingValueMax)
		}
	}
	return nil
}

func validateMirror(r lockcluster.Mirror) error {
	if err := lockcluster.ValidateNamespace(r.Namespace); err != nil {
		return err
	}
	if len(r.Deletes)+len(r.Locks)+len(r.CommandLocks)+len(r.Documents) > mirrorRecordsMax {
		return fmt.Errorf("%w: at most %d records are mirrored together", lockcluster.ErrInvalid, mirrorRecordsMax)
	}
	for _, d := range r.Deletes {
		if _, ok := spaceTable(d.Space); !ok || d.Namespace != r.Namespace {
			return fmt.Errorf("%w: a mirror deletes from an unknown space or another namespace", lockcluster.ErrInvalid)
		}
	}
	for i := range r.Locks {
		if err := validateMirrorLock(r.Namespace, &r.Locks[i]); err != nil {
			return err
		}
	}
	for i := range r.CommandLocks {
		if err := validateMirrorCommand(r.Namespace, &r.CommandLocks[i]); err != nil {
			return err
		}
	}
	for i := range r.Documents {
		if err := validateMirrorDocument(r.Namespace, &r.Documents[i]); err != nil {
			return err
		}
	}
	return nil
}

func validateMirrorLock(ns string, l *lockcluster.Lock) error {
	err := validateAcquire(lockcluster.Acquire{
		Key: l.Key, Owner: l.Owner, User: l.User, Priority: l.Priority, TTL: l.TTL, Value: l.Value,
	})
	if err != nil {
		return err
	}
	if l.Priority == 0 || l.Kind != kindOf(lockcluster.Acquire{Owner: l.Owner, TTL: l.TTL}) {
		return fmt.Errorf("%w: the kind or priority of lock %q does not fit", lockcluster.ErrInvalid, l.Key.Text())
	}
	return validateCopy("lock "+l.Key.Text(), ns, l.Key.Namespace, l.Token.Counter, l.Revision, l.Home)
}

func validateMirrorCommand(ns string, c *lockcluster.CommandLock) error {
	if err := validateLockCommand(lockcluster.LockCommand{Namespace: c.Namespace, Name: c.Name, Value: c.Value}); err != nil {
		return err
	}
	return validateCopy("command lock "+c.Name, ns, c.Namespace, c.Token.Counter, c.Revision, c.Home)
}

func validateMirrorDocument(ns string, d *lockcluster.Document) error {
	if err := validatePut(lockcluster.PutDocument{Namespace: d.Namespace, Key: d.Key, Value: d.Value, TTL: d.TTL}); err != nil {
		return err
	}
	return validateCopy("document "+d.Key, ns, d.Namespace, 1, d.Revision, d.Home)
}

// validateCopy checks what a client's request does not have, but a record must.
func validateCopy(what, want, ns string, tokenCounter, revision uint64, home lockcluster.Home) error {
	switch {
	case ns != want:
		return fmt.Errorf("%w: %q is of namespace %s, not %s", lockcluster.ErrInvalid, what, ns, want)
	case tokenCounter == 0, revision == 0, home.System > lockcluster.SystemLegacy:
		return fmt.Errorf("%w: %q has no fencing token, no revision or an unknown home", lockcluster.ErrInvalid, what)
	}
	return nil
}

func validateShadow(r lockcluster.Shadow) error {
	if len(r.Requests) > shadowRequestsMax {
		return fmt.Errorf("%w: at most %d requests are shadowed together", lockcluster.ErrInvalid, shadowRequestsMax)
	}
	for _, req := range r.Requests {
		if err := validateInner(r.Namespace, req); err != nil {
			return err
		}
	}
	return lockcluster.ValidateNamespace(r.Namespace)
}

// validateInner checks a request inside another: an ordinary one of that
// namespace and no other.
func validateInner(ns string, req lockcluster.Request) error {
	if !asksIn(req, ns) {
		return fmt.Errorf("%w: %T stands inside another request and is none of namespace %q", lockcluster.ErrInvalid, req, ns)
	}
	if txn, ok := req.(lockcluster.Txn); ok {
		for _, inner := range txn.Requests {
			if !asksIn(inner, ns) || txn.Namespace != ns {
				return fmt.Errorf("%w: a transaction of two namespaces stands inside another request", lockcluster.ErrInvalid)
			}
		}
	}
	return Validate(req)
}

func validateRouted(r lockcluster.Routed) error {
	for _, s := range [...]lockcluster.System{r.Base, r.Home} {
		if s != lockcluster.SystemEnhanced && s != lockcluster.SystemLegacy {
			return fmt.Errorf("%w: a routed request names system %d", lockcluster.ErrInvalid, s)
		}
	}
	if r.GradualEpoch == 0 {
		return fmt.Errorf("%w: a routed request needs the epoch at which gradual mode began", lockcluster.ErrInvalid)
	}
	if _, ok := r.Request.(lockcluster.Import); ok {
		return fmt.Errorf("%w: an import cannot be routed: leave gradual mode first", lockcluster.ErrInvalid)
	}
	return validateInner(lockcluster.NamespaceOf(r.Request), r.Request)
}
