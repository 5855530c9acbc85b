package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

type exportReport struct {
	File         string `json:"file"`
	Locks        int    `json:"locks"`
	Pulls        int    `json:"pulls"`
	CommandLocks int    `json:"command_locks"`
	Skipped      []struct {
		Kind, Key, Reason string
	} `json:"skipped"`
	Index         uint64 `json:"index"`
	Digest        string `json:"digest"`
	ClusterDigest string `json:"cluster_digest"`
	Offline       *struct {
		NodeID    string `json:"node_id"`
		LastIndex uint64 `json:"last_index"`
		LastTerm  uint64 `json:"last_term"`
	} `json:"offline"`
}

func exported(t *testing.T, a answer) exportReport {
	t.Helper()
	var r exportReport
	if err := json.Unmarshal([]byte(a.stdout), &r); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	return r
}

// What was imported comes out again with the digest it went in with, from the
// running cluster and from the data of each of its killed nodes; the file is
// never replaced without leave; what does not fit gives exit code 3; no secret
// is printed.
func TestExport(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := startDev(t, "--base-port", freeBasePort(t, 3), "--data-dir", filepath.Join(dir, "data"))
	var said strings.Builder
	noted := func(a answer) answer {
		said.WriteString(a.String())
		return a
	}
	to := func(name string) string { return "boltdb:" + filepath.Join(dir, name) }
	in := imported(t, noted(d.do(t, "import", "--from", "boltdb:"+filepath.Join(fixtures, "atlantis-0.47.1.db"), "-o", "json").want(t, 0, "")))

	out := exported(t, noted(d.do(t, "export", "--to", to("a.db"), "-o", "json").want(t, 0, "")))
	if out.Digest != in.Digest || out.ClusterDigest != in.Digest || out.Locks != in.Imported || out.Pulls != in.Pulls || out.CommandLocks != in.CommandLocks || out.Index == 0 {
		t.Errorf("exported %+v, imported %+v", out, in)
	}
	if info, err := os.Stat(filepath.Join(dir, "a.db")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	noted(d.do(t, "export", "--to", to("a.db")).want(t, 1, "--overwrite"))
	noted(d.do(t, "export", "--to", to("a.db"), "--overwrite").want(t, 0, in.Digest))
	back := imported(t, noted(d.do(t, "import", "--from", to("a.db"), "-n", "db1", "-o", "json").want(t, 0, "")))
	if back.Imported != in.Imported || back.Digest != in.Digest {
		t.Errorf("import of the export: %+v", back)
	}
	noted(d.do(t, "export", "--to", to("b.db"), "-n", "db1").want(t, 0, in.Digest).want(t, 0, "Not in this file: the namespaces default"))
	noted(d.do(t, "locks", "acquire", "acme/app/a\nb/default/", "--owner", "me").want(t, 0, ""))
	left := exported(t, noted(d.do(t, "export", "--to", to("c.db"), "-o", "json").want(t, 3, "")))
	if len(left.Skipped) != 1 || left.Skipped[0].Key != "acme/app/a\nb/default/" || left.Skipped[0].Kind != "lock" {
		t.Errorf("skipped: %+v", left.Skipped)
	}
	noted(d.do(t, "locks", "release", "acme/app/a\nb/default/", "--owner", "me").want(t, 0, ""))
	first := d.Nodes[0]
	noted(lockclusterCommand(t, "export", "--to", to("d.db"), "--offline", "--data-dir", first.DataDir).want(t, 1, "is running"))
	if err := d.cmd.Process.Kill(); err != nil { // it would start them again
		t.Fatal(err)
	}
	for _, n := range d.Nodes {
		_ = syscall.Kill(n.PID, syscall.SIGKILL) // or it is gone by itself
	}
	wantNoneLeft(t, d.Nodes)
	for _, n := range d.Nodes {
		a := exported(t, noted(lockclusterCommand(t, "export", "--to", to("d.db"), "--overwrite", "--offline", "--data-dir", n.DataDir, "-o", "json").want(t, 0, "")))
		if a.Digest != in.Digest || a.Offline == nil || a.Offline.NodeID != n.ID || a.Offline.LastIndex < a.Index || a.Offline.LastTerm == 0 {
			t.Errorf("offline from %s: %+v", n.ID, a)
		}
	}
	noted(lockclusterCommand(t, "export", "--to", to("e.db"), "--offline", "--data-dir", first.DataDir).want(t, 0, "Read offline from node "+first.ID))
	for text, arguments := range map[string][]string{
		"boltdb:FILE":     {"export", "--to", "redis://x"},
		"belong together": {"export", "--to", to("f.db"), "--offline"},
		"--namespace":     {"export", "--to", to("f.db"), "-n", "a b"},
	} {
		noted(lockclusterCommand(t, arguments...).want(t, 2, text))
	}
	if strings.Contains(strings.ToUpper(said.String()), canary) {
		t.Error("a secret came out")
	}
	if entries, err := filepath.Glob(filepath.Join(dir, ".*part*")); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %q, %v", entries, err)
	}
}
