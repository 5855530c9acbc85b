package config

import (
	"maps"
	"strings"
	"testing"

	"github.com/lockcluster/lockcluster/compat/bridge"
)

// The blocks of an Atlantis with enhanced locking stand in the node's file, the
// environment wins over them, and a flag over that.
func TestSettings(t *testing.T) {
	file := `
node-id: n1
legacy-boltdb: /var/lib/atlantis/atlantis.db
locks: {timeout: 10s, retries: 1}
enhanced-locking:
  migration: {mode: shadow, rollback-cooldown: 1m}
feature-flags: {health-checks: false}
`
	s, err := load(t, file, []string{"ATLANTIS_LOCK_TIMEOUT=20s", "ATLANTIS_LOCK_RETRIES=2"}, "--locks-timeout", "30s")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"locks.timeout": "30s", "locks.retries": "2", "enhanced-locking.migration.mode": "shadow",
		"enhanced-locking.migration.rollback-cooldown": "1m", "enhanced-locking.feature-flags.health-checks": "false",
	}
	if s.NodeID != "n1" || !maps.Equal(s.Settings.Settings(), want) {
		t.Errorf("got %+v", s)
	}
}

// What is wrong in the blocks is named with file and line, beside what is wrong
// with the node's own settings.
func TestSettingsRefused(t *testing.T) {
	for _, c := range []struct {
		name, file string
		want       []string
	}{
		{"unknown block", "enhanced-lokcing:\n  enabled: true", []string{`node.yaml:1: unknown key "enhanced-lokcing", did you mean "enhanced-locking"?`}},
		{"unknown key", "node-id: n1\nenhanced-locking:\n  enabeld: true", []string{"node.yaml:3: enhanced-locking.enabeld: unknown setting"}},
		{"both kinds", "node_id: n1\nlocks:\n  timeout: 7", []string{`node.yaml:1: unknown key "node_id"`, "node.yaml:3: locks.timeout: want a time"}},
		{"disagreeing names", "enhanced-locking: {metrics: true}\nfeature-flags: {enhanced-metrics: false}", []string{"node.yaml:2: ", "is the same setting and says true"}},
		{"block twice", "locks: {}\nlocks: {}", []string{"node.yaml:2: locks is there twice"}},
	} {
		_, err := load(t, c.file, nil)
		for _, part := range c.want {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: got %v, want %q", c.name, err, part)
			}
		}
	}
}

// A legacy system is one file here or one Redis, and settings that contradict
// each other keep the node from starting. No error shows the Redis password.
func TestLegacy(t *testing.T) {
	mode := func(text string) bridge.Values {
		v, err := bridge.Load([]byte(text), "n.yaml")
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		name string
		set  func(*Server)
		want string // empty: accepted
	}{
		{"none", func(*Server) {}, ""},
		{"boltdb", func(s *Server) { s.LegacyBoltDB = "a.db" }, ""},
		{"boltdb, followed", func(s *Server) { s.LegacyBoltDB, s.LegacyAttach = "a.db", "follow" }, ""},
		{"redis", func(s *Server) { s.LegacyRedis = "redis://:s3cret@h:6379/1" }, ""},
		{"redis with TLS", func(s *Server) { s.LegacyRedis = "rediss://h:6379" }, ""},
		{"both", func(s *Server) { s.LegacyBoltDB, s.LegacyRedis = "a.db", "redis://:s3cret@h:1" }, "both given"},
		{"unknown way", func(s *Server) { s.LegacyBoltDB, s.LegacyAttach = "a.db", "borrow" }, "use own or follow"},
		{"way without a file", func(s *Server) { s.LegacyAttach = "own" }, "--legacy-attach says how"},
		{"way for a Redis", func(s *Server) { s.LegacyRedis, s.LegacyAttach = "redis://h:1", "follow" }, "--legacy-attach says how"},
		{"no URL", func(s *Server) { s.LegacyRedis = "s3cret@h:6379" }, "want redis://HOST:PORT/DB"},
		{"another URL", func(s *Server) { s.LegacyRedis = "http://:s3cret@h" }, "want redis://HOST:PORT/DB"},
		{"broken URL", func(s *Server) { s.LegacyRedis = "redis://:s3cret@h:port%zz" }, "want redis://HOST:PORT/DB"},
		{"contradiction", func(s *Server) {
			s.LegacyBoltDB, s.Settings = "a.db", mode("enhanced-locking: {migration: {mode: shadow, traffic-percentage: 5}}")
		}, "n.yaml:1: enhanced-locking.migration.traffic-percentage: 5 is for mode gradual"},
		{"mode of another node's legacy system", func(s *Server) {
			s.Settings = mode("enhanced-locking: {migration: {mode: shadow}}")
		}, ""},
		{"embedded system for three", func(s *Server) {
			s.InitialCluster, s.Settings = "n1=a:1,n2=b:1,n3=c:1", mode("enhanced-locking: {backend: boltdb}")
		}, "this cluster has 3"},
	} {
		s := valid()
		c.set(&s)
		err := s.Complete()
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		case err != nil && strings.Contains(err.Error(), "s3cret"):
			t.Errorf("%s: the error shows the password: %v", c.name, err)
		}
		if s.LegacyBoltDB != "" && err == nil && s.LegacyAttach == "" {
			t.Errorf("%s: it is not said how the file is attached", c.name)
		}
	}
}
