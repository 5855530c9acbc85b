package bridge

import (
	"slices"
	"strings"
)

// Kind is the type of a setting's value.
type Kind string

// The kinds.
const (
	KindBool     Kind = "bool"
	KindDuration Kind = "duration"
	KindInt      Kind = "int"
	KindPercent  Kind = "percent" // a whole number from 0 to 100
	KindRatio    Kind = "ratio"   // 0 to 1; 0.05 is 5 %
	KindFactor   Kind = "factor"  // 0 (off), or 1 and above
	KindChoice   Kind = "choice"
	KindCanary   Kind = "canary list"
)

// Setting is one setting, whatever name it is given under.
type Setting struct {
	Name    string   // canonical
	Aliases []string // other full names of the same setting
	Item    string   // in the list of what was promised, for example "S32"
	Kind    Kind
	// Default is in normal form; empty: there is none, what holds then depends
	// on the cluster (see Meaning).
	Default string
	Choices []string // of KindChoice, besides synonyms
	// NodeOnly settings are read when a node starts. The others are replicated:
	// "config set" changes them on every node at once, without a restart.
	NodeOnly bool
	// Missing says why the setting is not available in this version; only its
	// default is accepted then. Empty: it is available.
	Missing string
	Part    string // what it is called in this program
	Meaning string // one line

	env      []string          // variables besides those that follow from the names
	envOnly  bool              // no variable follows from the names
	min, max float64           // of KindInt, and of KindRatio where not 0 to 1
	synonyms map[string]string // of KindChoice: spelling to choice
	positive bool              // KindDuration: 0 is refused
}

// Available reports whether the setting can be used in this version.
func (s *Setting) Available() bool { return s.Missing == "" }

// Names returns the canonical name, then the aliases.
func (s *Setting) Names() []string { return append([]string{s.Name}, s.Aliases...) }

// Flag returns the setting's command line flag, without the dashes.
func (s *Setting) Flag() string { return flagOf(s.Name) }

// Env returns the setting's environment variables, the usual one first.
func (s *Setting) Env() []string {
	if s.envOnly {
		return slices.Clone(s.env)
	}
	var names []string
	for _, n := range s.Names() {
		if e := envOf(n); strings.HasPrefix(n, enhancedPrefix) && !slices.Contains(names, e) {
			names = append(names, e)
		}
	}
	return append(names, s.env...)
}

const (
	enhancedPrefix = "enhanced-locking."
	flagsSection   = "feature-flags"
	flagsPrefix    = enhancedPrefix + flagsSection + "."
	envPrefix      = "ATLANTIS_"
)

func flagOf(name string) string { return strings.ReplaceAll(name, ".", "-") }

func envOf(name string) string {
	return envPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(name))
}

// canonical gives a name the spelling of the table: with "-" for "_", and the
// feature flags in their section.
func canonical(name string) string {
	name = strings.ReplaceAll(name, "_", "-")
	if strings.HasPrefix(name, flagsSection+".") {
		name = enhancedPrefix + name
	}
	return name
}

// find returns the setting that a name means, nil if there is none.
func find(name string) *Setting {
	name = canonical(name)
	for i := range registry {
		if s := &registry[i]; s.Name == name || slices.Contains(s.Aliases, name) {
			return s
		}
	}
	return nil
}

// Lookup returns the setting that a name means: canonical, alias, or spelled
// with "_". The error names the nearest known one.
func Lookup(name string) (Setting, error) {
	if s := find(name); s != nil {
		return *s, nil
	}
	return Setting{}, unknown(Place{}, name)
}

// Settings returns every setting, in the order in which people are shown them.
func Settings() []Setting { return slices.Clone(registry) }

// Feature is one feature flag.
type Feature struct {
	Name    string // as in "enhanced-locking.feature-flags.NAME"
	Setting string // canonical name of the setting that it is
	Default bool
}

// Features returns the feature flags that are available in this version.
func Features() []Feature {
	var features []Feature
	for i := range registry {
		s := &registry[i]
		for _, n := range s.Names() {
			if flag, ok := strings.CutPrefix(n, flagsPrefix); ok && s.Available() {
				features = append(features, Feature{flag, s.Name, s.Default == textTrue})
				break
			}
		}
	}
	return features
}
