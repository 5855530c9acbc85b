package bridge

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// seed is the documents' own example, whole, but for the backend's name.
const seed = `
locks:
  timeout: 30s
  retries: 3
enhanced-locking:
  enabled: true
  backend: "raft"
  compatibility-mode: true
  priority-queue: false
  deadlock-detection: false
  retries: false
  metrics: true
  migration:
    mode: "gradual"
    validation-mode: false
    validation-enabled: true
    comparison-logging: true
    traffic-percentage: 10
    fallback-enabled: true
    active-system: legacy
    health-check-enabled: true
    automatic-rollback: true
    rollback-threshold: 0.05
    canary-criteria:
      - project-name: "test-project"
      - workspace: "staging"
      - user-group: "platform-team"
  feature-flags:
    enhanced-timeouts: false
    batch-operations: false
    async-operations: false
    priority-queuing: false
    deadlock-detection: false
    event-streaming: false
    enhanced-metrics: true
    health-checks: true
    debug-endpoints: false
`

// The documents' YAML is read whole, with every value under its canonical name
// and the line it stands on.
func TestLoadSeed(t *testing.T) {
	v, err := Load([]byte(seed), "seed.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got := v["enhanced-locking.migration.canary-criteria"].Text; got != `[{"project-name":"test-project"},{"workspace":"staging"},{"user-group":"platform-team"}]` {
		t.Errorf("canary: %s", got)
	}
	if got := v["locks.timeout"]; got.Text != "30s" || got.At != (Place{File: "seed.yaml", Line: 3}) || got.Source != SourceFile {
		t.Errorf("locks.timeout: %+v", got)
	}
	// 29 keys, of which 3 name a setting a second time.
	if len(v) != 26 {
		t.Errorf("%d settings: %v", len(v), v.Settings())
	}
	if err := Check(v, Site{Nodes: 3, Legacy: "boltdb"}); err != nil {
		t.Error(err)
	}
	if _, there := v.Replicated()["enhanced-locking.backend"]; there || len(v.Replicated()) != 25 {
		t.Errorf("replicated: %v", v.Replicated())
	}
}

// Siblings' spellings and places mean the same settings.
func TestLoadSpellings(t *testing.T) {
	for _, text := range []string{
		"enhanced-locking: {migration: {mode: gradual, traffic-percentage: 7}}",
		"enhanced_locking: {migration: {mode: gradual, traffic_percentage: 7}}",
		"enhanced_locking:\n  migration:\n    mode: canary\n    percentage: 7",
		"enhanced-locking.migration.mode: gradual\nenhanced-locking.migration.traffic-percentage: 7",
		"enhanced-locking:\n  migration.mode: gradual\n  migration:\n    traffic-percentage: 7",
	} {
		v, err := Load([]byte(text), "f")
		want := map[string]string{"enhanced-locking.migration.mode": "gradual", "enhanced-locking.migration.traffic-percentage": "7"}
		if err != nil || !maps.Equal(v.Settings(), want) {
			t.Errorf("%s: got %v, %v", text, v.Settings(), err)
		}
	}
	v, err := Load([]byte("feature-flags: {health-checks: false}\nfeature_flags.enhanced_metrics: false"), "f")
	want := map[string]string{"enhanced-locking.feature-flags.health-checks": "false", "enhanced-locking.metrics": "false"}
	if err != nil || !maps.Equal(v.Settings(), want) {
		t.Errorf("flags at the top: got %v, %v", v.Settings(), err)
	}
	for _, text := range []string{"", "# nothing", "---", "~", "locks:", "enhanced-locking: {migration: }"} {
		if v, err := Load([]byte(text), "f"); err != nil || len(v) != 0 {
			t.Errorf("%q: got %v, %v", text, v, err)
		}
	}
}

// What is wrong in a file is named with file, line and key, and with the
// nearest known key or what is wanted; every mistake of a file is reported.
func TestLoadRefused(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"unknown at the top", "locks:\n  retries: 3\nenhanced-lokcing:\n  enabled: true", []string{"f.yaml:3: enhanced-lokcing: unknown setting", `"enhanced-locking"`}},
		{"unknown in a section", "enhanced-locking:\n  enabeld: true", []string{"f.yaml:2: enhanced-locking.enabeld", `"enhanced-locking.enabled"`}},
		{"unknown section", "enhanced-locking:\n  migraton:\n    mode: shadow", []string{"f.yaml:2: enhanced-locking.migraton", `"enhanced-locking.migration"`}},
		{"deep", "enhanced-locking:\n  migration:\n    traffik-percent: 3", []string{"f.yaml:3: ", `"enhanced-locking.migration.traffic-percentage"`}},
		{"in the wrong section", "enhanced-locking:\n  traffic-percentage: 3", []string{"f.yaml:2: ", `"enhanced-locking.migration.traffic-percentage"`}},
		{"below a setting", "locks:\n  timeout:\n    acquire: 3s", []string{"f.yaml:3: locks.timeout: want a time such as 30s, got a mapping"}},
		{"value for a section", "enhanced-locking:\n  migration: shadow", []string{"f.yaml:2: enhanced-locking.migration: want keys", `"shadow"`}},
		{"of a sibling design", "enhanced-locking:\n  redis:\n    addresses: [x]", []string{"f.yaml:2: enhanced-locking.redis", "--legacy-redis"}},
		{"number for a time", "locks:\n  timeout: 30", []string{"f.yaml:2: locks.timeout: want a time such as 30s, got int 30"}},
		{"text for a bool", "enhanced-locking:\n  enabled: yes please", []string{"f.yaml:2: enhanced-locking.enabled: want true or false"}},
		{"quoted bool", "enhanced-locking:\n  enabled: \"true\"", []string{"f.yaml:2: ", "want true or false"}},
		{"float for a percentage", "enhanced-locking:\n  migration:\n    traffic-percentage: 0.1", []string{"f.yaml:3: ", "from 0 to 100", "float 0.1"}},
		{"percent for a ratio", "enhanced-locking:\n  migration:\n    rollback-threshold: 5.0", []string{"f.yaml:3: ", "5.0 % is 0.05"}},
		{"list for text", "enhanced-locking:\n  backend: [raft]", []string{"f.yaml:2: ", "want text, got a list"}},
		{"alias", "locks: &a\n  retries: 3\nenhanced-locking: *a", []string{"f.yaml:3: enhanced-locking: want keys with values, got an alias"}},
		{"bad canary rule", "enhanced-locking:\n  migration:\n    canary-criteria:\n    - project-name: a\n    - projekt: b", []string{"f.yaml:5: enhanced-locking.migration.canary-criteria", `no key "projekt"`}},
		{"not built", "enhanced-locking:\n  feature-flags:\n    async-operations: true", []string{"f.yaml:3: ", "async-operations", "not available in this version", "not built"}},
		{"twice", "locks:\n  retries: 3\n  retries: 3", []string{"f.yaml:3: locks.retries: is there twice"}},
		{"twice by spelling", "enhanced-locking: {}\nenhanced_locking: {}", []string{"f.yaml:2: enhanced_locking: is there twice"}},
		{"alias and canonical name disagree", "enhanced-locking:\n  metrics: true\n  feature-flags:\n    enhanced-metrics: false", []string{
			"f.yaml:4: enhanced-locking.feature-flags.enhanced-metrics: is false, but enhanced-locking.metrics", "says true (f.yaml:2)",
		}},
		{"number for a name", "7: 3", []string{"f.yaml:1: want the name of a setting, got int 7"}},
		{"list", "- a", []string{"f.yaml:1: want keys with values, got a list"}},
		{"no YAML", "a: [", []string{"f.yaml:1: the file is not YAML"}},
		{"no YAML further down", "locks:\n  retries: 3\n bad", []string{"f.yaml:2: the file is not YAML: did not find expected key"}},
		{"two documents", "locks: {}\n---\nlocks: {}", []string{"f.yaml:1: only one YAML document"}},
		{"too long", strings.Repeat("# a comment\n", fileSizeMax/12+1), []string{"longer than"}},
		{"several", "locks:\n  timeout: 1\n  retries: x\nfoo: bar", []string{"f.yaml:2: locks.timeout", "f.yaml:3: locks.retries", "f.yaml:4: foo"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load([]byte(c.text), "f.yaml")
			if err == nil {
				t.Fatal("accepted")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			var problems Problems
			if !errors.As(err, &problems) || problems[0].File != "f.yaml" || problems[0].Line == 0 {
				t.Errorf("not a list of problems with places: %#v", err)
			}
		})
	}
}

// The environment is read by every name a setting has there; an unknown
// variable below a prefix of ours is an error, any other is somebody else's.
func TestFromEnv(t *testing.T) {
	v, err := FromEnv([]string{
		"ATLANTIS_LOCK_TIMEOUT=1m", "ATLANTIS_LOCK_RETRIES=", "ATLANTIS_FEATURE_METRICSCOLLECTION=false",
		"ATLANTIS_ENHANCED_LOCKING_MIGRATION_CANARY_CRITERIA=[{workspace: w}]",
		"ATLANTIS_LOCKING_DB_TYPE=redis", "ATLANTIS_LOCK_ALL_PROJECTS_BEFORE_PLAN=true", "ATLANTIS_GH_USER=x", "HOME=/",
		"ATLANTIS_FEATURE_STORE_SERVICE_HOST=10.0.0.1", "ATLANTIS_FEATURE_STORE_PORT_80_TCP_ADDR=10.0.0.1",
	})
	want := map[string]string{
		"locks.timeout": "1m", "enhanced-locking.metrics": "false", "enhanced-locking.migration.canary-criteria": `[{"workspace":"w"}]`,
	}
	if err != nil || !maps.Equal(v.Settings(), want) {
		t.Errorf("got %v, %v", v.Settings(), err)
	}
	for entry, want := range map[string]string{
		"ATLANTIS_ENHANCED_LOCKING_ENABLE=true":           `environment variable ATLANTIS_ENHANCED_LOCKING_ENABLE: unknown setting, did you mean "ATLANTIS_ENHANCED_LOCKING_ENABLED"?`,
		"ATLANTIS_FEATURE_METRICS_COLLECTION=true":        `did you mean "ATLANTIS_FEATURE_METRICSCOLLECTION"?`,
		"ATLANTIS_FEATURE_PRIORITY_QUEUE=true":            `"lockcluster config mapping -o json" lists all names`, // the flag of that name is not available
		"ATLANTIS_ENHANCED_LOCKING_REDIS_ADDR=h:1":        "--legacy-redis",
		"ATLANTIS_ENHANCED_LOCKING_MAX_QUEUE_SIZE=5":      "the length of a queue is fixed",
		"ATLANTIS_LOCK_TIMEOUT=30":                        "environment variable ATLANTIS_LOCK_TIMEOUT: want a time such as 30s",
		"ATLANTIS_FEATURE_DEADLOCKDETECTION=true":         "not available in this version",
		"ATLANTIS_ENHANCED_LOCKING_MIGRATION_MODE=purple": "want legacy, shadow",
	} {
		if _, err := FromEnv([]string{entry}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", entry, err, want)
		}
	}
	if _, err := FromEnv([]string{"ATLANTIS_ENHANCED_LOCKING_REDIS_PASSWORD=s3cret"}); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a password: got %v", err)
	}
	_, err = FromEnv([]string{"ATLANTIS_FEATURE_METRICSCOLLECTION=true", "ATLANTIS_ENHANCED_LOCKING_METRICS=false"})
	if err == nil || !strings.Contains(err.Error(), "ATLANTIS_FEATURE_METRICSCOLLECTION") || !strings.Contains(err.Error(), "ATLANTIS_ENHANCED_LOCKING_METRICS") {
		t.Errorf("two variables that disagree: got %v", err)
	}
}

// A flag is there for every setting and stays out of the help; a bad value
// names it.
func TestFromFlags(t *testing.T) {
	fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
	AddFlags(fs)
	for i := range registry {
		if f := fs.Lookup(registry[i].Flag()); f == nil || !f.Hidden {
			t.Errorf("no hidden flag --%s", registry[i].Flag())
		}
	}
	if err := fs.Parse([]string{"--enhanced-locking-enabled", "--enhanced-locking-default-timeout=9s", "--enhanced-locking-migration-mode", "shadow"}); err != nil {
		t.Fatal(err)
	}
	v, err := FromFlags(fs)
	want := map[string]string{"enhanced-locking.enabled": "true", "locks.timeout": "9s", "enhanced-locking.migration.mode": "shadow"}
	if err != nil || !maps.Equal(v.Settings(), want) {
		t.Errorf("got %v, %v", v.Settings(), err)
	}
	if err := fs.Parse([]string{"--locks-timeout=8s"}); err != nil {
		t.Fatal(err)
	}
	if _, err := FromFlags(fs); err == nil || !strings.Contains(err.Error(), "--locks-timeout") || !strings.Contains(err.Error(), "--enhanced-locking-default-timeout") {
		t.Errorf("two flags that disagree: got %v", err)
	}
}

// The cluster's settings win over flags, flags over the environment, that over
// the file, the file over the default; each row says which one it was.
func TestPrecedence(t *testing.T) {
	file, err := Load([]byte("locks: {timeout: 1s, retries: 1}\nenhanced-locking: {metrics: false, migration: {rollback-window: 2m, rollback-cooldown: 1m}}"), "a.yaml")
	if err != nil {
		t.Fatal(err)
	}
	env, err := FromEnv([]string{"ATLANTIS_LOCK_TIMEOUT=2s", "ATLANTIS_LOCK_RETRIES=2", "ATLANTIS_FEATURE_METRICSCOLLECTION=true"})
	if err != nil {
		t.Fatal(err)
	}
	fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
	AddFlags(fs)
	if err := fs.Parse([]string{"--locks-timeout=3s", "--locks-retries=3"}); err != nil {
		t.Fatal(err)
	}
	flags, err := FromFlags(fs)
	if err != nil {
		t.Fatal(err)
	}
	cluster, unread := FromSettings(map[string]string{"locks.timeout": "4s", "new.setting": "x", "locks.retries": "", "enhanced-locking.migration.rollback-window": "soon"})
	if len(unread) != 2 {
		t.Errorf("unread: %v", unread)
	}
	rows := map[string]Row{}
	for _, r := range Mapping(Merge(file, env, flags, cluster)) {
		rows[r.Setting] = r
	}
	for name, want := range map[string]Row{
		"locks.timeout":            {Value: "4s", Source: SourceCluster, Live: true},
		"locks.retries":            {Value: "3", Source: SourceFlag, Place: "--locks-retries", Live: true},
		"enhanced-locking.metrics": {Value: "true", Source: SourceEnv, Place: "environment variable ATLANTIS_FEATURE_METRICSCOLLECTION", Live: true},
		"enhanced-locking.migration.rollback-cooldown": {Value: "1m", Source: SourceFile, Place: "a.yaml:2", Live: true},
		"enhanced-locking.backend":                     {Value: "raft", Source: SourceDefault},
	} {
		got := rows[name]
		if got.Value != want.Value || got.Source != want.Source || got.Place != want.Place || got.Live != want.Live {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	if len(rows) != len(registry) {
		t.Errorf("%d rows for %d settings", len(rows), len(registry))
	}
}

// No file can make the reader panic, and what it accepts it can judge, explain
// and read again.
func FuzzLoad(f *testing.F) {
	f.Add(seed)
	f.Add("enhanced_locking: {migration: {mode: canary, canary-criteria: '[{workspace: w}]'}}")
	f.Add("feature-flags:\n  ? [a]\n  : b\nlocks: &x {timeout: *x}")
	f.Add("locks: {<<: {retries: 3}, timeout: !!str 30s}")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := Load([]byte(text), "f")
		if err != nil {
			_ = err.Error()
			return
		}
		settings := v.Settings()
		again, unread := FromSettings(settings)
		if len(unread) > 0 || !maps.Equal(again.Settings(), settings) {
			t.Fatalf("%q: %v read again is %v, unread %v", text, settings, again.Settings(), unread)
		}
		for _, site := range []Site{{Offline: true}, {Nodes: 3}, {Nodes: 3, Legacy: "boltdb"}} {
			plan, err := Effective(settings, site)
			if err == nil && !site.Offline && (plan.Mode == 0 || len(plan.Why) == 0) {
				t.Fatalf("%q: no mode on %+v", text, site)
			}
		}
		Decode(settings)
		Mapping(v)
		NewConfigBridge(v).TranslateConfig()
	})
}
