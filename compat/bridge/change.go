package bridge

import (
	"maps"

	"github.com/lockcluster/lockcluster"
)

// Assignment is one "NAME=VALUE" of a "config set". An empty value is the way
// back to the default.
type Assignment struct {
	Name  string
	Value string
}

// Change is [Changes] for one setting.
func Change(site Site, current map[string]string, name, value string) (map[string]string, error) {
	return Changes(site, current, []Assignment{{name, value}})
}

// Changes says which replicated settings have to be set, in normal form, to
// make assignments to the current ones; an empty value resets one. It refuses,
// as [Problems], what is not known, not possible, or contradicts the rest.
//
// A change of the mode takes the settings along that belong to the old one: the
// percentage and the canary rules go, and mode blue-green begins with the
// system that decides now. Where that is not one system, who shall decide has
// to be said in the same call: nothing moves that nobody asked to move.
func Changes(site Site, current map[string]string, assignments []Assignment) (map[string]string, error) {
	changes, err := Normalize(assignments)
	if err != nil {
		return nil, err
	}
	before, _ := FromSettings(current)
	if p := follow(before, changes, site); p != nil {
		return nil, Problems{p}
	}
	next := maps.Clone(current)
	if next == nil {
		next = map[string]string{}
	}
	maps.Copy(next, changes)
	v, _ := FromSettings(next)
	if err := Check(v, site); err != nil {
		return nil, err
	}
	return changes, nil
}

// Normalize returns assignments by canonical name and in normal form, judged
// each by itself. Errors are [Problems].
func Normalize(assignments []Assignment) (map[string]string, error) {
	changes := map[string]string{}
	var problems Problems
	for _, a := range assignments {
		if p := assign(changes, a); p != nil {
			problems = append(problems, p)
		}
	}
	return changes, problems.asError()
}

// Judge is [Normalize] that also refuses assignments which contradict each other
// whatever else is set: those of the mode and of what belongs to another mode.
func Judge(assignments []Assignment) (map[string]string, error) {
	changes, err := Normalize(assignments)
	if err != nil || changes[nameMode] == "" || changes[nameEnabled] == textFalse {
		return changes, err
	}
	v, _ := FromSettings(changes)
	c := checker{Values: v}
	c.mode(Site{Offline: true})
	return changes, c.problems.asError()
}

// assign adds one assignment to changes.
func assign(changes map[string]string, a Assignment) *Problem {
	s := find(a.Name)
	switch {
	case s == nil:
		p := unknown(Place{}, a.Name)
		if near := find(p.Nearest); near == nil || near.NodeOnly {
			p.Nearest = "" // a section, or read at a node's start: it could not be assigned either
		}
		return p
	case s.NodeOnly:
		return contradiction(Place{}, a.Name, "is read when a node starts, from its file, environment or --%s: it cannot be changed here", s.Flag())
	}
	normal := ""
	if a.Value != "" {
		var err error
		if normal, err = s.Normal(a.Value); err == nil {
			err = s.permit(normal)
		}
		if err != nil {
			return contradiction(Place{}, a.Name, "%v", err)
		}
	}
	if had, ok := changes[s.Name]; ok && had != normal {
		return contradiction(Place{}, a.Name, "is set to two values: %q and %q", cut(had), cut(normal))
	}
	changes[s.Name] = normal
	return nil
}

// follow adds to changes what a change of the mode takes along.
func follow(before Values, changes map[string]string, site Site) *Problem {
	mode, changed := changes[nameMode]
	if !changed || mode == impliedMode(before, site) {
		return idle(before, changes, site)
	}
	deciding := decides(before, site)
	said := func(name string) bool { _, ok := changes[name]; return ok }
	reset := func(name string) {
		if before.given(name) && !said(name) {
			changes[name] = ""
		}
	}
	if mode == modeGradual && deciding != lockcluster.SystemLegacy && !said(namePercentage) {
		return contradiction(Place{}, nameMode, "gradual would send every key to the legacy system, which does not decide now: "+
			"say %s in the same call", namePercentage)
	}
	reset(namePercentage)
	reset(nameCanary)
	reset(nameValidation)
	switch {
	case mode != modeBlueGreen:
		reset(nameActive)
	case said(nameActive):
	case deciding == 0:
		return contradiction(Place{}, nameMode, "blue-green has one system that decides, and now both do: say %s=legacy or enhanced in the same call", nameActive)
	default:
		changes[nameActive] = deciding.String()
	}
	return nil
}

// idle refuses the gradual rollback where it would do nothing while the
// enhanced system decides: whoever types it means it.
func idle(before Values, changes map[string]string, site Site) *Problem {
	p := effective(before, site)
	if changes[namePercentage] != "0" || p.Active != lockcluster.SystemEnhanced {
		return nil
	}
	back := "set " + nameActive + "=legacy (or: lockcluster cluster switch legacy)"
	if p.Mode == lockcluster.ModeEnhanced {
		back = "there is no legacy system to go back to"
	}
	return contradiction(Place{}, namePercentage, "0 changes nothing in mode %s, where the enhanced system decides: %s", p.Mode, back)
}

// decides returns the system that decides every key under settings, zero if
// that differs from key to key.
func decides(v Values, site Site) lockcluster.System {
	p := effective(v, site)
	switch {
	case p.Mode != lockcluster.ModeGradual:
		return p.Active
	case p.Percentage == 0 && len(p.Canary) == 0:
		return lockcluster.SystemLegacy
	}
	return 0
}

// SwitchChanges says which replicated settings a switch of the whole cluster to
// a system leaves behind, so that the settings go on saying what is.
func SwitchChanges(current map[string]string, to lockcluster.System) map[string]string {
	changes := map[string]string{nameMode: modeBlueGreen, nameActive: to.String()}
	v, _ := FromSettings(current)
	for _, name := range []string{namePercentage, nameCanary, nameValidation, nameEnabled} {
		switch {
		case !v.given(name):
		case name == nameEnabled && (to == lockcluster.SystemLegacy || v.is(name, textTrue)):
		default:
			changes[name] = ""
		}
	}
	return changes
}
