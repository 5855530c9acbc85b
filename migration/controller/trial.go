package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat/bridge"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// trial is what the latest time in mode shadow has come to. It is kept among the
// settings, so that neither a failover nor another mode forgets it.
type trial struct {
	Since       time.Time `json:"since"`          // when shadowing began
	Until       time.Time `json:"until,omitzero"` // when it ended; zero while it lasts
	Operations  uint64    `json:"operations"`     // decided by the legacy system
	Compared    uint64    `json:"compared"`       // of these, answered by both
	Bad         uint64    `json:"bad"`            // differed, or had no answer
	Unexplained uint64    `json:"unexplained"`    // differed, and nobody has accepted it
}

// trialStep is how many comparisons a leader may lose by dying.
const trialStep = 1000

// trialKept returns the trial as it is stored.
func (t *term) trialKept() (kept trial) {
	text := ""
	t.c.node.StaleRead(func(r state.Reader, _ uint64) { text = state.GetSetting(r, settingTrial) })
	if text != "" {
		_ = json.Unmarshal([]byte(text), &kept) // our own writing
	}
	return kept
}

// trialNow is the trial with what this leader has seen.
func (t *term) trialNow() trial {
	now, counts := t.c.shadow.before(), t.c.shadow.counts()
	now.Operations += counts.Operations
	now.Compared += counts.Compared
	now.Bad += counts.Total + counts.Outages
	now.Unexplained = t.c.shadow.unexplained()
	return now
}

// keepTrial stores the trial, if enough has happened since.
func (t *term) keepTrial(ctx context.Context, always bool) error {
	kept, now := t.trialKept(), t.trialNow()
	if !always && kept.Unexplained == now.Unexplained && now.Compared < kept.Compared+trialStep {
		return nil
	}
	b, err := json.Marshal(now)
	if err != nil {
		return err
	}
	return t.store(ctx, map[string]string{settingTrial: string(b)})
}

// beginTrial forgets the trials before.
func (t *term) beginTrial(ctx context.Context) error {
	t.c.shadow.clear(trial{Since: time.Now().UTC().Round(time.Second)})
	return t.keepTrial(ctx, true)
}

// endTrial notes that shadowing is over.
func (t *term) endTrial(ctx context.Context) {
	earlier := t.c.shadow.before()
	earlier.Until = time.Now().UTC().Round(time.Second)
	t.c.shadow.earlier.Store(&earlier)
	if err := t.keepTrial(ctx, true); err != nil {
		t.warn("the end of the trial is not noted", err)
	}
}

// criteria judges whether a cutover to the enhanced system is wise by the
// settings under switch-criteria; without any it is.
func (t *term) criteria(m *lockcluster.Migration) (checks []string, err error) {
	want, have := bridge.Decode(t.settings()).Criteria, t.trialNow()
	var errs []error
	judge := func(ok bool, format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		checks = append(checks, text)
		if !ok {
			errs = append(errs, errors.New(text))
		}
	}
	if m.Mode == lockcluster.ModeShadow || want.NoDivergence {
		judge(have.Unexplained == 0, "%d divergences that nobody has explained (want 0; \"lockcluster migration report\" lists them, "+
			"\"migration report --clear\" accepts them)", have.Unexplained)
	}
	if want.MinValidationTime > 0 {
		lasted := have.lasted().Round(time.Second)
		judge(lasted >= want.MinValidationTime, "%s in mode shadow (want %s)", lasted, want.MinValidationTime)
	}
	if want.MinSuccessfulOperations > 0 {
		judge(have.Compared >= uint64(want.MinSuccessfulOperations), "%d operations compared (want %d)", have.Compared, want.MinSuccessfulOperations) //nolint:gosec // above 0
	}
	if want.MaxErrorRate < 1 && have.Operations > 0 {
		rate := float64(have.Bad) / float64(have.Operations)
		judge(rate <= want.MaxErrorRate, "%.4f of the operations failed or differed (want at most %g)", rate, want.MaxErrorRate)
	}
	if err = errors.Join(errs...); err != nil {
		err = fmt.Errorf("%w: the criteria for a switch are not met (--force leaves them out): %w", ErrRefused, err)
	}
	return checks, err
}

// lasted returns how long the trial has lasted.
func (t trial) lasted() time.Duration {
	switch {
	case t.Since.IsZero():
		return 0
	case t.Until.IsZero():
		return time.Since(t.Since)
	}
	return t.Until.Sub(t.Since)
}
