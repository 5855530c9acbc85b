package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/lockcluster/lockcluster/compat/bridge"
)

// load reads args, environ and a file with that text (none if empty).
func load(t *testing.T, file string, environ []string, args ...string) (Server, error) {
	t.Helper()
	fs := pflag.NewFlagSet("server", pflag.ContinueOnError)
	AddFlags(fs)
	if file != "" {
		args = append(args, "--config", writeFile(t, file))
	}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return Load(fs, environ)
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "node.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A flag wins over the environment, the environment over the file, the file
// over the default; for every type of setting.
func TestPrecedence(t *testing.T) {
	file := "node-id: file\nlog-store: boltdb\ninsecure: true\ncompat:\n  exact-repo-match: false\nresp-addr: 127.0.0.1:1\n"
	env := []string{"LOCKCLUSTER_NODE_ID=env", "LOCKCLUSTER_INSECURE=false", "LOCKCLUSTER_RESP_ADDR=127.0.0.1:2"}
	s, err := load(t, file, env, "--node-id", "flag")
	if err != nil {
		t.Fatal(err)
	}
	want := Server{
		NodeID: "flag", LogStore: "boltdb", Insecure: false, ExactRepoMatch: false, RESPAddr: "127.0.0.1:2",
		RaftAddr: "127.0.0.1:7000", GRPCAddr: "127.0.0.1:7100", HTTPAddr: "127.0.0.1:7200", SendEarly: true, LogFormat: "json", LogLevel: "info",
	}
	want.Settings = bridge.Values{}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
	s, err = load(t, file, env, "--insecure", "--exact-repo-match")
	if err != nil || !s.Insecure || !s.ExactRepoMatch || s.NodeID != "env" {
		t.Errorf("flags over the rest: got %+v, %v", s, err)
	}
}

// The environment names the file, and --config wins over it.
func TestConfigFromEnvironment(t *testing.T) {
	env := []string{"LOCKCLUSTER_CONFIG=" + writeFile(t, "node-id: by-env")}
	if s, err := load(t, "", env); err != nil || s.NodeID != "by-env" {
		t.Errorf("got %q, %v", s.NodeID, err)
	}
	if s, err := load(t, "node-id: by-flag", env); err != nil || s.NodeID != "by-flag" {
		t.Errorf("got %q, %v", s.NodeID, err)
	}
}

// A list of members may be text, a list or a mapping; a list of endpoints text
// or a list; an empty file sets nothing.
func TestFileForms(t *testing.T) {
	for _, text := range []string{
		"initial-cluster: n1=a:1,n2=b:2\njoin: a:1,b:2",
		"initial-cluster: [n1=a:1, n2=b:2]\njoin: [a:1, b:2]",
		"initial-cluster:\n  n1: a:1\n  n2: b:2\njoin:\n- a:1\n- b:2\n",
	} {
		s, err := load(t, text, nil)
		if err != nil || s.InitialCluster != "n1=a:1,n2=b:2" || s.Join != "a:1,b:2" {
			t.Errorf("%s: got %q and %q, %v", text, s.InitialCluster, s.Join, err)
		}
	}
	for _, text := range []string{"# nothing\n", "---\n", "~"} {
		if s, err := load(t, text, nil); err != nil || s.LogStore != "wal" {
			t.Errorf("%q: got %+v, %v", text, s, err)
		}
	}
}

// A bad file or variable is refused with an error that names where it is and
// what to write instead.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name, file, env string
		want            []string
	}{
		{name: "unknown key", file: "node-id: n1\ndata_dir: /x", want: []string{"node.yaml:2", `unknown key "data_dir"`, `did you mean "data-dir"?`}},
		{name: "unknown key in a section", file: "compat:\n  exact-repo: true", want: []string{"node.yaml:2", `"compat.exact-repo-match"`}},
		{name: "section that is none", file: "compat: true", want: []string{"node.yaml:1", "compat: want keys", "bool true"}},
		{name: "key twice", file: "node-id: a\nnode-id: b", want: []string{"node.yaml:2", "node-id", "twice"}},
		{name: "number for text", file: "\nnode-id: 7", want: []string{"node.yaml:2", "node-id", "want text, got int 7", "quotes"}},
		{name: "long text for a section", file: "locks: " + strings.Repeat("x", 1000), want: []string{"want keys with values", "xxx...\""}},
		{name: "list for text", file: "raft-addr: [a, b]", want: []string{"node.yaml:1", "raft-addr", "want text, got a list"}},
		{name: "text for bool", file: "insecure: maybe", want: []string{"node.yaml:1", "insecure", `want true or false, got "maybe"`}},
		{name: "nothing for text", file: "node-id:", want: []string{"node.yaml:1", "node-id", "want text, got nothing"}},
		{name: "mapping for a list", file: "join: {a: b}", want: []string{"node.yaml:1", "join", "want text, got a mapping"}},
		{name: "number in a list", file: "join: [1]", want: []string{"node.yaml:1", "join", "want text, got int 1"}},
		{name: "not a mapping", file: "- a", want: []string{"node.yaml:1", "want keys with values, got a list"}},
		{name: "not YAML", file: "a: [", want: []string{"node.yaml", "is not YAML"}},
		{name: "two documents", file: "node-id: a\n---\nnode-id: b", want: []string{"only one YAML document"}},
		{name: "unknown variable", env: "LOCKCLUSTER_NODEID=x", want: []string{"LOCKCLUSTER_NODEID", "did you mean LOCKCLUSTER_NODE_ID?"}},
		{name: "bad bool variable", env: "LOCKCLUSTER_INSECURE=yes please", want: []string{"LOCKCLUSTER_INSECURE", `got "yes please"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.file, []string{c.env})
			if err == nil {
				t.Fatal("accepted")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
	if _, err := load(t, "", []string{"LOCKCLUSTER_CONFIG=/nowhere/at/all"}); err == nil || !strings.Contains(err.Error(), "/nowhere/at/all") {
		t.Errorf("missing file: got %v", err)
	}
}

// Variables that others put there are not taken for mistyped settings.
func TestForeignVariables(t *testing.T) {
	env := []string{
		"LOCKCLUSTER_ENDPOINTS=a:1", "LOCKCLUSTER_SERVICE_HOST=10.0.0.1", "LOCKCLUSTER_SERVICE_PORT_RESP=6379",
		"LOCKCLUSTER_PORT=tcp://10.0.0.1:6379", "LOCKCLUSTER_PORT_6379_TCP_ADDR=10.0.0.1", "LOCKCLUSTER_NODE_ID=", "LOCKCLUSTER_SEED=1", "LOCKCLUSTER_E2E_KILLS=50",
	}
	if s, err := load(t, "", env); err != nil || s.NodeID != "" {
		t.Errorf("got %+v, %v", s, err)
	}
}
