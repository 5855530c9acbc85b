package dev

import (
	"slices"
	"testing"
)

// Only the first node gets the legacy file; without one no node hears of it.
func TestLegacyArguments(t *testing.T) {
	for _, file := range []string{"", "/var/lib/atlantis/atlantis.db"} {
		o := Options{Nodes: 3, BasePort: 7000, LogStore: "wal", LegacyBoltDB: file}
		nodes := layout(o, "/d")
		for i := range nodes {
			args := nodes[i].args(o, nodes)
			at := slices.Index(args, "--legacy-boltdb")
			if want := i == 0 && file != ""; (at >= 0) != want || want && args[at+1] != file {
				t.Errorf("file %q, node %s: %q", file, nodes[i].ID, args)
			}
		}
	}
}
