package bridge

import "maps"

// Source says where a value comes from.
type Source string

// The sources, the weakest first.
const (
	SourceDefault Source = "default"
	SourceFile    Source = "file"
	SourceEnv     Source = "env"
	SourceFlag    Source = "flag"
	SourceCluster Source = "cluster" // the replicated settings
)

// Value is one value that was given.
type Value struct {
	Text   string // normal form
	Source Source
	At     Place
	As     string // the name under which it was given, if not the canonical one
}

// Values are the settings that were given, by canonical name.
type Values map[string]Value

// Settings returns the plain values, as a node keeps them.
func (v Values) Settings() map[string]string {
	plain := make(map[string]string, len(v))
	for name, value := range v {
		plain[name] = value.Text
	}
	return plain
}

// Replicated returns the plain values of those settings that the cluster
// keeps: what a new cluster begins with.
func (v Values) Replicated() map[string]string {
	plain := v.Settings()
	maps.DeleteFunc(plain, func(name, _ string) bool { return find(name).NodeOnly })
	return plain
}

// FromSettings returns replicated settings as values. Names that this version
// does not know, which a newer one has set, come back in unknown; so do those
// whose values it cannot read.
func FromSettings(settings map[string]string) (v Values, unknown []string) {
	v = Values{}
	for name, text := range settings {
		s := find(name)
		if text == "" {
			continue
		}
		if s == nil || s.Name != name {
			unknown = append(unknown, name)
			continue
		}
		normal, err := s.Normal(text)
		if err != nil {
			unknown = append(unknown, name)
			continue
		}
		v[name] = Value{Text: normal, Source: SourceCluster}
	}
	return v, sorted(unknown)
}

// Merge lays stronger sources over weaker ones; the last one wins.
func Merge(sources ...Values) Values {
	merged := Values{}
	for _, v := range sources {
		maps.Copy(merged, v)
	}
	return merged
}

// text returns the value of a setting, its default if none was given.
func (v Values) text(name string) string {
	if value, ok := v[name]; ok {
		return value.Text
	}
	return find(name).Default
}

// is reports whether a setting was given that value.
func (v Values) is(name, text string) bool {
	value, given := v[name]
	return given && value.Text == text
}

func (v Values) given(name string) bool { _, ok := v[name]; return ok }

// set adds one value of a source. Another value for the same setting, under
// whatever name, is a contradiction; the same value again is none.
func (v Values) set(s *Setting, as, text string, source Source, at Place) *Problem {
	normal, err := s.Normal(text)
	if err == nil {
		err = s.permit(normal)
	}
	if err != nil {
		return &Problem{Place: at, Name: as, Text: err.Error()}
	}
	if had, ok := v[s.Name]; ok && had.Text != normal {
		return contradiction(at, as, "is %s, but %s is the same setting and says %s%s", normal, had.name(s.Name), had.Text, had.where())
	}
	if canonical(as) == s.Name {
		as = ""
	}
	v[s.Name] = Value{Text: normal, Source: source, At: at, As: as}
	return nil
}

// name is the name under which a value was given.
func (v Value) name(setting string) string {
	switch {
	case v.At.Env != "", v.At.Flag != "":
		return v.At.String()
	case v.As != "":
		return v.As
	}
	return setting
}

// where names a value's place in a file, for the end of a sentence.
func (v Value) where() string {
	if v.At.File == "" {
		return ""
	}
	return " (" + v.At.String() + ")"
}
