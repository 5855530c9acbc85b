package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lockcluster/lockcluster/internal/nearest"
)

// fileSizeMax bounds a configuration file.
const fileSizeMax = 1 << 20

// readFile returns the settings of a YAML file.
func readFile(path string) (values, error) {
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
	var doc yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(b)))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return values{}, nil // empty
	case err != nil:
		return nil, fmt.Errorf("configuration %s is not YAML: %w", path, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("configuration %s: only one YAML document is allowed", path)
	}
	v := values{}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return v, nil
	}
	return v, v.readMapping(path, "", root)
}

// lookup returns the setting that a key means in a section ("" at the top), or
// the candidates for it.
func lookup(section, key string) (s *setting, candidates []string) {
	if section == "" {
		return byName(key), settingNames()
	}
	if slices.Contains(sections[section], key) {
		return byName(key), nil
	}
	for _, name := range sections[section] {
		candidates = append(candidates, section+"."+name)
	}
	return nil, candidates
}

// readMapping reads the keys of a section, "" for the top.
func (v values) readMapping(path, section string, n *yaml.Node) error {
	prefix := ""
	if section != "" {
		prefix = section + "."
	}
	if n.Kind != yaml.MappingNode {
		label := ""
		if section != "" {
			label = section + ": "
		}
		return fmt.Errorf("%s:%d: %swant keys with values, got %s", path, n.Line, label, describe(n))
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if _, ok := sections[key.Value]; ok && section == "" {
			if err := v.readMapping(path, key.Value, value); err != nil {
				return err
			}
			continue
		}
		s, candidates := lookup(section, key.Value)
		if s == nil {
			return fmt.Errorf("%s:%d: unknown key %q, did you mean %q?", path, key.Line, prefix+key.Value, nearest.Of(prefix+key.Value, candidates))
		}
		if _, twice := v[s.name]; twice {
			return fmt.Errorf("%s:%d: %s is there twice", path, key.Line, s.name)
		}
		if err := v.setNode(s, value); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", path, value.Line, prefix+key.Value, err)
		}
	}
	return nil
}

// setNode sets a setting from a YAML value of its type.
func (v values) setNode(s *setting, n *yaml.Node) error {
	switch {
	case s.kind == kindBool:
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
			return fmt.Errorf("want true or false, got %s", describe(n))
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
	return fmt.Errorf("want text, got %s%s", describe(n), hint)
}

// setParts joins a list ("a", "b" to "a,b"), or with step 2 a mapping ("a: b"
// to "a=b").
func (v values) setParts(s *setting, n *yaml.Node, step int) error {
	var parts []string
	for i, part := range n.Content {
		if part.Kind != yaml.ScalarNode || part.Tag != "!!str" {
			return fmt.Errorf("want text, got %s", describe(part))
		}
		if i%step == 0 {
			parts = append(parts, part.Value)
		} else {
			parts[len(parts)-1] += "=" + part.Value
		}
	}
	return v.setText(s, strings.Join(parts, ","))
}

// describe names what a value is.
func describe(n *yaml.Node) string {
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
		return strings.TrimPrefix(n.Tag, "!!") + " " + n.Value
	}
	return fmt.Sprintf("%q", n.Value)
}
