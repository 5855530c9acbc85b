package health

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lockcluster/lockcluster"
)

// Limits of the rollback controller.
const (
	rollbackTimeout = 2 * time.Minute // of one rollback
	eventsMax       = 100             // that are remembered
)

// HealthSource has the figures that a [RollbackController] judges by; a
// [Monitor] is one.
type HealthSource interface {
	Window(s lockcluster.System, length time.Duration) Window
	Baseline(s lockcluster.System) Window
}

// Switcher is the migration, as the [RollbackController] needs it.
type Switcher interface {
	// State reports whether a rollback is this node's to decide: it leads, and
	// the enhanced system decides while a legacy system is attached.
	State() (active bool)
	// Rollback makes the legacy system decide again, with every lock of the
	// enhanced system carried over. An error means that it did not, or that it
	// is not known; nobody tries again.
	Rollback(ctx context.Context, reason string) error
}

// RollbackState is what a [RollbackController] is at.
type RollbackState string

// The states.
const (
	RollbackDisabled RollbackState = "disabled" // by the policy
	RollbackStandby  RollbackState = "standby"  // the legacy system decides, or another node leads
	RollbackWatching RollbackState = "watching"
	RollbackCooldown RollbackState = "cooldown" // after a rollback
	RollbackFrozen   RollbackState = "frozen"   // after a rollback that failed: a person must look
)

// RollbackEvent says that the controller acted.
type RollbackEvent struct {
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
	Failed string    `json:"failed,omitempty"` // why the rollback did not succeed; empty if it did
}

// RollbackConfig is what a [RollbackController] needs to know.
type RollbackConfig struct {
	Source   HealthSource
	Switcher Switcher
	Policy   RollbackPolicy
	Metrics  *MigrationMetrics // nil: counts are only kept
	// OnEvent is called once for every event, on the goroutine of
	// MonitorAndRollback. Nil: nobody listens.
	OnEvent func(RollbackEvent)
}

// RollbackController goes back to the legacy system when the enhanced one
// fails: once for each incident. It goes on watching after that, but after a
// rollback that failed it does nothing until the systems are switched by
// someone else or [RollbackController.Resume] is called.
type RollbackController struct {
	cfg     RollbackConfig
	changed chan struct{} // the policy was replaced

	mu            sync.Mutex // guards what follows
	policy        RollbackPolicy
	activeSince   time.Time // when the enhanced system was first seen to decide; zero: it does not
	cooldownUntil time.Time
	frozen        bool
	rollbacks     uint64
	events        []RollbackEvent // the latest, oldest first
}

// NewRollbackController returns a controller; it acts while
// [RollbackController.MonitorAndRollback] runs.
func NewRollbackController(cfg RollbackConfig) (*RollbackController, error) {
	if cfg.Source == nil || cfg.Switcher == nil {
		return nil, errors.New("rollback controller: no source or no switcher")
	}
	if err := cfg.Policy.Validate(); err != nil {
		return nil, err
	}
	if cfg.Metrics == nil {
		m, err := NewMigrationMetrics(nil)
		if err != nil {
			return nil, err
		}
		cfg.Metrics = m
	}
	if cfg.OnEvent == nil {
		cfg.OnEvent = func(RollbackEvent) {}
	}
	return &RollbackController{cfg: cfg, policy: cfg.Policy, changed: make(chan struct{}, 1)}, nil
}

// SetPolicy replaces the policy at once. Windows that were collected stay.
func (c *RollbackController) SetPolicy(p RollbackPolicy) error {
	if err := p.Validate(); err != nil {
		return err
	}
	c.mu.Lock()
	c.policy = p
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default: // the loop has not seen the last change yet
	}
	return nil
}

// Resume ends the frozen state: the next check may roll back again.
func (c *RollbackController) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setFrozen(false)
	c.activeSince = time.Time{}
}

// MonitorAndRollback checks at every interval until ctx ends. A rollback that
// ctx ends is neither a success nor a failure. To be called once.
func (c *RollbackController) MonitorAndRollback(ctx context.Context) {
	for {
		c.mu.Lock()
		interval := c.policy.CheckInterval
		c.mu.Unlock()
		timer := time.NewTimer(interval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-c.changed:
			timer.Stop()
		case <-timer.C:
			c.check(ctx)
		}
	}
}

func (c *RollbackController) check(ctx context.Context) {
	reason := c.reason(c.cfg.Switcher.State(), time.Now())
	if reason == "" {
		return
	}
	rctx, cancel := context.WithTimeout(ctx, rollbackTimeout)
	err := c.cfg.Switcher.Rollback(rctx, reason)
	cancel()
	if err != nil && ctx.Err() != nil {
		return
	}
	c.cfg.OnEvent(c.done(reason, err))
}

// reason returns why to roll back now, empty if not.
func (c *RollbackController) reason(active bool, now time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !active {
		c.activeSince = time.Time{}
		c.setFrozen(false)
		return ""
	}
	if c.activeSince.IsZero() {
		c.activeSince = now // what was before belongs to another incident
	}
	if c.frozen || !c.policy.Enabled || now.Before(c.cooldownUntil) {
		return ""
	}
	length := min(c.policy.Window, now.Sub(c.activeSince))
	return c.policy.judge(c.cfg.Source.Window(lockcluster.SystemEnhanced, length), c.cfg.Source.Baseline(lockcluster.SystemLegacy))
}

// done notes the outcome of a rollback.
func (c *RollbackController) done(reason string, err error) RollbackEvent {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	e := RollbackEvent{Time: now.Round(0).UTC(), Reason: reason}
	c.activeSince = time.Time{}
	if err != nil {
		e.Failed = err.Error()
		c.setFrozen(true)
		c.cfg.Metrics.rollbackFailures.Inc()
	} else {
		c.cooldownUntil = now.Add(c.policy.Cooldown)
		c.rollbacks++
		c.cfg.Metrics.rollbacks.Inc()
	}
	if len(c.events) == eventsMax {
		c.events = append(c.events[:0], c.events[1:]...)
	}
	c.events = append(c.events, e)
	return e
}

func (c *RollbackController) setFrozen(frozen bool) {
	c.frozen = frozen
	c.cfg.Metrics.setFrozen(frozen)
}

// RollbackStatus says what a [RollbackController] is at.
type RollbackStatus struct {
	State         RollbackState   `json:"state"`
	Rollbacks     uint64          `json:"rollbacks"` // by this node, since it started
	CooldownUntil *time.Time      `json:"cooldown_until,omitempty"`
	Policy        RollbackPolicy  `json:"policy"`
	Events        []RollbackEvent `json:"events"` // the latest, oldest first
}

// Status returns what the controller is at.
func (c *RollbackController) Status() RollbackStatus {
	active := c.cfg.Switcher.State()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := RollbackStatus{State: RollbackWatching, Rollbacks: c.rollbacks, Policy: c.policy, Events: append([]RollbackEvent{}, c.events...)}
	cooling := time.Now().Before(c.cooldownUntil)
	if cooling {
		until := c.cooldownUntil.Round(0).UTC()
		s.CooldownUntil = &until
	}
	switch {
	case c.frozen:
		s.State = RollbackFrozen
	case !c.policy.Enabled:
		s.State = RollbackDisabled
	case cooling:
		s.State = RollbackCooldown
	case !active:
		s.State = RollbackStandby
	}
	return s
}
