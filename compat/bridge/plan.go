package bridge

import (
	"fmt"
	"strconv"

	"github.com/lockcluster/lockcluster"
)

// Plan is what settings ask of the migration state.
type Plan struct {
	// Mode is zero when that depends on a cluster that is not known (offline).
	Mode lockcluster.Mode
	// Active decides. In [lockcluster.ModeGradual] it is zero: there it is the
	// system that decided when the mode began, which no setting says.
	Active     lockcluster.System
	Percentage uint32                   // in ModeGradual
	Canary     []lockcluster.CanaryRule // in ModeGradual
	Why        []string                 // for people, a line each
}

// Effective says what replicated settings ask of the migration state: enabled
// =false is mode legacy; else migration.mode counts, and within it active-system
// or traffic-percentage. Without any of them a cluster with a legacy system is
// in mode legacy, one without in mode enhanced. Settings of a newer version are
// left out. Errors are [Problems].
func Effective(settings map[string]string, site Site) (Plan, error) {
	v, unread := FromSettings(settings)
	if err := Check(v, site); err != nil {
		return Plan{}, err
	}
	p := effective(v, site)
	for _, name := range unread {
		p.note("%s is left out: this version does not understand it", name)
	}
	return p, nil
}

func (p *Plan) note(format string, args ...any) { p.Why = append(p.Why, fmt.Sprintf(format, args...)) }

func effective(v Values, site Site) (p Plan) {
	mode := impliedMode(v, site)
	switch {
	case v.is(nameEnabled, textFalse):
		p.note("%s is false: the legacy system decides, whatever else is set", nameEnabled)
		mode = modeLegacy
	case mode != "":
		p.note("%s is %s: mode %s", modeName(v), v.text(modeName(v)), mode)
	default:
		mode = p.unsaid(v, site)
	}
	if mode == "" {
		return p
	}
	m, err := lockcluster.ParseMode(mode)
	if err != nil {
		panic(fmt.Sprintf("choice of %s: %v", nameMode, err)) // a choice is a mode
	}
	p.Mode = m
	p.within(v)
	return p
}

// unsaid is the mode that no setting asks for.
func (p *Plan) unsaid(v Values, site Site) string {
	on := v.is(nameEnabled, textTrue)
	switch {
	case site.Offline:
		p.note("no mode is set: legacy where a legacy system is attached, else enhanced")
		return ""
	case site.Legacy == "":
		p.note("no legacy system is attached: mode enhanced")
		return modeEnhanced
	case on:
		p.note("%s is true, but no mode is set: mode legacy until %s says more; shadow is the first step", nameEnabled, nameMode)
	default:
		p.note("the legacy system %s is attached and no mode is set: mode legacy", site.Legacy)
	}
	return modeLegacy
}

// within adds who decides in the mode.
func (p *Plan) within(v Values) {
	switch p.Mode {
	case lockcluster.ModeEnhanced:
		p.Active = lockcluster.SystemEnhanced
	case lockcluster.ModeLegacy:
		p.Active = lockcluster.SystemLegacy
	case lockcluster.ModeShadow:
		p.Active = lockcluster.SystemLegacy
		p.note("the enhanced system does everything after the fact; no client sees its answers")
	case lockcluster.ModeBlueGreen:
		p.Active = lockcluster.SystemLegacy
		if v.text(nameActive) == modeEnhanced {
			p.Active = lockcluster.SystemEnhanced
		}
		p.note("%s is %s: the other system holds a mirror", nameActive, p.Active)
	case lockcluster.ModeGradual:
		p.gradual(v)
	}
}

func (p *Plan) gradual(v Values) {
	n, err := strconv.ParseUint(v.text(namePercentage), 10, 32)
	if err != nil {
		panic(fmt.Sprintf("normal form of %s: %v", namePercentage, err)) // [Setting.Normal] has made it
	}
	p.Percentage = uint32(n)
	if p.Canary, err = ParseCanary(v.text(nameCanary)); err != nil {
		panic(fmt.Sprintf("normal form of %s: %v", nameCanary, err))
	}
	p.note("%d %% of the lock keys go to the enhanced system; a held lock stays where it is until it is released", n)
	if len(p.Canary) > 0 {
		p.note("canary rules (%d) send more of them there, at every percentage", len(p.Canary))
	}
	if v.given(nameActive) {
		p.note("%s counts in mode blue-green only", nameActive)
	}
}
