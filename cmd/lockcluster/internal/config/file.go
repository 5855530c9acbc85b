package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lockcluster/lockcluster/compat/bridge"
	"github.com/lockcluster/lockcluster/internal/nearest"
)

// fileSizeMax bounds a configuration file.
const fileSizeMax = 1 << 20

// file is what a YAML file says.
type file struct {
	path     string
	node     values        // of this node
	cluster  bridge.Values // the blocks "locks" and "enhanced-locking"
	problems bridge.Problems
}

// readFile reads a YAML file. Everything that is wrong with its keys and values
// is in problems; the error is for a file that could not be read at all.
func readFile(path string) (*file, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open configuration: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, fileSizeMax+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read configuration: %w", err)
	case len(b) > fileSizeMax:
		return nil, fmt.Errorf("configuration %s is longer than %d bytes", path, fileSizeMax)
	}
	read := &file{path: path, node: values{}, cluster: bridge.Values{}}
	var doc yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(b)))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return read, nil // empty
	case err != nil:
		return nil, fmt.Errorf("configuration %s is not YAML: %w", path, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("configuration %s: only one YAML document is allowed", path)
	}
	root := doc.Content[0]
	if root.Kind != yaml.ScalarNode || root.Tag != "!!null" {
		read.mapping("", root)
	}
	return read, nil
}

// report notes what is wrong at a place of the file, about the key name if that
// is not empty.
func (f *file) report(n *yaml.Node, name, near, format string, args ...any) {
	f.problems = append(f.problems, &bridge.Problem{
		Place: bridge.Place{File: f.path, Line: n.Line}, Name: name, Text: fmt.Sprintf(format, args...), Nearest: near,
	})
}

// lookup returns the setting that a key means in a section ("" at the top), or
// the candidates for it.
func lookup(section, key string) (s *setting, candidates []string) {
	if section == "" {
		return byName(key), append(settingNames(), bridge.Blocks()...)
	}
	if slices.Contains(sections[section], key) {
		return byName(key), nil
	}
	for _, name := range sections[section] {
		candidates = append(candidates, section+"."+name)
	}
	return nil, candidates
}

// mapping reads the keys of a section, "" for the top.
func (f *file) mapping(section string, n *yaml.Node) {
	prefix := ""
	if section != "" {
		prefix = section + "."
	}
	if n.Kind != yaml.MappingNode {
		f.report(n, section, "", "want keys with values, got %s", bridge.Describe(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if seen[key.Value] {
			f.report(key, "", "", "%s is there twice", prefix+key.Value)
			continue
		}
		seen[key.Value] = true
		switch _, isSection := sections[key.Value]; {
		case isSection && section == "":
			f.mapping(key.Value, value)
		case section == "" && bridge.Owns(key.Value):
			f.problems = append(f.problems, f.cluster.LoadKey(f.path, key, value)...)
		default:
			f.value(section, prefix+key.Value, key, value)
		}
	}
}

// value reads one setting of the node.
func (f *file) value(section, name string, key, value *yaml.Node) {
	s, candidates := lookup(section, key.Value)
	if s == nil {
		f.report(key, "", nearest.Of(name, candidates), "unknown key %q", name)
		return
	}
	if _, twice := f.node[s.name]; twice {
		f.report(key, "", "", "%s is there twice", s.name)
		return
	}
	if err := f.node.setNode(s, value); err != nil {
		f.report(value, name, "", "%v", err)
	}
}

// setNode sets a setting from a YAML value of its type.
func (v values) setNode(s *setting, n *yaml.Node) error {
	switch {
	case s.kind == kindBool:
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
			return fmt.Errorf("want true or false, got %s", bridge.Describe(n))
		}
		return v.setText(s, n.Value)
	case n.Kind == yaml.ScalarNode && n.Tag == "!!str":
		return v.setText(s, n.Value)
	case s.kind == kindMembers && n.Kind == yaml.MappingNode:
		return v.setParts(s, n, 2)
	case s.kind != kindText && n.Kind == yaml.SequenceNode:
		return v.setParts(s, n, 1)
	}
	hint := ""
	if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		hint = "; put it in quotes"
	}
	return fmt.Errorf("want text, got %s%s", bridge.Describe(n), hint)
}

// setParts joins a list ("a", "b" to "a,b"), or with step 2 a mapping ("a: b"
// to "a=b").
func (v values) setParts(s *setting, n *yaml.Node, step int) error {
	var parts []string
	for i, part := range n.Content {
		if part.Kind != yaml.ScalarNode || part.Tag != "!!str" {
			return fmt.Errorf("want text, got %s", bridge.Describe(part))
		}
		if i%step == 0 {
			parts = append(parts, part.Value)
		} else {
			parts[len(parts)-1] += "=" + part.Value
		}
	}
	return v.setText(s, strings.Join(parts, ","))
}
