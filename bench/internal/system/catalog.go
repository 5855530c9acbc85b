package system

import (
	"fmt"
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

// Select picks systems by a comma-separated list of names; "all" stands for
// every one.
func Select(all []System, list string) ([]System, error) {
	if list == "all" {
		return all, nil
	}
	var names []string
	for _, s := range all {
		names = append(names, s.Name())
	}
	var picked []System
	for name := range strings.SplitSeq(list, ",") {
		i := slices.Index(names, strings.TrimSpace(name))
		if i < 0 {
			return nil, fmt.Errorf("system %q: there are %s, or all", name, strings.Join(names, ", "))
		}
		if !slices.Contains(picked, all[i]) {
			picked = append(picked, all[i])
		}
	}
	return picked, nil
}
