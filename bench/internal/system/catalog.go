package system

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// All returns every system there is. They are new ones with each call; nothing
// runs yet.
func All(ours Ours) []System {
	atomic, asAtlantis := NewRedis()
	systems := []System{NewEtcd()}
	systems = append(systems, newOurs(ours)...)
	return append(systems, atomic, asAtlantis, NewBolt())
}

// Select picks systems by a comma-separated list of names, in which * stands
// for any text; "all" is every one.
func Select(all []System, list string) ([]System, error) {
	if list == "all" {
		list = "*"
	}
	var picked []System
	for pattern := range strings.SplitSeq(list, ",") {
		found := false
		for _, s := range all {
			match, err := path.Match(strings.TrimSpace(pattern), s.Name())
			if err != nil {
				return nil, fmt.Errorf("system %q: %w", pattern, err)
			}
			found = found || match
			if match && !slices.Contains(picked, s) {
				picked = append(picked, s)
			}
		}
		if !found {
			var names []string
			for _, s := range all {
				names = append(names, s.Name())
			}
			return nil, fmt.Errorf("system %q: there are %s, or all", pattern, strings.Join(names, ", "))
		}
	}
	return picked, nil
}
