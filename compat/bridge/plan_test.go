package bridge

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/lockcluster/lockcluster"
)

var (
	alone  = Site{Nodes: 3}
	bolted = Site{Nodes: 3, Legacy: "boltdb"}
)

// short names of settings, for the tables.
var short = map[string]string{
	"enabled": nameEnabled, "mode": nameMode, "active": nameActive, "percent": namePercentage, "canary": nameCanary,
	"validation": nameValidation, "automatic": nameAutomatic, "fallback": nameFallback, "backend": nameBackend,
	"window": nameWindow, "interval": nameInterval,
}

// settings reads "mode=shadow percent=10".
func settings(t *testing.T, text string) map[string]string {
	t.Helper()
	m := map[string]string{}
	for part := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(part, "=")
		if short[name] == "" {
			t.Fatalf("no setting %q", name)
		}
		m[short[name]] = value
	}
	return m
}

// The settings mean one mode: enabled=false wins over the mode, the mode over
// what is within it, and without any the legacy system decides where there is
// one.
func TestEffective(t *testing.T) {
	const l, e = lockcluster.SystemLegacy, lockcluster.SystemEnhanced
	for _, c := range []struct {
		settings string
		site     Site
		mode     lockcluster.Mode
		active   lockcluster.System
		percent  uint32
		why      string
	}{
		{"", alone, lockcluster.ModeEnhanced, e, 0, "no legacy system"},
		{"", bolted, lockcluster.ModeLegacy, l, 0, "boltdb is attached"},
		{"", Site{Offline: true}, 0, 0, 0, "else enhanced"},
		{"enabled=true", alone, lockcluster.ModeEnhanced, e, 0, "no legacy system"},
		{"enabled=true percent=0 validation=false canary=[]", alone, lockcluster.ModeEnhanced, e, 0, "no legacy system"},
		{"enabled=true", bolted, lockcluster.ModeLegacy, l, 0, "shadow is the first step"},
		{"enabled=false", bolted, lockcluster.ModeLegacy, l, 0, "whatever else"},
		{"enabled=false mode=gradual percent=50", bolted, lockcluster.ModeLegacy, l, 0, "whatever else"},
		{"enabled=false mode=blue-green active=enhanced", bolted, lockcluster.ModeLegacy, l, 0, "whatever else"},
		{"enabled=false mode=shadow percent=50", bolted, lockcluster.ModeLegacy, l, 0, "whatever else"},
		{"mode=shadow", bolted, lockcluster.ModeShadow, l, 0, "mode shadow"},
		{"enabled=true validation=true", bolted, lockcluster.ModeShadow, l, 0, "validation-mode is true"},
		{"validation=true", bolted, lockcluster.ModeShadow, l, 0, "validation-mode is true"},
		{"mode=shadow active=legacy percent=0", bolted, lockcluster.ModeShadow, l, 0, ""},
		{"mode=gradual", bolted, lockcluster.ModeGradual, 0, 0, "0 %"},
		{"mode=gradual percent=100 enabled=true", bolted, lockcluster.ModeGradual, 0, 100, "100 %"},
		{"enabled=true percent=25", bolted, lockcluster.ModeGradual, 0, 25, "25 %"},
		{`enabled=true canary=[{"workspace":"w"}]`, bolted, lockcluster.ModeGradual, 0, 0, "canary rules (1) send"},
		{"mode=blue-green", bolted, lockcluster.ModeBlueGreen, l, 0, "mirror"},
		{"mode=blue-green active=enhanced", bolted, lockcluster.ModeBlueGreen, e, 0, "active-system is enhanced"},
		{"enabled=true active=enhanced", bolted, lockcluster.ModeBlueGreen, e, 0, "active-system is enhanced"},
		{"mode=enhanced", bolted, lockcluster.ModeEnhanced, e, 0, ""},
		{"mode=enhanced active=enhanced", alone, lockcluster.ModeEnhanced, e, 0, ""},
		{"mode=legacy percent=0", bolted, lockcluster.ModeLegacy, l, 0, ""},
	} {
		p, err := Effective(settings(t, c.settings), c.site)
		if err != nil {
			t.Errorf("%q: %v", c.settings, err)
			continue
		}
		if p.Mode != c.mode || p.Active != c.active || p.Percentage != c.percent || !strings.Contains(strings.Join(p.Why, "; "), c.why) {
			t.Errorf("%q: got %+v", c.settings, p)
		}
	}
	p, err := Effective(map[string]string{nameMode: modeShadow, "enhanced-locking.of-tomorrow": "1"}, bolted)
	if err != nil || p.Mode != lockcluster.ModeShadow || !slices.ContainsFunc(p.Why, func(w string) bool { return strings.Contains(w, "of-tomorrow") }) {
		t.Errorf("a setting of a newer version: %+v, %v", p, err)
	}
}

// Settings that contradict each other, or the cluster, are refused with what to
// change.
func TestContradictions(t *testing.T) {
	for _, c := range []struct {
		settings string
		site     Site
		want     string
	}{
		{"mode=shadow percent=10", bolted, "traffic-percentage: 10 is for mode gradual, but the mode is shadow"},
		{"mode=blue-green percent=1", bolted, "the mode is blue-green"},
		{"percent=10", bolted, "set enhanced-locking.migration.mode to gradual"},
		{`mode=shadow canary=[{"workspace":"w"}]`, bolted, "canary-criteria: is for mode gradual"},
		{"mode=shadow active=enhanced", bolted, "active-system: enhanced is for mode blue-green, but the mode is shadow"},
		{"mode=gradual active=enhanced", bolted, "the mode is gradual"},
		{"active=enhanced", bolted, "set enhanced-locking.migration.mode to blue-green"},
		{"mode=enhanced active=legacy", bolted, "there is no legacy system"},
		{"mode=gradual validation=true", bolted, "validation-mode: true is mode shadow"},
		{"automatic=true fallback=false", bolted, "fallback-enabled false forbids it"},
		{"window=5s", bolted, "shorter than the time between"},
		{"interval=2m", bolted, "shorter than the time between"},
		{"mode=legacy", alone, "none is attached"},
		{"mode=shadow", alone, "--legacy-boltdb"},
		{"mode=gradual", alone, "mode: gradual needs a legacy system"},
		{"mode=blue-green active=enhanced", alone, "none is attached"},
		{"validation=true", alone, "validation-mode: true needs a legacy system"},
		{"enabled=true active=legacy", alone, "active-system: legacy needs a legacy system"},
		{"enabled=true percent=10", alone, "traffic-percentage: 10 needs a legacy system"},
		{"enabled=false", alone, "enabled: false is the way back"},
		{"backend=boltdb", Site{Nodes: 3}, "this cluster has 3"},
		{"backend=boltdb", Site{Nodes: 1}, "not available in this version"},
		{"backend=redis", bolted, "not available in this version"},
	} {
		_, err := Effective(settings(t, c.settings), c.site)
		var problems Problems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.settings, err, c.want)
		}
	}
	v, err := Load([]byte("enhanced-locking:\n  migration:\n    mode: shadow\n    traffic-percentage: 10\n"), "f.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(v, Site{Offline: true}); err == nil || !strings.HasPrefix(err.Error(), "f.yaml:4: ") {
		t.Errorf("a contradiction in a file: got %v", err)
	}
}

// A change is judged with the others; what belongs to the old mode goes with
// it, and nothing moves to another system that nobody asked to move.
func TestChanges(t *testing.T) {
	for _, c := range []struct {
		current, set string
		site         Site
		want         string // changes
		refused      string
	}{
		{"", "mode=shadow", bolted, "mode=shadow", ""},
		{"", "mode=Blue_Green", bolted, "mode=blue-green active=legacy", ""},
		{"", "mode=shadow", alone, "", "needs a legacy system"},
		{"mode=shadow", "percent=10", bolted, "", "the mode is shadow"},
		{"mode=shadow", "mode=gradual percent=10", bolted, "mode=gradual percent=10", ""},
		{"mode=shadow", "mode=gradual", bolted, "mode=gradual", ""},
		{"validation=true", "mode=gradual percent=1", bolted, "mode=gradual percent=1 validation=", ""},
		{"mode=gradual percent=10", "percent=50", bolted, "percent=50", ""},
		{"mode=gradual percent=50", "percent=0", bolted, "percent=0", ""},
		{"mode=gradual percent=50", "mode=gradual", bolted, "mode=gradual", ""},
		{"mode=gradual percent=50 canary=[{workspace:w}]", "mode=shadow", bolted, "mode=shadow percent= canary=", ""},
		{"mode=gradual percent=50", "mode=blue-green", bolted, "", "active-system=legacy or enhanced in the same call"},
		{"mode=gradual percent=50", "mode=blue-green active=enhanced", bolted, "mode=blue-green active=enhanced percent=", ""},
		{"mode=gradual", "mode=blue-green", bolted, "mode=blue-green active=legacy", ""},
		{"mode=blue-green active=legacy", "active=enhanced", bolted, "active=enhanced", ""},
		{"mode=blue-green active=enhanced", "mode=gradual", bolted, "", "traffic-percentage in the same call"},
		{"mode=blue-green active=enhanced", "mode=gradual percent=100", bolted, "mode=gradual percent=100 active=", ""},
		{"mode=blue-green active=enhanced", "mode=shadow", bolted, "mode=shadow active=", ""},
		{"mode=blue-green active=enhanced", "enabled=false", bolted, "enabled=false", ""},
		{"mode=gradual percent=50", "enabled=false", bolted, "enabled=false", ""},
		{"", "enabled=false", bolted, "enabled=false", ""},
		{"", "enabled=false", alone, "", "none is attached"},
		{"mode=blue-green active=enhanced", "percent=0", bolted, "", "cluster switch legacy"},
		{"", "percent=0", alone, "", "no legacy system to go back to"},
		{"mode=shadow", "percent=0", bolted, "percent=0", ""},
		{"enabled=true percent=25", "mode=gradual", bolted, "mode=gradual", ""},
		{"mode=shadow", "mode=", bolted, "mode=", ""},
		{"mode=gradual percent=5", "mode=", bolted, "mode= percent=", ""},
		{"mode=gradual percent=5", "canary=[{user-group:g}]", bolted, `canary=[{"user-group":"g"}]`, ""},
		{"", "backend=raft", bolted, "", "--enhanced-locking-backend"},
		{"", "percent=101", bolted, "", "from 0 to 100"},
		{"fallback=false", "automatic=true", bolted, "", "forbids it"},
	} {
		current := map[string]string{}
		for name, value := range settings(t, c.current) {
			s, _ := Lookup(name)
			normal, err := s.Normal(strings.NewReplacer(":", ": ", ": //", "://").Replace(value))
			if err != nil {
				t.Fatal(err)
			}
			current[name] = normal
		}
		had := maps.Clone(current)
		var set []Assignment
		for part := range strings.FieldsSeq(c.set) {
			name, value, _ := strings.Cut(part, "=")
			if !strings.Contains(value, `"`) {
				value = strings.ReplaceAll(value, ":", ": ")
			}
			set = append(set, Assignment{short[name], value})
		}
		got, err := Changes(c.site, current, set)
		switch {
		case c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)):
			t.Errorf("%q, then %q: got %v, %v, want %q", c.current, c.set, got, err, c.refused)
		case c.refused == "" && (err != nil || !maps.Equal(got, settings(t, c.want))):
			t.Errorf("%q, then %q: got %v, %v", c.current, c.set, got, err)
		}
		if !maps.Equal(current, had) {
			t.Errorf("%q: the current settings were changed", c.current)
		}
	}
	for name, want := range map[string]string{
		"enhanced-locking.migration.mod": `did you mean "enhanced-locking.migration.mode"?`,
		"traffic-percentage":             `did you mean "enhanced-locking.migration.traffic-percentage"?`,
	} {
		if _, err := Change(bolted, nil, name, "1"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if got, err := Change(bolted, nil, "feature_flags.enhanced_metrics", "FALSE"); err != nil || !maps.Equal(got, map[string]string{"enhanced-locking.metrics": "false"}) {
		t.Errorf("an alias: got %v, %v", got, err)
	}
	_, err := Changes(bolted, nil, []Assignment{{"enhanced-locking.metrics", "true"}, {"feature-flags.enhanced-metrics", "false"}})
	if err == nil || !strings.Contains(err.Error(), "two values") {
		t.Errorf("two values in one call: got %v", err)
	}
}

// After a switch the settings say what is, whatever they said before.
func TestSwitchChanges(t *testing.T) {
	for _, current := range []string{
		"", "enabled=false", "enabled=true", "mode=shadow", "mode=gradual percent=50", "mode=blue-green active=enhanced",
		"enabled=false mode=gradual percent=20", "validation=true", "enabled=true percent=10",
	} {
		for _, to := range []lockcluster.System{lockcluster.SystemLegacy, lockcluster.SystemEnhanced} {
			next := settings(t, current)
			maps.Copy(next, SwitchChanges(next, to))
			p, err := Effective(next, bolted)
			if err != nil || p.Active != to {
				t.Errorf("%q to %s: %+v, %v", current, to, p, err)
			}
		}
	}
}

// The typed values are the defaults of the table, and what was set.
func TestDecode(t *testing.T) {
	o := Decode(nil)
	r := o.Rollback
	if o.AcquireTimeout.Seconds() != 30 || o.AcquireRetries != 3 || !o.Compare || !o.LogComparisons || !o.HealthCheck ||
		r.Automatic || r.Threshold != 0.05 || r.Window.Seconds() != 60 || r.MinSamples != 50 || r.CheckInterval.Seconds() != 10 ||
		r.Cooldown.Minutes() != 5 || r.P95Ratio != 0 || o.Criteria != (SwitchCriteria{MaxErrorRate: 1, NoDivergence: true}) {
		t.Errorf("defaults: %+v", o)
	}
	if !maps.Equal(o.Features, map[string]bool{"enhanced-metrics": true, "health-checks": true}) {
		t.Errorf("features: %v", o.Features)
	}
	o = Decode(map[string]string{nameAutomatic: "true", nameFallback: "false", nameMinTime: "24h", nameMaxErrors: "0.01", nameMinOperations: "1000"})
	if o.Rollback.Automatic || o.Criteria.MinValidationTime.Hours() != 24 || o.Criteria.MaxErrorRate != 0.01 || o.Criteria.MinSuccessfulOperations != 1000 {
		t.Errorf("got %+v", o)
	}
}

// An untouched configuration translates to what the documents say; one that
// was changed says so.
func TestTranslateConfig(t *testing.T) {
	c := NewConfigBridge(Values{}).TranslateConfig()
	if c.Backend != "boltdb" || c.EnabledFeatures == nil || len(c.EnabledFeatures) != 0 || !c.CompatibilityMode || !c.LegacyMode ||
		!c.FallbackEnabled || c.ValidationMode || c.LockTimeout.Seconds() != 30 || c.LockRetries != 3 {
		t.Errorf("untouched: %+v", c)
	}
	for text, want := range map[string]struct {
		backend            string
		legacy, validation bool
	}{
		"mode=shadow":                     {"boltdb", true, true},
		"validation=true":                 {"boltdb", true, true},
		"mode=gradual percent=1":          {"raft", false, false},
		"mode=gradual":                    {"boltdb", true, false},
		"mode=blue-green active=enhanced": {"raft", false, false},
		"mode=blue-green":                 {"boltdb", true, false},
		"mode=enhanced":                   {"raft", false, false},
	} {
		v, _ := FromSettings(settings(t, text))
		c := NewConfigBridge(v).TranslateConfig()
		if c.Backend != want.backend || c.LegacyMode != want.legacy || c.ValidationMode != want.validation {
			t.Errorf("%q: got %+v", text, c)
		}
	}
}

// What is suggested for an unknown name can be used: no flag that is not
// available, and for "config set" nothing that only a node's start reads.
func TestSuggestionsCanBeUsed(t *testing.T) {
	for name, want := range map[string]string{
		"enhanced-locking.feature-flags.health-chek":     `did you mean "enhanced-locking.feature-flags.health-checks"?`,
		"feature_flags.enhanced_metric":                  `did you mean "enhanced-locking.feature-flags.enhanced-metrics"?`,
		"enhanced-locking.feature-flags.priority-queing": "this version has enhanced-metrics and health-checks",
		"enhanced-locking.feature-flags.debug-endpoint":  "this version has enhanced-metrics and health-checks",
		"enhanced-locking.priority-queu":                 "unknown setting",
		"enhanced-locking.backen":                        "unknown setting",
		"foo":                                            `unknown setting; "lockcluster config mapping" lists all`,
	} {
		_, err := Normalize([]Assignment{{name, "true"}})
		var problems Problems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
			continue
		}
		near := problems[0].Nearest
		if s := find(near); near != "" && (s == nil || !s.Available() || s.NodeOnly) {
			t.Errorf("%s: %q is suggested, which cannot be set", name, near)
		}
	}
}

// What one call asks for may contradict itself whatever is set already; what
// the present settings decide about is not judged.
func TestJudge(t *testing.T) {
	const prefix = "enhanced-locking.migration."
	for _, c := range []struct {
		set  []Assignment
		want string // empty: it is possible
	}{
		{[]Assignment{{prefix + "mode", "shadow"}, {prefix + "traffic-percentage", "10"}}, "is for mode gradual, but the mode is shadow"},
		{[]Assignment{{prefix + "mode", "legacy"}, {prefix + "active-system", "enhanced"}}, "is for mode blue-green, but the mode is legacy"},
		{[]Assignment{{prefix + "mode", "purple"}}, "want legacy"},
		{[]Assignment{{prefix + "mode", "gradual"}, {prefix + "traffic-percentage", "10"}}, ""},
		{[]Assignment{{prefix + "traffic-percentage", "10"}}, ""},
		{[]Assignment{{prefix + "mode", "shadow"}}, ""},
		{[]Assignment{{prefix + "mode", ""}}, ""},
	} {
		if _, err := Judge(c.set); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %q", c.set, err, c.want)
		}
	}
}
