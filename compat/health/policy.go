package health

import (
	"fmt"
	"time"

	"github.com/lockcluster/lockcluster"
)

// RollbackPolicy says when the cluster goes back to the legacy system by
// itself.
type RollbackPolicy struct {
	Enabled       bool          `json:"enabled"`
	CheckInterval time.Duration `json:"check_interval_ns"`
	Window        time.Duration `json:"window_ns"` // what the shares and percentiles are taken over
	// Threshold is the share of failed operations of the enhanced system above
	// which it rolls back.
	Threshold float64 `json:"threshold"`
	// MinSamples is how many operations a window needs to say anything.
	MinSamples uint64 `json:"min_samples"`
	// P95Ratio is how many times the legacy system's p95 latency the enhanced
	// system's may be; zero: latency is no reason.
	P95Ratio float64 `json:"p95_ratio"`
	// Cooldown is how long no other rollback follows one.
	Cooldown time.Duration `json:"cooldown_ns"`
}

// DefaultRollbackPolicy returns the defaults; the policy is off.
func DefaultRollbackPolicy() RollbackPolicy {
	return RollbackPolicy{
		CheckInterval: 5 * time.Second, Window: DefaultWindow, Threshold: 0.05, MinSamples: DefaultMinSamples, Cooldown: 5 * time.Minute,
	}
}

// Validate reports what makes p unusable.
func (p RollbackPolicy) Validate() error {
	switch {
	case p.CheckInterval < 100*time.Millisecond || p.CheckInterval > HorizonMax:
		return fmt.Errorf("%w: rollback check interval %v: use 100ms to %v", lockcluster.ErrInvalid, p.CheckInterval, HorizonMax)
	case p.Window < 2*slotWidth || p.Window > HorizonMax:
		return fmt.Errorf("%w: rollback window %v: use %v to %v", lockcluster.ErrInvalid, p.Window, 2*slotWidth, HorizonMax)
	case !(p.Threshold > 0 && p.Threshold <= 1): // not a number fails too
		return fmt.Errorf("%w: rollback threshold %v: it is a share, above 0 and at most 1 (5 %% is 0.05)", lockcluster.ErrInvalid, p.Threshold)
	case p.MinSamples == 0:
		return fmt.Errorf("%w: rollback minimum sample 0: one error of one call would roll back; use 1 or more", lockcluster.ErrInvalid)
	case p.P95Ratio != 0 && !(p.P95Ratio > 1 && p.P95Ratio <= 1000):
		return fmt.Errorf("%w: rollback p95 ratio %v: use 0 (off), or above 1 and at most 1000", lockcluster.ErrInvalid, p.P95Ratio)
	case p.Cooldown < 0:
		return fmt.Errorf("%w: rollback cooldown %v is negative", lockcluster.ErrInvalid, p.Cooldown)
	}
	return nil
}

// judge returns why these figures ask for a rollback, empty if they don't.
func (p RollbackPolicy) judge(enhanced, legacy Window) string {
	if enhanced.Count < p.MinSamples {
		return ""
	}
	if ratio := enhanced.ErrorRatio(); ratio > p.Threshold {
		return fmt.Sprintf("automatic rollback: %d of %d operations of the enhanced system failed in %v (%.1f %%, threshold %.1f %%)",
			enhanced.Errors, enhanced.Count, enhanced.Covered.Round(time.Second), 100*ratio, 100*p.Threshold)
	}
	if p.P95Ratio == 0 || legacy.Count < p.MinSamples || legacy.P95 <= 0 {
		return ""
	}
	if ratio := enhanced.P95.Seconds() / legacy.P95.Seconds(); ratio > p.P95Ratio {
		return fmt.Sprintf("automatic rollback: p95 latency of the enhanced system is %v, %.2f times the %v of the legacy system (limit %.2f)",
			enhanced.P95.Round(time.Microsecond), ratio, legacy.P95.Round(time.Microsecond), p.P95Ratio)
	}
	return ""
}
