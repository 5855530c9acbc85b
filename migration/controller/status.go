package controller

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/migration"
)

// Status is the migration as the leader sees it.
type Status struct {
	Mode         string                   `json:"mode"`
	ActiveSystem string                   `json:"active_system"` // empty in mode gradual: it differs from key to key
	Epoch        uint64                   `json:"epoch"`
	GateClosed   bool                     `json:"gate_closed"`
	Percentage   uint32                   `json:"percentage"`
	Canary       []lockcluster.CanaryRule `json:"canary,omitempty"`
	Namespace    string                   `json:"namespace,omitempty"`
	Since        time.Time                `json:"since"`
	Reason       string                   `json:"reason,omitempty"`
	Leader       string                   `json:"leader"`
	Ready        bool                     `json:"ready"` // the leader has fenced and compared both systems
	Legacy       LegacyStatus             `json:"legacy"`
	Enhanced     SystemStatus             `json:"enhanced"`
	MirrorBehind int                      `json:"mirror_behind"` // records that the mirror has yet to take over
	ShadowQueue  int                      `json:"shadow_queue"`
	Shadow       ShadowCounts             `json:"shadow"`
	Mismatches   []migration.Mismatch     `json:"mismatches"` // the latest first
	Switches     []Change                 `json:"switches"`   // by this leader, the latest last
	Criteria     []string                 `json:"criteria"`
	SwitchTo     string                   `json:"switch_to,omitempty"`      // the system that a switch would have decide; the next two are about that switch
	SwitchReady  bool                     `json:"switch_ready"`             // it would be let through now
	SwitchWhyNot string                   `json:"switch_why_not,omitempty"` // else why not, and what to do
	Available    string                   `json:"available,omitempty"`      // a legacy system that a node has and that is not attached
	Health       json.RawMessage          `json:"health,omitempty"`         // the figures of both systems, see [Config]
}

// SystemStatus is what a system holds.
type SystemStatus struct {
	Locks        int    `json:"locks"`
	CommandLocks int    `json:"command_locks"`
	Documents    int    `json:"documents"`
	Digest       string `json:"digest"` // equal in two systems that hold the same
}

// LegacyStatus is how the legacy system is.
type LegacyStatus struct {
	Kind      string `json:"kind"` // empty: none is attached
	Host      string `json:"host,omitempty"`
	Reachable bool   `json:"reachable"`
	Problem   string `json:"problem,omitempty"`
	ID        string `json:"id,omitempty"`       // of the store that was attached
	Refused   bool   `json:"refused,omitempty"`  // what is there is another one, see Problem
	Followed  bool   `json:"followed,omitempty"` // it is its Atlantis's until a switch takes it
	SystemStatus
}

// Change is one change of the migration state that this leader has made, or
// tried to make.
type Change struct {
	Time         time.Time `json:"time"`
	From         string    `json:"from"`
	To           string    `json:"to"`
	Epoch        uint64    `json:"epoch"`
	GateClosedMS float64   `json:"gate_closed_ms"`
	Carried      int       `json:"carried"`
	Reason       string    `json:"reason,omitempty"`
	Error        string    `json:"error,omitempty"`
}

// changesMax bounds the changes that a leader remembers.
const changesMax = 200

// changeHistory remembers the latest changes.
type changeHistory struct {
	mu   sync.Mutex // guards list
	list []Change
	told func(d time.Duration) // of each closed gate; may be nil
}

func (h *changeHistory) note(c *change, err error) {
	one := Change{
		Time: time.Now().UTC().Round(0), From: describe(&c.before), To: describe(&c.next), Epoch: c.after.Epoch,
		GateClosedMS: float64(c.gateTime.Microseconds()) / 1000, Carried: c.carried, Reason: c.next.Reason,
	}
	if err != nil {
		one.Error, one.Epoch = err.Error(), c.before.Epoch
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.list) == changesMax {
		h.list = append(h.list[:0], h.list[1:]...)
	}
	h.list = append(h.list, one)
	if h.told != nil {
		h.told(c.gateTime)
	}
}

func (h *changeHistory) all() []Change {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Change{}, h.list...)
}

// describe names a migration state in a word or two.
func describe(m *lockcluster.Migration) string {
	if m.Mode == lockcluster.ModeBlueGreen {
		return m.Mode.String() + " " + m.Active.String()
	}
	return m.Mode.String()
}

// Status asks the leader how the migration stands.
func (c *Controller) Status(ctx context.Context) (Status, error) {
	out, err := c.control(ctx, controlRequest{Status: true})
	if err != nil || out.Status == nil {
		return Status{}, err
	}
	return *out.Status, nil
}

// ClearMismatches forgets the divergences found so far, after a person has
// looked at them.
func (c *Controller) ClearMismatches(ctx context.Context) error {
	_, err := c.control(ctx, controlRequest{Clear: true})
	return err
}

// mismatchesShown bounds the divergences in a status.
const mismatchesShown = 100

func (t *term) status(ctx context.Context) Status {
	m := t.c.Migration()
	view, _ := t.c.node.StaleView()
	s := Status{
		Mode: m.Mode.String(), ActiveSystem: m.Decides(m.Namespace).String(), Epoch: m.Epoch, GateClosed: m.GateClosed,
		Percentage: m.Percentage, Canary: m.Canary, Namespace: m.Namespace, Since: m.ChangedAt, Reason: m.Reason,
		Leader: t.c.cfg.NodeID, Ready: t.ready.Load(), Enhanced: systemStatus(view, m.Namespace),
		Legacy:       LegacyStatus{Kind: m.Legacy, Host: m.LegacyHost, ID: t.c.storeID()},
		MirrorBehind: t.c.changed.size() + t.toEnhanced.size(), ShadowQueue: t.queue.size(),
		Shadow: t.c.shadow.counts(), Mismatches: t.c.shadow.mismatches.Load().Latest(mismatchesShown), Switches: t.c.history.all(),
	}
	if t.c.cfg.Health != nil {
		s.Health = t.c.cfg.Health()
	}
	if m.Legacy == "" {
		if a := t.c.findAttached(ctx); a != nil {
			s.Available = a.Kind
			if a.Host != "" {
				s.Available += " on " + a.Host
			}
		}
		return s
	}
	ctx, cancel := answerable(ctx)
	defer cancel()
	old, err := t.legacyView(ctx, &m)
	if err == nil && t.strange.Load() != nil {
		err = t.strangeErr() // what is there can be read, and is another cluster's
	}
	to := lockcluster.SystemEnhanced
	if m.Decides(m.Namespace) == to {
		to = lockcluster.SystemLegacy
	}
	s.SwitchTo = to.String()
	if err != nil {
		err = t.c.advised(&m, err)
		s.Legacy.Problem, s.Legacy.Refused = err.Error(), t.strange.Load() != nil || errors.Is(err, backends.ErrOtherStore)
		s.SwitchWhyNot = whyNot(unusable(&m, to, err))
		return s
	}
	s.Legacy.Reachable, s.Legacy.SystemStatus = true, systemStatus(old, m.Namespace)
	s.Legacy.Followed = t.followed(ctx, &m)
	s.Criteria, _ = t.criteria(&m) // the switch itself tells whether they are met
	_, _, err = t.mayGo(ctx, &m, to, false)
	s.SwitchReady, s.SwitchWhyNot = err == nil, whyNot(err)
	return s
}

// whyNot is the refusal of a switch in a line.
func whyNot(err error) string {
	if err == nil {
		return ""
	}
	text := strings.TrimPrefix(err.Error(), ErrRefused.Error()+": ")
	return strings.ReplaceAll(text, "\n", "; ")
}

func systemStatus(r state.Reader, ns string) SystemStatus {
	var s SystemStatus
	for space, n := range map[lockcluster.Space]*int{
		lockcluster.SpaceLock: &s.Locks, lockcluster.SpaceCommand: &s.CommandLocks, lockcluster.SpaceDocument: &s.Documents,
	} {
		state.Keys(r, ns, space, "", func(string) bool {
			*n++
			return true
		})
	}
	digest, _ := state.ContentDigest(r, ns)
	s.Digest = hexShort(digest)
	return s
}
