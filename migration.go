package lockcluster

import (
	"fmt"
	"time"
)

// System is one of the two lock systems that a cluster may know. The zero
// value is unset; persisted, never renumber.
type System uint8

// The systems.
const (
	SystemEnhanced System = 1 // the replicated state machine
	SystemLegacy   System = 2 // Atlantis's own store, attached to the cluster
)

var systemNames = [...]string{"", "enhanced", "legacy"}

// String returns the system's name, empty when unset.
func (s System) String() string {
	if int(s) < len(systemNames) {
		return systemNames[s]
	}
	return fmt.Sprintf("system %d", uint8(s))
}

// Other returns the other system.
func (s System) Other() System {
	if s == SystemLegacy {
		return SystemEnhanced
	}
	return SystemLegacy
}

// ParseSystem returns the system of that name.
func ParseSystem(name string) (System, error) {
	for i, n := range systemNames {
		if i > 0 && n == name {
			return System(i), nil
		}
	}
	return 0, fmt.Errorf("%w: system %q: use enhanced or legacy", ErrInvalid, name)
}

// Mode says how the two systems share the work. The zero value is unset;
// persisted, never renumber.
type Mode uint8

// The modes.
const (
	// ModeEnhanced: the enhanced system decides; there is no legacy system.
	ModeEnhanced Mode = 1
	// ModeLegacy: the legacy system decides, the enhanced one is untouched.
	ModeLegacy Mode = 2
	// ModeShadow: the legacy system decides, the enhanced one does everything
	// after the fact, and the answers are compared.
	ModeShadow Mode = 3
	// ModeGradual: each key has its system, chosen while it is free.
	ModeGradual Mode = 4
	// ModeBlueGreen: the active system decides, the other holds a mirror.
	ModeBlueGreen Mode = 5
)

var modeNames = [...]string{"", "enhanced", "legacy", "shadow", "gradual", "blue-green"}

// String returns the mode's name, empty when unset.
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// ParseMode returns the mode of that name.
func ParseMode(name string) (Mode, error) {
	for i, n := range modeNames {
		if i > 0 && n == name {
			return Mode(i), nil
		}
	}
	return 0, fmt.Errorf("%w: mode %q: use enhanced, legacy, shadow, gradual or blue-green", ErrInvalid, name)
}

// Migration is the replicated state of the road between two systems. It covers
// one namespace, that of the legacy system; every other namespace is the
// enhanced system's.
type Migration struct {
	// Epoch is that of the fencing tokens: every change of this state raises it.
	Epoch uint64
	Mode  Mode
	// Active decides in ModeBlueGreen. In ModeGradual it is the system that
	// decided when the mode began, home of the records that were there then.
	// In the other modes it follows from the mode.
	Active System
	// GateClosed makes every request of the namespace wait.
	GateClosed bool
	Legacy     string // name of the attached legacy system, empty for none
	LegacyHost string // node that has it, empty when every node reaches it
	Namespace  string // what the legacy system covers
	Percentage uint32 // ModeGradual: share of the keys that go to the enhanced system, 0 to 100
	Canary     []CanaryRule
	// GradualEpoch is the epoch at which ModeGradual began, else 0.
	GradualEpoch uint64
	ChangedAt    time.Time // the leader's wall clock, for display
	Reason       string    // why it was changed last, for people
}

// CanaryRule sends matching locks to the enhanced system in ModeGradual. All
// fields that are set must match.
type CanaryRule struct {
	ProjectName string
	Workspace   string
	UserGroup   string
}

// Home says which system decides about one record in ModeGradual; it counts
// only if Epoch is [Migration.GradualEpoch].
type Home struct {
	System System
	Epoch  uint64
}

// HomeOf returns the system that decides about a record with home h while m is
// in ModeGradual.
func (m *Migration) HomeOf(h Home) System {
	if m.GradualEpoch != 0 && h.Epoch == m.GradualEpoch {
		return h.System
	}
	return m.Active
}

// Decides returns the system that decides every request of the namespace, or
// zero if that differs from key to key (ModeGradual).
func (m *Migration) Decides(namespace string) System {
	switch {
	case m.Mode == 0, m.Mode == ModeEnhanced, namespace != m.Namespace:
		return SystemEnhanced
	case m.Mode == ModeLegacy, m.Mode == ModeShadow:
		return SystemLegacy
	case m.Mode == ModeBlueGreen:
		return m.Active
	}
	return 0
}

// SetMigration replaces the migration state. Epoch, GradualEpoch and ChangedAt
// of Next are set by the rules.
//
// Results: [StatusApplied] with the new epoch in Token; [StatusConflict] when
// the epoch is not ExpectedEpoch any more, or IfEmpty is set and the enhanced
// system holds records in the namespace; nothing changed then.
type SetMigration struct {
	ExpectedEpoch uint64
	IfEmpty       bool
	Next          Migration
}

// Setting is one replicated setting.
type Setting struct {
	Name  string
	Value string // empty: back to the default
}

// SetConfig changes replicated settings, all or none; their names and values
// mean nothing to the rules.
//
// Result: [StatusApplied].
type SetConfig struct {
	Settings []Setting
}

// RecordRef names one record of a namespace.
type RecordRef struct {
	Namespace string
	Space     Space
	Key       string // as in [Condition]
}

// Mirror makes records of a namespace exactly what the other system has:
// Deletes go first, then Locks, CommandLocks and Documents replace what is
// there, tokens and revisions included. It grants nothing.
//
// Results: [StatusApplied]; [StatusIgnored] when the epoch is not Epoch.
type Mirror struct {
	Namespace    string
	Epoch        uint64
	Deletes      []RecordRef
	Locks        []Lock
	CommandLocks []CommandLock
	Documents    []Document
	// Token is the greatest that the other system is known to have granted: all
	// that this one grants from now on are greater, but for those in Locks.
	Token Token
}

// Shadow has the enhanced system decide what the legacy system has decided.
//
// Results: [StatusApplied] with one result per request in Results, without
// stored values; [StatusIgnored] when the epoch is not Epoch or the mode is
// not [ModeShadow].
type Shadow struct {
	Namespace string
	Epoch     uint64
	Requests  []Request // Acquire to Txn, and Import
}

// Routed is a request of ModeGradual, sent by the leader to the system that
// decides about its key.
//
// Results: those of Request; [StatusNotActive] when the epoch is not Epoch, or
// a record that the request names has another home. ReleaseByPull leaves out
// the locks of another home.
type Routed struct {
	Epoch        uint64 // of the migration state; the enhanced system checks it
	GradualEpoch uint64
	Base         System // Migration.Active
	Home         System // of the system that is asked
	// Token is the greatest that the enhanced system has granted. The legacy
	// system grants greater ones, so that the tokens of a key rise when its home
	// changes; the way back is [Mirror.Token].
	Token   Token
	Request Request
}

// Pin notes, under the request id of a client's request, what that is about
// before a system is asked that remembers no answers. What comes under that id
// from then on, the request itself included, is told what was found first, or
// the answer if there is one already.
//
// Result: [StatusPinned] with the parts of Found.
type Pin struct {
	Namespace string
	Digest    uint64 // of the request, fsm/command.DigestOf
	Found     Result
}

func (Pin) isRequest()          {}
func (SetMigration) isRequest() {}
func (SetConfig) isRequest()    {}
func (Mirror) isRequest()       {}
func (Shadow) isRequest()       {}
func (Routed) isRequest()       {}
