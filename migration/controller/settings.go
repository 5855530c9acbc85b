package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat/bridge"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// The settings that the migration state itself decides.
const (
	settingEnabled    = "enhanced-locking.enabled"
	settingMode       = "enhanced-locking.migration.mode"
	settingActive     = "enhanced-locking.migration.active-system"
	settingPercentage = "enhanced-locking.migration.traffic-percentage"
	settingCanary     = "enhanced-locking.migration.canary-criteria"
)

// Settings that are not for people begin with internalPrefix.
const (
	settingTrial   = internalPrefix + "shadow" // see [trial]
	internalPrefix = "internal."
)

// SettingsRequest changes replicated settings, all or none.
type SettingsRequest struct {
	Assignments []bridge.Assignment `json:"assignments"`
	Reason      string              `json:"reason,omitempty"`
}

// Settings returns the replicated settings that were given.
func (c *Controller) Settings(ctx context.Context) (settings map[string]string, err error) {
	err = c.node.Read(ctx, func(r state.Reader, _ uint64) { settings = settingsOf(r) })
	return settings, err
}

func settingsOf(r state.Reader) map[string]string {
	out := map[string]string{}
	for _, s := range state.Settings(r) {
		if !strings.HasPrefix(s.Name, internalPrefix) {
			out[s.Name] = s.Value
		}
	}
	return out
}

// SetSettings changes replicated settings, live on every node. Those that ask
// for another mode or active system are a change of the migration state, with
// all that belongs to it.
func (c *Controller) SetSettings(ctx context.Context, req SettingsRequest) (lockcluster.SettingsResult, error) {
	out, err := c.control(ctx, controlRequest{Config: &req})
	if err != nil || out.Settings == nil {
		return lockcluster.SettingsResult{}, err
	}
	return *out.Settings, nil
}

func (t *term) settings() (settings map[string]string) {
	t.c.node.StaleRead(func(r state.Reader, _ uint64) { settings = settingsOf(r) })
	return settings
}

func (t *term) setSettings(ctx context.Context, req SettingsRequest) (res lockcluster.SettingsResult, err error) {
	m := t.c.Migration()
	current := t.settings()
	site := bridge.Site{Legacy: m.Legacy}
	changes, err := bridge.Changes(site, current, req.Assignments)
	if err != nil {
		if _, wrong := bridge.Judge(req.Assignments); wrong == nil { // it is the present state that forbids it
			return res, fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return res, fmt.Errorf("%w: %w", lockcluster.ErrInvalid, err)
	}
	merged := maps.Clone(current)
	for name, value := range changes {
		if value == "" {
			delete(merged, name)
		} else {
			merged[name] = value
		}
	}
	if err := t.follow(ctx, &m, merged, site, req.Reason); err != nil {
		return res, err
	}
	if err := t.store(ctx, changes); err != nil {
		return res, err
	}
	m = t.c.Migration()
	res = lockcluster.SettingsResult{Changes: changes, Epoch: m.Epoch, Mode: m.Mode.String(), Active: m.Decides(m.Namespace).String(), Why: []string{}}
	t.c.node.StaleRead(func(_ state.Reader, index uint64) { res.Index = index })
	if plan, err := bridge.Effective(merged, site); err == nil {
		res.Why = append(res.Why, plan.Why...)
	}
	return res, nil
}

// follow changes the migration state to what settings ask for.
func (t *term) follow(ctx context.Context, m *lockcluster.Migration, settings map[string]string, site bridge.Site, reason string) error {
	plan, err := bridge.Effective(settings, site)
	if err != nil {
		return fmt.Errorf("%w: %w", lockcluster.ErrInvalid, err)
	}
	if plan.Mode == 0 || m.Legacy == "" {
		return nil
	}
	if reason == "" {
		reason = "config set"
	}
	if plan.Mode == lockcluster.ModeBlueGreen {
		if m.Mode == plan.Mode && m.Active == plan.Active {
			return nil
		}
		if authorityOf(m) != plan.Active || m.Mode == lockcluster.ModeGradual {
			_, err := t.switchTo(ctx, lockcluster.SwitchRequest{To: plan.Active.String(), Reason: reason})
			return err
		}
	}
	_, err = t.setMode(ctx, lockcluster.ModeRequest{
		Mode: plan.Mode.String(), Percentage: &plan.Percentage, Canary: plan.Canary, Reason: reason,
	})
	return err
}

// store writes settings into the log.
func (t *term) store(ctx context.Context, changes map[string]string) error {
	if len(changes) == 0 {
		return nil
	}
	req := lockcluster.SetConfig{}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		req.Settings = append(req.Settings, lockcluster.Setting{Name: name, Value: changes[name]})
	}
	res, err := t.c.node.Do(ctx, lockcluster.RequestID{}, req)
	if err != nil {
		return fmt.Errorf("store the settings: %w", err)
	}
	if res.Status != lockcluster.StatusApplied {
		return fmt.Errorf("%w: %s", ErrRefused, res.Text)
	}
	return nil
}

// noteMode makes the settings say what the migration state has become, so that
// "config get" and a later "config set" go by the truth.
func (t *term) noteMode(ctx context.Context, m *lockcluster.Migration) {
	want := map[string]string{settingEnabled: "", settingMode: "", settingActive: "", settingPercentage: "", settingCanary: ""}
	switch m.Mode {
	case lockcluster.ModeShadow:
		want[settingMode] = m.Mode.String()
	case lockcluster.ModeBlueGreen:
		want[settingMode], want[settingActive] = m.Mode.String(), m.Active.String()
	case lockcluster.ModeGradual:
		want[settingMode] = m.Mode.String()
		if m.Percentage > 0 {
			want[settingPercentage] = strconv.Itoa(int(m.Percentage))
		}
		if len(m.Canary) > 0 {
			want[settingCanary] = bridge.FormatCanary(m.Canary)
		}
	}
	current := t.settings()
	for name, value := range want {
		if current[name] == value || name == settingEnabled && value == "" && current[name] == "true" {
			delete(want, name)
		}
	}
	if err := t.store(ctx, want); err != nil {
		t.warn("the settings do not say yet what the migration state is", err)
	}
}

// OnSettings calls f with the replicated settings, now and whenever they have
// changed, until ctx ends.
func (c *Controller) OnSettings(ctx context.Context, f func(settings map[string]string)) {
	var last map[string]string
	for {
		var now map[string]string
		c.node.StaleRead(func(r state.Reader, _ uint64) { now = settingsOf(r) })
		if last == nil || !maps.Equal(now, last) {
			f(now)
			last = now
		}
		if !c.sleep(ctx, settingsPause) {
			return
		}
	}
}

// settingsPause is how late a node may notice a changed setting.
const settingsPause = 500 * time.Millisecond
