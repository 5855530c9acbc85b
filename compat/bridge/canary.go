package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/lockcluster/lockcluster"
)

// canaryRulesMax bounds the list: every request is matched against all of it.
const canaryRulesMax = 256

// The keys of a canary rule.
const (
	keyProject   = "project-name"
	keyWorkspace = "workspace"
	keyGroup     = "user-group"
)

// ParseCanary reads canary rules as YAML, which JSON is a part of:
// "[{project-name: x}, {workspace: y, user-group: z}]". A rule with several
// keys matches where all of them do; the empty text is the empty list.
func ParseCanary(text string) ([]lockcluster.CanaryRule, error) {
	if len(text) > textSizeMax {
		return nil, fmt.Errorf("longer than %d bytes", textSizeMax)
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(text))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, errors.New("want a list such as [{project-name: x}, {workspace: y}, {user-group: z}]")
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("want one list")
	}
	rules, bad := readCanary(doc.Content[0])
	if bad != nil {
		return nil, bad.err
	}
	return rules, nil
}

// badNode is what is wrong with a part of a YAML value.
type badNode struct {
	node *yaml.Node
	err  error
}

func badf(n *yaml.Node, format string, args ...any) *badNode {
	return &badNode{n, fmt.Errorf(format, args...)}
}

func readCanary(n *yaml.Node) ([]lockcluster.CanaryRule, *badNode) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil, nil
	}
	if n.Kind != yaml.SequenceNode {
		return nil, badf(n, "want a list of rules, got %s", Describe(n))
	}
	if len(n.Content) > canaryRulesMax {
		return nil, badf(n, "want at most %d rules, got %d", canaryRulesMax, len(n.Content))
	}
	var rules []lockcluster.CanaryRule
	for _, item := range n.Content {
		rule, bad := readRule(item)
		if bad != nil {
			return nil, bad
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

func readRule(n *yaml.Node) (rule lockcluster.CanaryRule, bad *badNode) {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		return rule, badf(n, "want a rule such as {%s: x}, got %s", keyProject, Describe(n))
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		field := map[string]*string{
			keyProject: &rule.ProjectName, keyWorkspace: &rule.Workspace, keyGroup: &rule.UserGroup,
		}[strings.ReplaceAll(key.Value, "_", "-")]
		switch {
		case field == nil:
			return rule, badf(key, "a rule has no key %q: use %s, %s or %s", cut(key.Value), keyProject, keyWorkspace, keyGroup)
		case *field != "":
			return rule, badf(key, "%s is there twice; a list of rules has one item for each", cut(key.Value))
		case value.Kind != yaml.ScalarNode || value.Tag != "!!str":
			return rule, badf(value, "%s: want text, got %s%s", cut(key.Value), Describe(value), quoteHint(value))
		case !isName(value.Value):
			return rule, badf(value, "%s: want a name of 1 to %d printable characters", cut(key.Value), lockcluster.NameSizeMax)
		}
		*field = value.Value
	}
	return rule, nil
}

// isName reports whether text can be the name of a project, a workspace or a
// group: what a terminal would obey cannot.
func isName(text string) bool {
	return text != "" && len(text) <= lockcluster.NameSizeMax && utf8.ValidString(text) &&
		strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// FormatCanary is the normal form of canary rules: JSON, which [ParseCanary]
// reads.
func FormatCanary(rules []lockcluster.CanaryRule) string {
	type rule struct {
		ProjectName string `json:"project-name,omitempty"`
		Workspace   string `json:"workspace,omitempty"`
		UserGroup   string `json:"user-group,omitempty"`
	}
	list := make([]rule, len(rules))
	for i, r := range rules {
		list[i] = rule(r)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(list) // text in a list of structs: nothing can fail
	return strings.TrimSuffix(b.String(), "\n")
}

func quoteHint(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		return "; put it in quotes"
	}
	return ""
}
