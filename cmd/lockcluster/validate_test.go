package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type validation struct {
	Locks      int  `json:"locks"`
	Errors     int  `json:"errors"`
	Warnings   int  `json:"warnings"`
	Compatible bool `json:"compatible"`
	Records    []struct {
		Key, Digest string
	} `json:"records"`
	Digest string `json:"digest"`
	Repair *struct {
		File    string `json:"file"`
		Records int    `json:"records"`
		Digest  string `json:"digest"`
	} `json:"repair"`
}

func validated(t *testing.T, a answer) validation {
	t.Helper()
	var v validation
	if err := json.Unmarshal([]byte(a.stdout), &v); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	return v
}

// A file and a cluster's content are validated record by record; a damaged file
// gives exit code 3 and a repaired copy, which is sound and imports whole; the
// file itself stays as it is, and no secret is printed.
func TestLocksValidate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var said strings.Builder
	run := func(code int, text string, arguments ...string) answer {
		a := lockclusterCommand(t, arguments...).want(t, code, text)
		said.WriteString(a.String())
		return a
	}
	present, eras := "boltdb:"+filepath.Join(fixtures, "atlantis-0.47.1.db"), filepath.Join(fixtures, "atlantis-eras.db")
	before := sum(t, eras)
	good := validated(t, run(0, "", "locks", "validate", "--check-compatibility", "--from", present, "-o", "json"))
	if !good.Compatible || good.Errors != 0 || good.Locks == 0 || len(good.Records) < good.Locks || len(good.Records[0].Digest) != 16 {
		t.Errorf("%+v", good)
	}
	run(3, "REPAIR", "locks", "validate", "--from", "boltdb:"+eras)
	fixed := filepath.Join(dir, "fixed")
	bad := validated(t, run(3, "", "locks", "validate", "--check-compatibility", "--from", "boltdb:"+eras, "--repair", fixed, "-o", "json"))
	if bad.Compatible || bad.Errors == 0 || bad.Repair == nil || bad.Repair.File != filepath.Join(fixed, "atlantis.db") {
		t.Fatalf("%+v", bad)
	}
	if left, err := os.ReadDir(filepath.Join(fixed, "left-out")); err != nil || len(left) == 0 {
		t.Errorf("left out: %v, %v", left, err)
	}
	again := validated(t, run(0, "", "locks", "validate", "--check-compatibility", "--from", "boltdb:"+bad.Repair.File, "-o", "json"))
	if !again.Compatible || again.Warnings > 0 || len(again.Records) != bad.Repair.Records || again.Digest != bad.Repair.Digest {
		t.Errorf("the repaired copy: %+v", again)
	}
	run(1, "is there already", "locks", "validate", "--from", "boltdb:"+eras, "--repair", fixed)
	run(3, "Repaired copy", "locks", "validate", "--from", "boltdb:"+eras, "--to", "boltdb:"+filepath.Join(dir, "to.db"))
	if sum(t, eras) != before {
		t.Error("the source has changed")
	}
	for text, arguments := range map[string][]string{
		"--from":      {"--repair", fixed},
		"give one":    {"--from", present, "--repair", fixed, "--to", "boltdb:x"},
		"boltdb:FILE": {"--from", "http://:CANARY@h"},
		"--to":        {"--from", present, "--to", "x"},
	} {
		run(2, text, append([]string{"locks", "validate"}, arguments...)...)
	}

	d := startDev(t, "--base-port", freeBasePort(t, 1), "--nodes", "1", "--data-dir", filepath.Join(dir, "data"))
	ask := func(code int, text string, arguments ...string) answer {
		a := d.do(t, arguments...).want(t, code, text)
		said.WriteString(a.String())
		return a
	}
	in := imported(t, ask(0, "", "import", "--from", "boltdb:"+bad.Repair.File, "-o", "json"))
	if in.Digest != again.Digest || len(in.Quarantined)+len(in.Conflicts) > 0 {
		t.Errorf("import of the repaired copy: %+v", in)
	}
	content := validated(t, ask(0, "", "locks", "validate", "--check-compatibility", "-o", "json"))
	if !content.Compatible || content.Locks != in.Imported || content.Digest != in.Digest {
		t.Errorf("the cluster's content: %+v", content)
	}
	ask(0, "usable by Atlantis v0.47.1", "locks", "validate")
	if strings.Contains(strings.ToUpper(said.String()), canary) {
		t.Error("a secret came out")
	}
}
