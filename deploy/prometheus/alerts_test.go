package prometheus_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat/health"
)

const (
	rulesFile = "alerts.yml"
	testsFile = "alerts_test.yml"
)

type ruleFile struct {
	Groups []struct {
		Rules []rule `yaml:"rules"`
	} `yaml:"groups"`
}

type rule struct {
	Alert string `yaml:"alert"`
	Expr  string `yaml:"expr"`
	For   string `yaml:"for"`
}

func mustRead(tb testing.TB, file string) []byte {
	tb.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// promtool returns where promtool is, empty if it is nowhere.
func promtool() string {
	if p, err := exec.LookPath("promtool"); err == nil {
		return p
	}
	p, err := exec.LookPath(filepath.Join("..", "..", ".bin", "promtool"))
	if err != nil {
		return ""
	}
	return p
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	tool := promtool()
	if tool == "" {
		t.Skip("THE ALERT RULES WERE NOT TESTED: promtool is missing; tools/test-deps.sh installs it (Debian package prometheus)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("promtool %s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

// V30: promtool accepts the alert rules, and their unit tests pass.
func TestV30AlertRulesWithPromtool(t *testing.T) {
	if out := run(t, "check", "rules", rulesFile); !strings.Contains(out, "SUCCESS: 6 rules found") {
		t.Errorf("check rules:\n%s", out)
	}
	if out := run(t, "test", "rules", testsFile); !strings.Contains(out, "SUCCESS") {
		t.Errorf("test rules:\n%s", out)
	}
}

// The unit tests notice a threshold or a duration that is another.
func TestAlertTestsCanFail(t *testing.T) {
	tool := promtool()
	if tool == "" {
		t.Skip("THE TESTS OF THE ALERT RULES WERE NOT TESTED: promtool is missing; tools/test-deps.sh installs it (Debian package prometheus)")
	}
	rules := string(mustRead(t, rulesFile))
	for _, change := range [][2]string{
		{"> 1.2 *", "> 1.25 *"},
		{"> 1.2 *", "> 1.15 *"},
		{"> 1.1 *", "> 1.25 *"},
		{"> 1.1 *", "> 1.05 *"},
		{"for: 5m", "for: 1m"},
		{"for: 5m", "for: 6m"},
		{"for: 2m", "for: 30s"},
		{"for: 2m", "for: 3m"},
		{">= 50", ">= 1"},
		{"rollbacks_total[1m]", "rollbacks_total[5m]"},
		{"for: 30s", "for: 0s"},
		{"for: 30s", "for: 2m"},
		{"max(lockcluster_legacy_unreachable)", "min(lockcluster_legacy_unreachable)"},
		{"max(lockcluster_migration_rollback_frozen)", "min(lockcluster_migration_rollback_frozen)"},
	} {
		changed := strings.Replace(rules, change[0], change[1], 1)
		if changed == rules {
			t.Errorf("the rules have no %q", change[0])
			continue
		}
		dir := t.TempDir()
		for name, content := range map[string][]byte{rulesFile: []byte(changed), testsFile: mustRead(t, testsFile)} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if out, err := exec.CommandContext(ctx, tool, "test", "rules", filepath.Join(dir, testsFile)).CombinedOutput(); err == nil {
			t.Errorf("with %q instead of %q the tests pass:\n%s", change[1], change[0], out)
		}
		cancel()
	}
}

// V30: the three promised alerts are there under their names, with their
// thresholds and durations. This needs no promtool.
func TestV30AlertRulesAsPromised(t *testing.T) {
	var f ruleFile
	if err := yaml.Unmarshal(mustRead(t, rulesFile), &f); err != nil {
		t.Fatal(err)
	}
	rules := map[string]rule{}
	for _, g := range f.Groups {
		for _, r := range g.Rules {
			rules[r.Alert] = r
		}
	}
	for name, want := range map[string]struct {
		duration string
		parts    []string
	}{
		"CompatibilityModePerformanceDegradation": {"5m", []string{
			`histogram_quantile(0.95`, `atlantis_lock_duration_seconds_bucket{mode="enhanced"}`, `> 1.2 *`, `atlantis_lock_duration_seconds_bucket{mode="legacy"}`,
		}},
		"CompatibilityModeErrorIncrease": {"2m", []string{
			`rate(atlantis_lock_errors_total{mode="enhanced"}`, `> 1.1 *`, `rate(atlantis_lock_errors_total{mode="legacy"}`,
		}},
		"MigrationRollbackTriggered": {"0s", []string{`increase(atlantis_migration_rollbacks_total[1m]) > 0`}},
	} {
		r := rules[name]
		if r.For != want.duration {
			t.Errorf("%s: for %q, want %q", name, r.For, want.duration)
		}
		rest := r.Expr
		for _, part := range want.parts {
			_, after, ok := strings.Cut(rest, part)
			if !ok {
				t.Errorf("%s lacks %q in its place: %s", name, part, r.Expr)
			}
			rest = after
		}
	}
}

// V30: every series that a rule or its test names is one that a node exports,
// with that mode.
func TestV30AlertRulesUseOurSeries(t *testing.T) {
	reg := prometheus.NewRegistry()
	rec, err := health.NewRecorder(reg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := health.NewMigrationMetrics(reg); err != nil {
		t.Fatal(err)
	}
	rec.Observe(lockcluster.SystemEnhanced, "acquire", time.Millisecond, false)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	exported := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			mode := ""
			for _, l := range m.GetLabel() {
				if l.GetName() == "mode" {
					mode = l.GetValue()
				}
			}
			for _, suffix := range []string{"", "_bucket", "_count"} {
				exported[f.GetName()+suffix+"/"+mode] = true
			}
		}
	}
	series := regexp.MustCompile(`((?:atlantis|lockcluster)_[a-z_]+)(?:\{mode="([a-z]+)")?`)
	for _, file := range []string{rulesFile, testsFile} {
		found := series.FindAllStringSubmatch(string(mustRead(t, file)), -1)
		if len(found) < 7 {
			t.Errorf("%s names %d series", file, len(found))
		}
		for _, m := range found {
			if !exported[m[1]+"/"+m[2]] {
				t.Errorf("%s names %s, which no node exports", file, m[0])
			}
		}
	}
}
