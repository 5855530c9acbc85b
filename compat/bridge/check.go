package bridge

import (
	"fmt"
	"time"
)

// Site is what settings are judged against.
type Site struct {
	// Offline: nothing is known about the cluster, and what depends on it is
	// not judged.
	Offline bool
	Nodes   int    // of the cluster; 0: not known
	Legacy  string // name of the attached legacy system, empty for none
}

// hasLegacy reports whether a legacy system is attached, as far as is known.
func (s Site) hasLegacy() bool { return s.Offline || s.Legacy != "" }

const attachHint = "attach one with --legacy-boltdb FILE or --legacy-redis URL"

func contradiction(at Place, name, format string, args ...any) *Problem {
	return &Problem{Place: at, Name: name, Text: fmt.Sprintf(format, args...)}
}

// Check reports settings that contradict each other or the site. Each value is
// known to be possible by itself. Errors are [Problems].
func Check(v Values, site Site) error {
	c := checker{Values: v}
	c.site(site)
	if !v.is(nameEnabled, textFalse) { // else nothing of it counts
		c.mode(site)
	}
	c.rollback()
	return c.problems.asError()
}

type checker struct {
	Values
	problems Problems
}

func (c *checker) refuse(name, format string, args ...any) {
	value := c.Values[name]
	c.problems = append(c.problems, contradiction(value.At, value.name(name), format, args...))
}

// site judges what the cluster can be at all.
func (c *checker) site(site Site) {
	switch backend := c.text(nameBackend); {
	case backend == backendBoltDB && site.Nodes > 1:
		c.refuse(nameBackend, "boltdb keeps the locks of a single node in its file, and this cluster has %d: use raft, or leave it out", site.Nodes)
	case backend == backendBoltDB:
		c.refuse(nameBackend, "boltdb, for a single node, is not available in this version: use raft, or leave it out; "+
			"Atlantis's own file is attached with --legacy-boltdb FILE")
	case backend == backendRedis:
		c.refuse(nameBackend, "redis is not available in this version: use raft, or leave it out; "+
			"Atlantis's own Redis is attached with --legacy-redis URL")
	}
	if c.is(nameEnabled, textFalse) && !site.hasLegacy() {
		c.refuse(nameEnabled, "false is the way back to the legacy system, and none is attached: leave it out, or %s", attachHint)
	}
}

// mode judges the settings that depend on how the two systems share the work.
func (c *checker) mode(site Site) {
	mode := impliedMode(c.Values, site)
	needsLegacy := mode != "" && mode != modeEnhanced
	if needsLegacy && !site.hasLegacy() {
		name := modeName(c.Values)
		c.refuse(name, "%s needs a legacy system, and none is attached: %s", c.text(name), attachHint)
	}
	if c.is(nameValidation, textTrue) && mode != modeShadow {
		c.refuse(nameValidation, "true is mode shadow, but %s is %s", nameMode, mode)
	}
	if mode != modeGradual {
		rest := "is for mode gradual: set " + nameMode + " to gradual"
		if mode != "" {
			rest = fmt.Sprintf("is for mode gradual, but the mode is %s", mode)
		}
		if c.given(namePercentage) && c.text(namePercentage) != "0" {
			c.refuse(namePercentage, "%s %s", c.text(namePercentage), rest)
		}
		if c.given(nameCanary) && c.text(nameCanary) != "[]" {
			c.refuse(nameCanary, "%s", rest)
		}
	}
	switch {
	case c.is(nameActive, modeEnhanced) && mode == "" && site.hasLegacy():
		c.refuse(nameActive, "enhanced is for mode blue-green: set %s to blue-green", nameMode)
	case c.is(nameActive, modeEnhanced) && mode != "" && mode != modeBlueGreen && mode != modeEnhanced:
		c.refuse(nameActive, "enhanced is for mode blue-green, but the mode is %s", mode)
	case c.is(nameActive, modeLegacy) && mode == modeEnhanced:
		c.refuse(nameActive, "legacy, but in mode enhanced there is no legacy system")
	}
}

// rollback judges the guard of the enhanced system.
func (c *checker) rollback() {
	if c.is(nameAutomatic, textTrue) && c.is(nameFallback, textFalse) {
		c.refuse(nameAutomatic, "true, but %s false forbids it", nameFallback)
	}
	window, interval := c.duration(nameWindow), c.duration(nameInterval)
	if interval > window {
		name := nameInterval
		if !c.given(name) {
			name = nameWindow
		}
		c.refuse(name, "the window (%s) is shorter than the time between two looks at it (%s)", formatDuration(window), formatDuration(interval))
	}
}

func (v Values) duration(name string) time.Duration {
	d, err := time.ParseDuration(v.text(name))
	if err != nil {
		panic(fmt.Sprintf("normal form of %s: %v", name, err)) // [Setting.Normal] has made it
	}
	return d
}

// impliedMode returns the mode that the settings ask for, without
// enabled=false; empty if that is left to whether a legacy system is attached.
// Settings from before there was a mode say it in other ways; without a legacy
// system their defaults ask for nothing.
func impliedMode(v Values, site Site) string {
	switch {
	case v.given(nameMode):
		return v.text(nameMode)
	case v.is(nameValidation, textTrue):
		return modeShadow
	case !v.is(nameEnabled, textTrue):
		return ""
	case v.is(nameActive, modeLegacy), v.given(nameActive) && site.hasLegacy():
		return modeBlueGreen
	case v.given(namePercentage) && (site.hasLegacy() || v.text(namePercentage) != "0"):
		return modeGradual
	case v.given(nameCanary) && (site.hasLegacy() || v.text(nameCanary) != "[]"):
		return modeGradual
	}
	return ""
}

// modeName returns the setting that impliedMode has it from.
func modeName(v Values) string {
	switch {
	case v.given(nameMode):
		return nameMode
	case v.is(nameValidation, textTrue):
		return nameValidation
	case v.given(nameActive):
		return nameActive
	case v.given(namePercentage):
		return namePercentage
	}
	return nameCanary
}
