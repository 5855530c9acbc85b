package bridge

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lockcluster/lockcluster/internal/nearest"
)

// Place is where a value was given; the zero place is none that a person could
// look at.
type Place struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Env  string `json:"env,omitempty"`  // environment variable
	Flag string `json:"flag,omitempty"` // without the dashes
}

// String names the place: "FILE:LINE", "environment variable X" or "--flag".
func (p Place) String() string {
	switch {
	case p.File != "":
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	case p.Env != "":
		return "environment variable " + p.Env
	case p.Flag != "":
		return "--" + p.Flag
	}
	return ""
}

// Problem is one thing that is wrong with settings.
type Problem struct {
	Place
	Name    string `json:"setting,omitempty"` // as it was given
	Text    string `json:"problem"`
	Nearest string `json:"did_you_mean,omitempty"`
}

// Error names the place, the setting, what is wrong and what was meant.
func (p *Problem) Error() string {
	var parts []string
	if place := p.Place.String(); place != "" {
		parts = append(parts, place)
	}
	if p.Name != "" && p.Env == "" && p.Flag == "" {
		parts = append(parts, p.Name)
	}
	text := strings.Join(append(parts, p.Text), ": ")
	switch {
	case p.Nearest != "":
		text += fmt.Sprintf(", did you mean %q?", p.Nearest)
	case p.Text == unknownSetting:
		text += `; "lockcluster config mapping" lists all`
	}
	return text
}

// Problems is everything that is wrong, in the order of the source. It is what
// the functions of this package return as an error.
type Problems []*Problem

// Error has one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// unknownSetting is said of a name that means no setting.
const unknownSetting = "unknown setting"

// asError keeps an empty list from being an error.
func (ps Problems) asError() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// foreign are names of sibling designs that have no counterpart here, with
// what there is instead. Each covers the names below it.
var foreign = map[string]string{
	enhancedPrefix + "redis":                "the enhanced system needs no Redis; Atlantis's own is attached with --legacy-redis",
	enhancedPrefix + "boltdb":               "the enhanced system has no file; Atlantis's own is attached with --legacy-boltdb",
	enhancedPrefix + "max-timeout":          "there is no upper bound to set; see locks.timeout",
	enhancedPrefix + "max-queue-size":       "the length of a queue is fixed",
	enhancedPrefix + "starvation-threshold": "waiters age by how often they are overtaken, not by time",
	enhancedPrefix + "max-priority-boost":   "waiters age by how often they are overtaken, not by time",
}

// unknown returns the problem of a name that means no setting.
func unknown(at Place, name string) *Problem {
	for known, instead := range foreign {
		full := canonical(name)
		if full == known || strings.HasPrefix(full, known+".") || strings.HasPrefix(full, known+"-") {
			return &Problem{Place: at, Name: cut(name), Text: "is not a setting here: " + instead}
		}
	}
	if strings.HasPrefix(canonical(name), flagsPrefix) {
		return unknownFlag(at, name)
	}
	return &Problem{Place: at, Name: cut(name), Text: unknownSetting, Nearest: nearestName(name)}
}

// unknownFlag returns the problem of a name that means no feature flag. There
// are few that can be used: unless one of them is near, all are named.
func unknownFlag(at Place, name string) *Problem {
	var usable []string
	for _, f := range Features() {
		usable = append(usable, f.Name)
	}
	p := &Problem{Place: at, Name: cut(name), Text: unknownSetting}
	if near := nearest.Near(strings.TrimPrefix(canonical(name), flagsPrefix), usable); near != "" {
		p.Nearest = flagsPrefix + near
	} else {
		p.Text = "unknown feature flag; this version has " + strings.Join(usable, " and ")
	}
	return p
}

// nearestName returns the usable name that was probably meant: one with the same
// last part, else one of the same section, else the nearest of all.
func nearestName(name string) string {
	name = canonical(name)
	parent, leaf := "", name
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		parent, leaf = name[:i+1], name[i+1:]
	}
	var all, siblings []string
	for i := range registry {
		if !registry[i].Available() {
			continue
		}
		for _, n := range registry[i].Names() {
			if n == leaf || strings.HasSuffix(n, "."+leaf) {
				return n
			}
			all = append(all, n)
			rest, ok := strings.CutPrefix(n, parent)
			if child, _, _ := strings.Cut(rest, "."); ok && !slices.Contains(siblings, parent+child) {
				siblings = append(siblings, parent+child)
			}
		}
	}
	if near := nearest.Near(name, siblings); near != "" {
		return near
	}
	return nearest.Of(name, append(siblings, all...))
}
