package bridge

import (
	"slices"
	"strings"
	"testing"
)

// Every name of the list of what was promised is accepted, with its default and
// in its place.
func TestPromisedSettings(t *testing.T) {
	for _, c := range []struct{ item, name, fallback string }{
		{"S20", "locks.timeout", "30s"},
		{"S21", "locks.retries", "3"},
		{"S24", "enhanced-locking.enabled", "false"},
		{"S25", "enhanced-locking.backend", "raft"}, // settled: "boltdb" is something else here
		{"S26", "enhanced-locking.compatibility-mode", "true"},
		{"S27", "enhanced-locking.priority-queue", "false"},
		{"S28", "enhanced-locking.deadlock-detection", "false"},
		{"S29", "enhanced-locking.retries", "false"},
		{"S30", "enhanced-locking.metrics", "true"},
		{"S31", "enhanced-locking.migration.validation-mode", "false"},
		{"S32", "enhanced-locking.migration.traffic-percentage", "0"},
		{"S33", "enhanced-locking.migration.fallback-enabled", "true"},
		{"S34", "feature-flags.enhanced-timeouts", "false"},
		{"S35", "feature-flags.batch-operations", "false"},
		{"S36", "feature-flags.async-operations", "false"},
		{"S37", "feature-flags.priority-queuing", "false"},
		{"S38", "feature-flags.deadlock-detection", "false"},
		{"S39", "feature-flags.event-streaming", "false"},
		{"S40", "feature-flags.enhanced-metrics", "true"},
		{"S41", "feature-flags.health-checks", "true"},
		{"S42", "feature-flags.debug-endpoints", "false"},
		{"S43", "enhanced-locking.migration.mode", ""},
		{"S43", "enhanced-locking.migration.validation-enabled", "true"},
		{"S43", "enhanced-locking.migration.comparison-logging", "true"},
		{"S44", "enhanced-locking.migration.canary-criteria", "[]"},
		{"S45", "enhanced-locking.migration.active-system", "legacy"},
		{"S46", "enhanced-locking.migration.health-check-enabled", "true"},
		{"S47", "enhanced-locking.migration.automatic-rollback", "false"},
		{"S47", "enhanced-locking.migration.rollback-threshold", "0.05"},
		{"", "enhanced-locking.migration.rollback-window", "1m"},
		{"", "enhanced-locking.migration.rollback-min-samples", "50"},
		{"", "enhanced-locking.migration.rollback-check-interval", "10s"},
		{"", "enhanced-locking.migration.rollback-cooldown", "5m"},
		{"", "enhanced-locking.migration.rollback-p95-ratio", "0"},
	} {
		s, err := Lookup(c.name)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if s.Default != c.fallback {
			t.Errorf("%s: default %q, want %q", c.name, s.Default, c.fallback)
		}
		if c.item != "" && !inItems(s.Item, c.item) {
			t.Errorf("%s: is item %q, want %s", c.name, s.Item, c.item)
		}
	}
	for env, name := range map[string]string{
		"ATLANTIS_LOCK_TIMEOUT":                               "locks.timeout",
		"ATLANTIS_LOCK_RETRIES":                               "locks.retries",
		"ATLANTIS_ENHANCED_LOCKING_ENABLED":                   "enhanced-locking.enabled",
		"ATLANTIS_ENHANCED_LOCKING_BACKEND":                   "enhanced-locking.backend",
		"ATLANTIS_ENHANCED_LOCKING_PRIORITY_QUEUE":            "enhanced-locking.priority-queue",
		"ATLANTIS_ENHANCED_LOCKING_RETRIES":                   "enhanced-locking.retries",
		"ATLANTIS_ENHANCED_LOCKING_METRICS":                   "enhanced-locking.metrics",
		"ATLANTIS_ENHANCED_LOCKING_DEFAULT_TIMEOUT":           "locks.timeout",
		"ATLANTIS_ENHANCED_LOCKING_MIGRATION_MODE":            "enhanced-locking.migration.mode",
		"ATLANTIS_ENHANCED_LOCKING_MIGRATION_CANARY_CRITERIA": "enhanced-locking.migration.canary-criteria",
		"ATLANTIS_FEATURE_ENHANCEDLOCKING":                    "enhanced-locking.enabled",
		"ATLANTIS_FEATURE_PRIORITYQUEUE":                      "enhanced-locking.priority-queue",
		"ATLANTIS_FEATURE_PRIORITYQUEUING":                    "enhanced-locking.priority-queue",
		"ATLANTIS_FEATURE_DEADLOCKDETECTION":                  "enhanced-locking.deadlock-detection",
		"ATLANTIS_FEATURE_RETRYMECHANISM":                     "enhanced-locking.retries",
		"ATLANTIS_FEATURE_EVENTSTREAMING":                     "enhanced-locking.feature-flags.event-streaming",
		"ATLANTIS_FEATURE_METRICSCOLLECTION":                  "enhanced-locking.metrics",
		"ATLANTIS_FEATURE_LEGACYCOMPATIBILITY":                "enhanced-locking.compatibility-mode",
		"ATLANTIS_FEATURE_REDISBACKEND":                       "enhanced-locking.feature-flags.redis-backend",
	} {
		if s := findEnv(env); s == nil || s.Name != name {
			t.Errorf("%s: got %+v, want %s", env, s, name)
		}
	}
}

// inItems reports whether "S27, S37" or "S43-S45" holds an item.
func inItems(items, item string) bool {
	for part := range strings.SplitSeq(items, ",") {
		from, to, _ := strings.Cut(strings.TrimSpace(part), "-")
		if from == item || to != "" && from <= item && item <= to {
			return true
		}
	}
	return false
}

// The table is sound: no name, variable or flag means two settings, every
// default is in normal form, every setting is explained in one line.
func TestRegistry(t *testing.T) {
	owners := map[string]string{}
	own := func(s *Setting, names ...string) {
		for _, n := range names {
			if other, taken := owners[n]; taken {
				t.Errorf("%s means %s and %s", n, other, s.Name)
			}
			owners[n] = s.Name
		}
	}
	for i := range registry {
		s := &registry[i]
		own(s, s.Names()...)
		own(s, s.Env()...)
		own(s, "--"+s.Flag())
		for _, n := range append(s.Names(), strings.ReplaceAll(s.Name, "-", "_")) {
			if got := find(n); got != s {
				t.Errorf("%s does not mean %s", n, s.Name)
			}
		}
		if s.Default != "" {
			if normal, err := s.Normal(s.Default); err != nil || normal != s.Default {
				t.Errorf("%s: default %q is %q in normal form, %v", s.Name, s.Default, normal, err)
			}
		}
		if s.Meaning == "" || s.Part == "" || strings.Contains(s.Meaning, "\n") || len(s.Env()) == 0 {
			t.Errorf("%s is not explained: %+v", s.Name, s)
		}
		if s.Kind == KindChoice && s.Default != "" && !slices.Contains(s.Choices, s.Default) {
			t.Errorf("%s: default %q is no choice", s.Name, s.Default)
		}
	}
}

// A feature that is not built is not listed as available, is accepted when
// false and refused when true; one that is built can be used.
func TestFeatures(t *testing.T) {
	var available []string
	for _, f := range Features() {
		available = append(available, f.Name)
	}
	for i := range registry {
		s := &registry[i]
		flag := s.Kind == KindBool && slices.ContainsFunc(s.Names(), func(n string) bool { return strings.HasPrefix(n, flagsPrefix) })
		if !flag {
			continue
		}
		listed := slices.ContainsFunc(Features(), func(f Feature) bool { return f.Setting == s.Name })
		if listed != s.Available() {
			t.Errorf("%s: listed %t, available %t", s.Name, listed, s.Available())
		}
		if _, err := Change(Site{Offline: true}, nil, s.Name, "false"); err != nil {
			t.Errorf("%s=false: %v", s.Name, err)
		}
		_, err := Change(Site{Offline: true}, nil, s.Name, "true")
		if s.Available() != (err == nil) {
			t.Errorf("%s=true: %v, available %t", s.Name, err, s.Available())
		}
		if err != nil && !strings.Contains(err.Error(), "not available in this version") {
			t.Errorf("%s=true: %v", s.Name, err)
		}
	}
	if !slices.Contains(available, "health-checks") || !slices.Contains(available, "enhanced-metrics") || slices.Contains(available, "batch-operations") {
		t.Errorf("available: %v", available)
	}
}

// Values are kept in one form, and what is no value of the setting is refused
// with what is wanted.
func TestNormal(t *testing.T) {
	for _, c := range []struct{ name, text, want, refused string }{
		{name: "locks.timeout", text: " 90s ", want: "1m30s"},
		{name: "locks.timeout", text: "3600s", want: "1h"},
		{name: "locks.timeout", text: "10m0s", want: "10m"},
		{name: "locks.timeout", text: "0s", refused: "above 0"},
		{name: "locks.timeout", text: "-1s", refused: "above 0"},
		{name: "locks.timeout", text: "30", refused: "want a time such as 30s"},
		{name: "locks.timeout", text: "999999h", refused: "ten years"},
		{name: "locks.retries", text: "007", want: "7"},
		{name: "locks.retries", text: "-1", refused: "from 0 to 1000"},
		{name: "locks.retries", text: "1.5", refused: "whole number"},
		{name: "enhanced-locking.enabled", text: "TRUE", want: "true"},
		{name: "enhanced-locking.enabled", text: "yes", refused: "true or false"},
		{name: "enhanced-locking.migration.traffic-percentage", text: "100", want: "100"},
		{name: "enhanced-locking.migration.traffic-percentage", text: "101", refused: "from 0 to 100"},
		{name: "enhanced-locking.migration.traffic-percentage", text: "0.5", refused: "whole number"},
		{name: "enhanced-locking.migration.rollback-threshold", text: "5e-2", want: "0.05"},
		{name: "enhanced-locking.migration.rollback-threshold", text: "1.5", refused: "up to 1"},
		{name: "enhanced-locking.migration.rollback-threshold", text: "5.0", refused: "5.0 % is 0.05"},
		{name: "enhanced-locking.migration.rollback-threshold", text: "0", refused: "above 0"},
		{name: "enhanced-locking.migration.rollback-threshold", text: "NaN", refused: "want a number"},
		{name: "enhanced-locking.migration.rollback-p95-ratio", text: "0.5", refused: "1 to 1000"},
		{name: "enhanced-locking.migration.rollback-p95-ratio", text: "2.0", want: "2"},
		{name: "enhanced-locking.migration.rollback-p95-ratio", text: "-0", want: "0"},
		{name: "enhanced-locking.migration.mode", text: "Blue_Green", want: "blue-green"},
		{name: "enhanced-locking.migration.mode", text: "canary", want: "gradual"},
		{name: "enhanced-locking.migration.mode", text: "purple", refused: "want legacy, shadow, gradual, blue-green or enhanced"},
		{name: "enhanced-locking.migration.canary-criteria", text: "", want: "[]"},
		{
			name: "enhanced-locking.migration.canary-criteria", text: `[{project-name: x}, {workspace: "y<", user_group: z}]`,
			want: `[{"project-name":"x"},{"workspace":"y<","user-group":"z"}]`,
		},
		{name: "enhanced-locking.migration.canary-criteria", text: "[{}]", refused: "want a rule such as"},
		{name: "enhanced-locking.migration.canary-criteria", text: "[{project: x}]", refused: `no key "project"`},
		{name: "enhanced-locking.migration.canary-criteria", text: "[{workspace: a, workspace: b}]", refused: "twice"},
		{name: "enhanced-locking.migration.canary-criteria", text: "[{workspace: 7}]", refused: "put it in quotes"},
		{name: "enhanced-locking.migration.canary-criteria", text: `[{"workspace": "a\u001b"}]`, refused: "printable"},
		{name: "enhanced-locking.migration.canary-criteria", text: "{workspace: x}", refused: "want a list"},
		{name: "enhanced-locking.migration.canary-criteria", text: "[", refused: "want a list"},
	} {
		s, err := Lookup(c.name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Normal(c.text)
		switch {
		case c.refused == "" && (err != nil || got != c.want):
			t.Errorf("%s %q: got %q, %v, want %q", c.name, c.text, got, err, c.want)
		case c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)):
			t.Errorf("%s %q: got %q, %v, want an error with %q", c.name, c.text, got, err, c.refused)
		}
		if err == nil {
			if again, err := s.Normal(got); err != nil || again != got {
				t.Errorf("%s: %q is not in normal form: %q, %v", c.name, got, again, err)
			}
		}
	}
}
