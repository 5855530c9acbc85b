package bridge

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// fileSizeMax bounds a configuration file.
const fileSizeMax = 1 << 20

// Load reads settings from a YAML file with nothing else in it: the blocks
// "locks", "enhanced-locking" and "feature-flags", and keys with dots. The file
// name is for errors, which are [Problems]; what could be read is returned with
// them.
func Load(text []byte, file string) (Values, error) {
	v := Values{}
	fail := func(line int, format string, args ...any) (Values, error) {
		return v, Problems{{Place: Place{File: file, Line: line}, Text: fmt.Sprintf(format, args...)}}
	}
	if len(text) > fileSizeMax {
		return fail(1, "the file is longer than %d bytes", fileSizeMax)
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return v, nil
	case err != nil:
		line, text := yamlError(err)
		return fail(line, "the file is not YAML: %s", text)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return fail(1, "only one YAML document is allowed")
	}
	root := doc.Content[0]
	switch {
	case root.Kind == yaml.ScalarNode && root.Tag == "!!null":
		return v, nil
	case root.Kind != yaml.MappingNode:
		return fail(root.Line, "want keys with values, got %s", Describe(root))
	}
	r := reader{file: file, values: v}
	r.mapping("", root)
	return v, r.problems.asError()
}

// yamlError takes the line out of a parser's "yaml: line 3: ...".
func yamlError(err error) (line int, text string) {
	text = strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		number, after, _ := strings.Cut(rest, ": ")
		if n, err := strconv.Atoi(number); err == nil {
			return n, after
		}
	}
	return 1, text
}

// Owns reports whether a key at the top of a YAML file is of the settings here.
func Owns(key string) bool {
	key = canonical(key)
	return find(key) != nil || isSection(key) || key == flagsSection
}

// LoadKey reads one key at the top of a YAML file that [Owns] has accepted, and
// adds to v.
func (v Values) LoadKey(file string, key, value *yaml.Node) Problems {
	r := reader{file: file, values: v}
	r.key("", key, value)
	return r.problems
}

// Blocks returns the keys at the top of a YAML file that hold settings, for
// suggestions.
func Blocks() []string { return []string{"locks", "enhanced-locking", flagsSection} }

// isSection reports whether settings stand below a full name.
func isSection(name string) bool {
	return slices.ContainsFunc(registry, func(s Setting) bool {
		return slices.ContainsFunc(s.Names(), func(n string) bool { return strings.HasPrefix(n, name+".") })
	})
}

// reader reads one YAML file.
type reader struct {
	file     string
	values   Values
	problems Problems
}

func (r *reader) at(n *yaml.Node) Place { return Place{File: r.file, Line: n.Line} }

func (r *reader) report(n *yaml.Node, name, format string, args ...any) {
	r.problems = append(r.problems, &Problem{Place: r.at(n), Name: cut(name), Text: fmt.Sprintf(format, args...)})
}

// mapping reads the keys of a section, "" for the top.
func (r *reader) mapping(section string, n *yaml.Node) {
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if name := canonical(key.Value); seen[name] {
			r.report(key, join(section, key.Value), "is there twice")
			continue
		}
		seen[canonical(key.Value)] = true
		r.key(section, key, value)
	}
}

func join(section, key string) string {
	if section == "" {
		return key
	}
	return section + "." + key
}

// key reads one key of a section, and what is below it.
func (r *reader) key(section string, key, value *yaml.Node) {
	name := join(section, key.Value)
	if key.Kind != yaml.ScalarNode || key.Tag != "!!str" {
		r.report(key, section, "want the name of a setting, got %s", Describe(key))
		return
	}
	if s := find(name); s != nil {
		r.value(s, name, value)
		return
	}
	full := canonical(name)
	if name == flagsSection || full == flagsSection {
		full = strings.TrimSuffix(flagsPrefix, ".")
	}
	switch {
	case !isSection(full):
		r.problems = append(r.problems, unknown(r.at(key), name))
	case value.Kind == yaml.MappingNode:
		r.mapping(name, value)
	case value.Kind == yaml.ScalarNode && value.Tag == "!!null":
		// A section without anything in it.
	default:
		r.report(value, name, "want keys with values, got %s", Describe(value))
	}
}

// value reads the value of a setting; its YAML type must be the setting's.
func (r *reader) value(s *Setting, name string, n *yaml.Node) {
	text := n.Value
	if s.Kind == KindCanary && n.Kind != yaml.ScalarNode {
		rules, bad := readCanary(n)
		if bad != nil {
			r.report(bad.node, name, "%v", bad.err)
			return
		}
		text = FormatCanary(rules)
	} else if want := mismatch(s.Kind, n); want != "" {
		r.report(n, name, "want %s, got %s", want, Describe(n))
		return
	}
	if p := r.values.set(s, name, text, SourceFile, r.at(n)); p != nil {
		r.problems = append(r.problems, p)
	}
}

// mismatch returns what a setting of a kind wants, if a YAML value is of
// another type.
func mismatch(k Kind, n *yaml.Node) (want string) {
	tags := map[Kind]struct {
		want string
		tags []string
	}{
		KindBool:     {"true or false", []string{"!!bool"}},
		KindDuration: {"a time such as 30s", []string{"!!str"}},
		KindInt:      {"a whole number", []string{"!!int"}},
		KindPercent:  {"a whole number from 0 to 100", []string{"!!int"}},
		KindRatio:    {"a ratio such as 0.05", []string{"!!float", "!!int"}},
		KindFactor:   {"a number such as 1.5", []string{"!!float", "!!int"}},
		KindChoice:   {"text", []string{"!!str"}},
		KindCanary:   {"a list of rules", []string{"!!null", "!!str"}},
	}[k]
	if k == KindDuration && n.Tag == "!!int" && n.Value == "0" {
		return ""
	}
	if n.Kind != yaml.ScalarNode || !slices.Contains(tags.tags, n.Tag) {
		return tags.want
	}
	return ""
}

func sorted(names []string) []string {
	sort.Strings(names)
	return names
}

// Describe names what a YAML value is, for a text that says what is wanted in
// its place.
func Describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	case yaml.DocumentNode, yaml.ScalarNode:
	}
	switch n.Tag {
	case "!!null":
		return "nothing"
	case "!!bool", "!!int", "!!float":
		return strings.TrimPrefix(n.Tag, "!!") + " " + cut(n.Value)
	}
	return fmt.Sprintf("%q", cut(n.Value))
}
