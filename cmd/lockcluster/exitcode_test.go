package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the cluster's present state forbids is exit code 1 in every command, what
// could never be is 2, and what a person has to look at is 3.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--base-port", freeBasePort(t, 1), "--nodes", "1")
	file := filepath.Join(t.TempDir(), "there.db")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.do(t, "locks", "acquire", key, "--pull", "1").want(t, 0, "acquired")
	const migration = "enhanced-locking.migration."
	for _, c := range []struct {
		line string
		code int
		text string
	}{
		{"cluster mode shadow", 1, "refused"},
		{"cluster switch legacy", 1, "refused"},
		{"config set " + migration + "mode=shadow", 1, "needs a legacy system"},
		{"config set " + migration + "traffic-percentage=10", 1, "is for mode gradual"},
		{"config set enhanced-locking.enabled=false", 1, "none is attached"},
		{"migration compare", 1, "no legacy system is attached"},
		{"migration report --html " + file + "/page", 1, "not a directory"},
		{"import --from boltdb:" + file + "x", 1, "no such file"},
		{"locks validate --from boltdb:" + file + "x", 1, "no such file"},
		{"export --to boltdb:" + file, 1, "--overwrite"},
		{"cluster snapshot save " + file, 1, "--force"},
		{"locks get a/b/./nobody/", 1, "is not locked"},
		{"locks release a/b/./nobody/ --force", 1, "is not locked"},
		{"cluster remove n9", 1, "n9"},
		{"cluster transfer-leader n9", 1, "n9"},

		{"cluster mode gradual --percentage 101", 2, "use 0 to 100"},
		{"config set " + migration + "mode=legacy " + migration + "traffic-percentage=10", 2, "the mode is legacy"},
		{"cluster feature enable priority-queue", 2, "this version has"},
		{"locks acquire a/b/./d/ --owner x --ttl 2000000h", 2, "a TTL lies between"},

		{"locks acquire " + key + " --pull 2", 3, "is held by"},
		{"locks release " + key + " --pull 2", 3, "release it whoever holds it with --force"},
	} {
		a := d.do(t, strings.Fields(c.line)...)
		if a.code != c.code || !strings.Contains(a.stdout+a.stderr, c.text) {
			t.Errorf("%s: want exit code %d and %q, got %s", c.line, c.code, c.text, a)
		}
	}
}

// With a legacy system attached, too: what its mode forbids is refused before
// anything is done.
func TestExitCodesWithLegacy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, source := filepath.Join(dir, "legacy.db"), "boltdb:"+filepath.Join(fixtures, "atlantis-0.47.1.db")
	copyFile(t, filepath.Join(fixtures, "atlantis-0.47.1.db"), file)
	d := startDev(t, "--base-port", freeBasePort(t, 1), "--nodes", "1", "--legacy-boltdb", file)
	const migration = "enhanced-locking.migration."
	for _, c := range []struct {
		line string
		code int
		text string
	}{
		{"cluster mode enhanced", 1, "the legacy system decides"},
		{"import --follow --from " + source, 1, "a legacy system is attached"},
		{"config set " + migration + "switch-criteria.min-successful-operations=5", 0, "5"},
		{"cluster mode shadow", 0, "mode shadow"},
		{"cluster switch enhanced", 1, "criteria"},
		{"cluster switch enhanced --dry-run", 1, "criteria"},
		{"config set " + migration + "mode=blue-green " + migration + "active-system=enhanced", 1, "criteria"},
		{"config set " + migration + "traffic-percentage=10", 1, "the mode is shadow"},
		{"cluster mode gradual --percentage 10", 0, "mode gradual"},
		{"import --from " + source, 1, "in mode gradual"},
		{"cluster mode blue-green", 0, "mode blue-green"},
		{"cluster mode blue-green --authority enhanced", 1, "the legacy system decides and its locks count"},
		{"export --overwrite --to boltdb:" + file, 1, "another process has the file open"},
		{"migration compare", 0, "0 different"},
	} {
		a := d.do(t, strings.Fields(c.line)...)
		if a.code != c.code || !strings.Contains(a.stdout+a.stderr, c.text) {
			t.Errorf("%s: want exit code %d and %q, got %s", c.line, c.code, c.text, a)
		}
	}
}
