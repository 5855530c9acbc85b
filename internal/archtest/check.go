package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// Package is what the check of the import rules looks at: one package as "go
// list" describes it, without its tests.
type Package struct {
	Path    string // import path
	Imports []string
}

// Check returns every import in pkgs that rules forbid, one line each.
func Check(rules map[string]Rule, pkgs []Package) []string {
	var bad []string
	for _, p := range pkgs {
		rel, ours := relative(p.Path)
		if !ours {
			continue
		}
		rule, ok := find(rules, rel)
		if !ok {
			bad = append(bad, fmt.Sprintf("%s has no import rule: add it to archtest.Rules, with its reason", p.Path))
			continue
		}
		for _, imp := range p.Imports {
			if reason := refuse(rule, imp); reason != "" {
				bad = append(bad, fmt.Sprintf("%s imports %s: %s (%s)", p.Path, imp, reason, rule.Why))
			}
		}
	}
	slices.Sort(bad)
	return bad
}

// refuse says why rule forbids imp; "" means that it does not.
func refuse(rule Rule, imp string) string {
	rel, ours := relative(imp)
	switch {
	case ours:
		if slices.Contains(rule.Ours, anyOfOurs) || slices.ContainsFunc(rule.Ours, func(p string) bool { return matches(p, rel) }) {
			return ""
		}
		return "not among the packages of ours that it may import"
	case isStandard(imp):
		if rule.Pure && hasPrefixOf(imp, pureImports) && !hasPrefixOf(imp, pureImportsAllowed) {
			return "pure packages may not reach the machine they run on"
		}
		return ""
	case rule.Third == nil || hasPrefixOf(imp, rule.Third):
		return ""
	}
	return "not among the modules that it may import"
}

// relative strips the module's path; ours is false for packages of others.
func relative(path string) (rel string, ours bool) {
	if path == Module {
		return "", true
	}
	return strings.CutPrefix(path, Module+"/")
}

// isStandard reports whether path is in the standard library: its first
// element has no dot. "C" counts too.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// find returns the rule with the longest path that covers rel; an exact path
// wins over a "..." path of equal length.
func find(rules map[string]Rule, rel string) (Rule, bool) {
	best, found := "", false
	for path := range rules {
		if matches(path, rel) && (!found || rank(path) > rank(best)) {
			best, found = path, true
		}
	}
	return rules[best], found
}

func rank(path string) int {
	if base, below := strings.CutSuffix(path, "/..."); below {
		return 2 * len(base)
	}
	return 2*len(path) + 1
}

// matches reports whether the rule path covers rel.
func matches(path, rel string) bool {
	if base, below := strings.CutSuffix(path, "/..."); below {
		return strings.HasPrefix(rel, base+"/")
	}
	return path == rel
}

// hasPrefixOf reports whether path is, or is below, one of prefixes.
func hasPrefixOf(path string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool {
		return path == p || strings.HasPrefix(path, p+"/")
	})
}

// IsPure reports whether the package with this path relative to the module is
// a pure one.
func IsPure(rules map[string]Rule, rel string) bool {
	rule, ok := find(rules, rel)
	return ok && rule.Pure
}
