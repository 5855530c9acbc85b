package main

import (
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fixtures is where the databases of real Atlantis versions are. Their values
// hold the canary wherever a secret may be.
const (
	fixtures = "../../migration/testdata"
	canary   = "CANARY"
)

type importReport struct {
	Imported     int    `json:"imported"`
	Unchanged    int    `json:"unchanged"`
	Pulls        int    `json:"pulls"`
	CommandLocks int    `json:"command_locks"`
	Digest       string `json:"digest"`
	Quarantined  []struct {
		Bucket, Key, Reason string
	} `json:"quarantined"`
	Conflicts []struct {
		Identity string `json:"identity"`
	} `json:"conflicts"`
}

func imported(t *testing.T, a answer) importReport {
	t.Helper()
	var r importReport
	if err := json.Unmarshal([]byte(a.stdout), &r); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	return r
}

// An import says what it did, the second one changes nothing, records that need
// a person give exit code 3 and are kept, the source is not touched, and no
// secret comes out anywhere.
func TestImport(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--base-port", freeBasePort(t, 3), "--data-dir", filepath.Join(t.TempDir(), "data"))
	var said strings.Builder
	run := func(code int, arguments ...string) answer {
		a := d.do(t, arguments...).want(t, code, "")
		said.WriteString(a.String())
		return a
	}
	source := filepath.Join(fixtures, "atlantis-0.47.1.db")
	before := sum(t, source)
	quarantine := filepath.Join(t.TempDir(), "left-over")
	arguments := []string{"import", "--from", "boltdb:" + source, "-o", "json", "--quarantine", quarantine}

	dry := imported(t, run(0, append(arguments, "--dry-run")...))
	run(0, "locks", "list", "-o", "json").want(t, 0, "[]")
	first := imported(t, run(0, arguments...))
	if first.Imported == 0 || first.Pulls == 0 || first.CommandLocks == 0 || first.Digest != dry.Digest {
		t.Errorf("first import: %+v; dry run: %+v", first, dry)
	}
	second := imported(t, run(0, arguments...))
	if second.Imported != 0 || second.Unchanged != first.Imported || second.Digest != first.Digest {
		t.Errorf("second import: %+v after %+v", second, first)
	}
	var locks []struct {
		Key string `json:"key"`
	}
	if err := json.Unmarshal([]byte(run(0, "locks", "list", "-o", "json").stdout), &locks); err != nil || len(locks) != first.Imported {
		t.Errorf("%d locks are listed, %d were imported: %v", len(locks), first.Imported, err)
	}
	run(0, "locks", "release", locks[0].Key, "--force")
	run(0, arguments[:3]...).want(t, 0, "1 lock was added to a cluster that already served").want(t, 0, "apply commands stay disabled")
	if sum(t, source) != before {
		t.Error("the source has changed")
	}

	eras := []string{"import", "--from", "boltdb:" + filepath.Join(fixtures, "atlantis-eras.db"), "--quarantine", quarantine, "-n", "db1"}
	report := imported(t, run(3, append(eras, "-o", "json")...))
	if len(report.Quarantined)+len(report.Conflicts) == 0 {
		t.Errorf("exit code 3 without a reason: %+v", report)
	}
	run(3, eras...).want(t, 3, "are in the directory "+quarantine)
	if entries, err := os.ReadDir(quarantine); err != nil || len(entries) == 0 {
		t.Errorf("quarantine: %v, %v", entries, err)
	}
	run(0, "locks", "list", "-n", "db1")
	run(0, "cluster", "status", "-o", "json")
	for _, n := range d.Nodes {
		b, err := os.ReadFile(n.Log)
		if err != nil {
			t.Fatal(err)
		}
		said.Write(b)
	}
	if strings.Contains(strings.ToUpper(said.String()), canary) {
		t.Error("a secret came out")
	}
}

func sum(t *testing.T, path string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}
