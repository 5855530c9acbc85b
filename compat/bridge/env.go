package bridge

import (
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/lockcluster/lockcluster/internal/nearest"
)

// envService matches what Kubernetes puts into the environment of every
// container beside a service whose name begins like ours.
var envService = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_|$)|_PORT$|_PORT_[0-9]+_(TCP|UDP)(_|$)`)

// envOurs are the prefixes below which a variable that means nothing is a
// mistake. Atlantis itself has other variables that begin with ATLANTIS_LOCK.
var envOurs = []string{envOf(enhancedPrefix), envPrefix + "FEATURE_"}

// FromEnv returns the settings in an environment, as os.Environ gives it. An
// empty variable is unset, as Compose files pass them on. Errors are
// [Problems].
func FromEnv(environ []string) (Values, error) {
	v := Values{}
	var problems Problems
	for _, entry := range slices.Sorted(slices.Values(environ)) {
		name, text, _ := strings.Cut(entry, "=")
		if text == "" || !strings.HasPrefix(name, envPrefix) {
			continue
		}
		at := Place{Env: name}
		if s := findEnv(name); s != nil {
			if p := v.set(s, s.Name, text, SourceEnv, at); p != nil {
				problems = append(problems, p)
			}
			continue
		}
		ours := slices.ContainsFunc(envOurs, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		if ours && !envService.MatchString(name) {
			problems = append(problems, unknownEnv(at, name))
		}
	}
	return v, problems.asError()
}

func findEnv(name string) *Setting {
	for i := range registry {
		if slices.Contains(registry[i].Env(), name) {
			return &registry[i]
		}
	}
	return nil
}

func unknownEnv(at Place, name string) *Problem {
	if rest, ok := strings.CutPrefix(name, envOf(enhancedPrefix)); ok {
		dashed := enhancedPrefix + strings.ToLower(strings.ReplaceAll(rest, "_", "-"))
		if p := unknown(at, dashed); p.Nearest == "" {
			return p
		}
	}
	var names []string
	for i := range registry {
		if registry[i].Available() {
			names = append(names, registry[i].Env()...)
		}
	}
	if near := nearest.Near(name, names); near != "" || strings.HasPrefix(name, envOf(enhancedPrefix)) {
		return &Problem{Place: at, Name: name, Text: "unknown setting", Nearest: nearest.Of(name, names)}
	}
	return &Problem{Place: at, Name: name, Text: `unknown setting; "lockcluster config mapping -o json" lists all names`}
}

// AddFlags adds a flag for every setting to fs, hidden from its help: there are
// many, and "config mapping" lists them with what they mean. Values are checked
// by [FromFlags].
func AddFlags(fs *pflag.FlagSet) {
	for i := range registry {
		s := &registry[i]
		for _, name := range append([]string{s.Name}, s.flagAliases()...) {
			f := fs.VarPF(&flagValue{kind: s.Kind}, flagOf(name), "", s.Meaning)
			f.Hidden = true
			if s.Kind == KindBool {
				f.NoOptDefVal = textTrue
			}
		}
	}
}

// flagAliases are the aliases that have a flag: those that were flags once.
func (s *Setting) flagAliases() []string {
	if s.Name == nameTimeout {
		return s.Aliases
	}
	return nil
}

// flagValue keeps a flag's text.
type flagValue struct {
	text string
	kind Kind
}

// String implements [pflag.Value].
func (f *flagValue) String() string { return f.text }

// Set implements [pflag.Value].
func (f *flagValue) Set(text string) error { f.text = text; return nil }

// Type implements [pflag.Value].
func (f *flagValue) Type() string { return string(f.kind) }

// FromFlags returns the settings of the flags of [AddFlags] that were given.
// Errors are [Problems].
func FromFlags(fs *pflag.FlagSet) (Values, error) {
	v := Values{}
	var problems Problems
	fs.Visit(func(f *pflag.Flag) {
		for i := range registry {
			s := &registry[i]
			for _, name := range append([]string{s.Name}, s.flagAliases()...) {
				if flagOf(name) != f.Name {
					continue
				}
				if p := v.set(s, name, f.Value.String(), SourceFlag, Place{Flag: f.Name}); p != nil {
					problems = append(problems, p)
				}
			}
		}
	})
	return v, problems.asError()
}
