package cli

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat/bridge"
)

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lockcluster.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A valid file is found so with what it means, an invalid one with file, line
// and key, exit code 2; both as a table and as JSON.
func TestConfigValidate(t *testing.T) {
	good := configFile(t, "legacy-boltdb: /a.db\nenhanced-locking:\n  migration:\n    mode: gradual\n    traffic-percentage: 10\n")
	code, out, diagnostics := command(t, nil, "config", "validate", "--enhanced-locking", good)
	if code != 0 || diagnostics != "" {
		t.Errorf("exit code %d, %s", code, diagnostics)
	}
	golden(t, "config-validate.txt", strings.ReplaceAll(out, good, "FILE"))

	var answer struct {
		Valid    bool
		Mode     string
		Settings map[string]string
		Problems []struct {
			File, Setting, Problem string
			Line                   int
			DidYouMean             string `json:"did_you_mean"`
		}
	}
	code, out, _ = command(t, nil, "config", "validate", "-o", "json", good)
	if err := json.Unmarshal([]byte(out), &answer); err != nil || code != 0 || !answer.Valid || answer.Mode != "gradual" ||
		answer.Settings["enhanced-locking.migration.traffic-percentage"] != "10" || answer.Problems == nil {
		t.Errorf("exit code %d, %v, %s", code, err, out)
	}

	bad := configFile(t, "locks:\n  timeout: 30\nenhanced-locking:\n  enabeld: true\n  migration:\n    mode: shadow\n    traffic-percentage: 10\n")
	code, out, diagnostics = command(t, nil, "config", "validate", "--enhanced-locking", bad)
	if code != 2 || out != "" {
		t.Errorf("exit code %d, %s", code, out)
	}
	golden(t, "config-invalid.txt", strings.ReplaceAll(diagnostics, bad, "FILE"))
	code, out, diagnostics = command(t, nil, "config", "validate", "-o", "json", bad)
	if err := json.Unmarshal([]byte(out), &answer); err != nil || code != 2 || diagnostics != "" || answer.Valid || len(answer.Problems) != 3 {
		t.Fatalf("exit code %d, %v, %s, %s", code, err, out, diagnostics)
	}
	if p := answer.Problems[1]; p.File != bad || p.Line != 4 || p.Setting != "enhanced-locking.enabeld" || p.DidYouMean != "enhanced-locking.enabled" {
		t.Errorf("got %+v", p)
	}
}

// Only without --enhanced-locking the node's own settings are judged.
func TestConfigValidateNode(t *testing.T) {
	file := configFile(t, "legacy-boltdb: /a.db\nlegacy-redis: redis://:s3cret@h:1\n")
	if code, out, diagnostics := command(t, nil, "config", "validate", "--enhanced-locking", file); code != 0 {
		t.Errorf("exit code %d, %s, %s", code, out, diagnostics)
	}
	code, _, diagnostics := command(t, nil, "config", "validate", file)
	if code != 2 || !strings.Contains(diagnostics, "both given") || strings.Contains(diagnostics, "s3cret") {
		t.Errorf("exit code %d, %s", code, diagnostics)
	}
}

// The mapping shows every setting with its value and where that comes from.
func TestConfigMapping(t *testing.T) {
	const file = "testdata/lockcluster.yaml"
	environ := []string{"ATLANTIS_LOCK_TIMEOUT=1m", "LOCKCLUSTER_CONFIG=" + file}
	code, out, diagnostics := command(t, environ, "config", "mapping", "--offline")
	if code != 0 || diagnostics != "" {
		t.Errorf("exit code %d, %s", code, diagnostics)
	}
	golden(t, "config-mapping.txt", out)

	var rows []bridge.Row
	code, out, _ = command(t, environ, "config", "mapping", "--offline", "-o", "json")
	if err := json.Unmarshal([]byte(out), &rows); err != nil || code != 0 || len(rows) != len(bridge.Settings()) {
		t.Errorf("exit code %d, %v, %d rows", code, err, len(rows))
	}
	if r := rows[0]; r.Setting != "locks.timeout" || r.Value != "1m" || r.Source != bridge.SourceEnv || r.Flag != "--locks-timeout" {
		t.Errorf("got %+v", r)
	}
}

// NAME=VALUE words are read with any name of a setting; what can be told to be
// wrong without a cluster is.
func TestParseAssignments(t *testing.T) {
	got, err := parseAssignments([]string{"enhanced_locking.migration.mode=Canary", "feature-flags.enhanced-metrics=", "locks.timeout=90s"})
	want := map[string]string{"enhanced-locking.migration.mode": "gradual", "enhanced-locking.metrics": "", "locks.timeout": "1m30s"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for word, want := range map[string]string{
		"enhanced-locking.enabled":          "want NAME=VALUE",
		"enhanced-locking.enabld=true":      `did you mean "enhanced-locking.enabled"?`,
		"enhanced-locking.enabled=maybe":    "want true or false",
		"enhanced-locking.backend=raft":     "--enhanced-locking-backend",
		"feature-flags.async-operations=on": "want true or false",
	} {
		if _, err := parseAssignments([]string{word}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", word, err)
		}
	}
}

// "config get" shows what is set, or what is named; "config set" what changed
// and what it means.
func TestSettingTables(t *testing.T) {
	values, _ := bridge.FromSettings(map[string]string{"locks.timeout": "1m"})
	if views := settingViews(values, nil); len(views) != 1 || views[0] != (settingView{"locks.timeout", "1m", "30s", bridge.SourceCluster}) {
		t.Errorf("got %+v", views)
	}
	views := settingViews(values, map[string]bool{"locks.retries": true})
	if len(views) != 1 || views[0] != (settingView{"locks.retries", "3", "3", bridge.SourceDefault}) {
		t.Errorf("got %+v", views)
	}
	var b bytes.Buffer
	r := lockcluster.SettingsResult{Changes: map[string]string{"b": "", "a": "x"}, Why: []string{"mode shadow\x1b"}}
	if err := settingsTable(&b, &r); err != nil {
		t.Fatal(err)
	}
	if want := "SETTING  VALUE\na        x\nb        (default)\nmode shadow\\x1b\n"; b.String() != want {
		t.Errorf("got %q", b.String())
	}
}
