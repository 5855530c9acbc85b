package cli

import (
	"bytes"
	"context"
	"flag"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write the golden files anew")

// command runs the command line in this process, without a cluster.
func command(t *testing.T, environ []string, arguments ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, diagnostics bytes.Buffer
	code = run(context.WithoutCancel(t.Context()), arguments, Streams{In: strings.NewReader(""), Out: &out, Err: &diagnostics}, environ)
	return code, out.String(), diagnostics.String()
}

// golden compares got with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; write it with -update", err)
	}
	if got != string(want) {
		t.Errorf("%s differs (write it anew with -update)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// The help of every command is what it was: flags and examples are what people
// put into scripts.
func TestHelp(t *testing.T) {
	var each func(cmd *cobra.Command, path []string)
	each = func(cmd *cobra.Command, path []string) {
		if cmd.Hidden || cmd.Name() == "help" || cmd.Name() == "completion" {
			return
		}
		t.Run(strings.Join(path, " "), func(t *testing.T) {
			code, out, diagnostics := command(t, nil, append(path[1:len(path):len(path)], "--help")...)
			if code != 0 || diagnostics != "" {
				t.Errorf("exit code %d, %s", code, diagnostics)
			}
			golden(t, "help/"+strings.Join(path, "-")+".txt", out)
		})
		for _, child := range cmd.Commands() {
			each(child, append(path[:len(path):len(path)], child.Name()))
		}
	}
	root := (&app{}).root()
	each(root, []string{root.Name()})
}

// A wrong command line has exit code 2 and says what is wrong, without asking
// any cluster.
func TestUsage(t *testing.T) {
	for _, c := range []struct {
		line string
		env  string
		want string
	}{
		{line: "frobnicate", want: `unknown command "frobnicate"`},
		{line: "completion frobnicate", want: `unknown command "frobnicate" for "lockcluster completion"`},
		{line: "sever", want: `did you mean "server"?`},
		{line: "cluster stats", want: `did you mean "status"?`},
		{line: "locks list extra", want: `unexpected "extra"`},
		{line: "locks acquir a/b/c/d/ --pull 3", want: `did you mean "acquire"?`},
		{line: "locks acquire a/b/c/d/ --pul 3", want: "did you mean --pull?"},
		{line: "locks acquire a/b/c/d/ --pull x", want: `--pull "x": want a whole number`},
		{line: "locks acquire a/b/c/d/ --pull 0", want: "above 0"},
		{line: "locks acquire pr/a/b/./default/ --pull 1", want: `write "a/b/./default/"`},
		{line: "cluster add n4 foo", want: `"foo": want host:port`},
		{line: "cluster add n4", want: "HOST:PORT is missing"},
		{line: "locks list --no-such-flag", want: "unknown flag: --no-such-flag"},
		{line: "version -o yaml", want: `--output "yaml": use table or json`},
		{line: "locks get", want: "KEY is missing\nusage: lockcluster locks get KEY"},
		{line: "locks list --pull 4", want: "--pull needs --repo"},
		{line: "locks list --repo a/b --pull 0", want: "--pull 0: want the number of a pull request, above 0"},
		{line: "locks list --pull 0", want: "above 0"},
		{line: "locks list --repo a/b --pull -1", want: "above 0"},
		{line: "locks list --namespace a/b", want: "namespace"},
		{line: "locks acquire acme/infra/./default/", want: "--owner ID or --pull N"},
		{line: "locks acquire acme --pull 1", want: "want repo/path/workspace/project"},
		{line: "locks acquire acme/infra/default --pull 1", want: "want repo/path/workspace/project"},
		{line: "locks acquire acme/infra/./default/ --pull 1 --owner x", want: "either"},
		{line: "locks acquire acme/infra/./default/ --host h", want: "--host goes with --pull"},
		{line: "locks acquire acme/infra/./default/ --pull 1 --ttl 5s", want: "never expires"},
		{line: "locks acquire acme/infra/./default/ --owner a --ttl -5s", want: "above 0"},
		{line: "locks acquire acme/infra/./default/ --pull 1 --repo other/repo", want: "does not begin with"},
		{line: "locks acquire a/b/c/d/ --pull 1 --repo a/b --path x --workspace d", want: `"a/b/x/d/"`},
		{line: "locks acquire a/b/c/d/ --pull 1 --path c", want: "--repo, --path and --workspace"},
		{line: "locks release acme/infra/./default/", want: "--force"},
		{line: "locks release acme/infra/./default/ --pull 1 --force", want: "--force"},
		{line: "locks list --timeout 0s", want: "--timeout"},
		{line: "locks list --endpoints nowhere", want: "want host:port"},
		{line: "locks list", env: "LOCKCLUSTER_TIMEOUT=soon", want: "LOCKCLUSTER_TIMEOUT"},
		{line: "locks list", env: "LOCKCLUSTER_ENDPOINTS=,", want: "no endpoints"},
		{line: "import --from http://:CANARY@x", want: "boltdb:FILE"},
		{line: "import --from redis://h/CANARY", want: "the database"},
		{line: "import --from boltdb:x --on-conflict both", want: "--on-conflict"},
		{line: "import --from boltdb:x --wait 5m", want: "--wait is for --follow"},
		{line: "import", want: "--from is missing: say what to import, for example --from boltdb:"},
		{line: "import --from boltdb:x --follow --wait -1s", want: "--wait -1s"},
		{line: "export --to x.db", want: "boltdb:FILE"},
		{line: "export --to boltdb:x.db --data-dir d", want: "--offline and --data-dir"},
		{line: "dev --nodes 0", want: "--nodes 0"},
		{line: "dev --base-port 80", want: "--base-port 80"},
		{line: "dev --log-store paper", want: `--log-store "paper"`},
		{line: "server", want: "--node-id"},
		{line: "server --node-id n1", want: "--data-dir"},
		{line: "server --node-id n1 --data-dir d --resp-addr 0.0.0.0:7300", want: "--insecure"},
		{line: "server --nodeid n1", want: "unknown flag: --nodeid, did you mean --node-id?"},
		{line: "server --node-id n/1 --data-dir d --join 127.0.0.1:1", want: `--node-id "n/1"`},
		{line: "server --node-id n1 --data-dir no-such", want: "--initial-cluster or --join"},
		{line: "server --node-id n1 --data-dir d --initial-cluster n1", want: "--initial-cluster: \"n1\": want id=host:port"},
		{line: "server --node-id n1 --data-dir d --initial-cluster n1=127.0.0.1:7000 --join 127.0.0.1:1", want: "--initial-cluster and --join"},
		{line: "server --node-id n1 --data-dir d --initial-cluster n1=127.0.0.1:7000 --resp-password-file /nowhere", want: "--resp-password-file"},
		{line: "server --node-id n1 --data-dir d --legacy-boltdb a --legacy-redis redis://h:1", want: "--legacy-boltdb and --legacy-redis are both given"},
		{line: "server --node-id n1 --data-dir d --legacy-boltdb a --legacy-attach borrow", want: `--legacy-attach "borrow": use own or follow`},
		{line: "server --node-id n1 --data-dir d --enhanced-locking-migration-mod shadow", want: "did you mean --enhanced-locking-migration-mode?"},
		{line: "server --node-id n1 --data-dir d --enhanced-locking-migration-mode purple", want: "--enhanced-locking-migration-mode: want legacy, shadow"},
		{line: "server --node-id n1 --data-dir d", env: "ATLANTIS_LOCK_TIMEOUT=30", want: "ATLANTIS_LOCK_TIMEOUT: want a time"},
		{line: "dev --legacy-boltdb /nowhere/at/all.db", want: "there is no directory /nowhere/at"},
		{line: "dev --legacy-boltdb testdata/help", want: "want an Atlantis's file"},
		{line: "dev --legacy-boltdb no-such.db", want: "--legacy-boltdb no-such.db: there is no such file; name the atlantis.db"},
		{line: "dev --legacy-boltdb dev.go", want: "dev.go: not a BoltDB file; name the atlantis.db"},
		{line: "config validate", want: "FILE is missing"},
		{line: "config validate no-such.yaml", want: "no-such.yaml"},
		{line: "config mapping", env: "ATLANTIS_ENHANCED_LOCKING_ENABLE=true", want: `did you mean "ATLANTIS_ENHANCED_LOCKING_ENABLED"?`},
		{line: "config mapping --config no-such.yaml", want: "no-such.yaml"},
		{line: "cluster mode purple", want: `"purple" is no mode`},
		{line: "cluster mode shadow --percentage 10", want: "--percentage goes with mode gradual"},
		{line: "cluster mode --percentage 10", want: "--percentage goes with mode gradual"},
		{line: "cluster mode gradual --percentage 200", want: "use 0 to 100"},
		{line: "cluster mode gradual --canary x", want: "--canary"},
		{line: "cluster mode shadow --authority ada", want: `--authority "ada"`},
		{line: "cluster mode --dry-run", want: "--dry-run goes with a mode"},
		{line: "cluster switch purple", want: "enhanced or legacy"},
		{line: "cluster feature enable frobnication", want: "this version has enhanced-metrics and health-checks"},
		{line: "cluster feature enable priority-queue", want: "priority-queu"},
		{line: "cluster feature enable async-operations", want: "not available in this version"},
		{line: "config get enhanced-locking.enabeld", want: `did you mean "enhanced-locking.enabled"?`},
		{line: "config set enhanced-locking.enabled", want: "want NAME=VALUE"},
		{line: "config set enhanced-locking.migration.mode=purple", want: "want legacy"},
		{line: "config set enhanced-locking.migration.mode=shadow enhanced-locking.migration.traffic-percentage=10", want: "the mode is shadow"},
		{line: "config set enhanced-locking.feature-flags.batch-operations=true", want: "not available in this version"},
		{line: "locks validate --from x", want: "boltdb:FILE"},
		{line: "migration status now", want: `unexpected "now"`},
		{line: "migration stauts", want: `did you mean "status"?`},
		{line: "server", env: "LOCKCLUSTER_NODEID=n1", want: "did you mean LOCKCLUSTER_NODE_ID?"},
	} {
		code, out, diagnostics := command(t, []string{c.env}, strings.Fields(c.line)...)
		if code != 2 || out != "" || !strings.Contains(diagnostics, c.want) {
			t.Errorf("%s: exit code %d, %q, %q; want 2 and %q", c.line, code, out, diagnostics, c.want)
		}
	}
}

// A group of commands alone shows its help; version works in both forms.
func TestWithoutCluster(t *testing.T) {
	if code, out, _ := command(t, nil, "cluster"); code != 0 || !strings.Contains(out, "transfer-leader") {
		t.Errorf("cluster: exit code %d, %s", code, out)
	}
	if code, out, _ := command(t, nil, "version"); code != 0 || !strings.HasPrefix(out, "lockcluster ") {
		t.Errorf("version: exit code %d, %s", code, out)
	}
	if code, out, _ := command(t, nil, "version", "-o", "json"); code != 0 || !strings.Contains(out, `"go_version"`) {
		t.Errorf("version -o json: exit code %d, %s", code, out)
	}
}

// Without any node every command fails in words within the time that was given,
// and early if nothing listens at any address.
func TestUnreachable(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	file := filepath.Join(t.TempDir(), "backup")
	source := "boltdb:" + filepath.Join("..", "..", "..", "..", "migration", "testdata", "atlantis-0.47.1.db")
	for _, line := range []string{
		"cluster status", "cluster members", "locks list", "locks get a/b/./d/", "locks acquire a/b/./d/ --pull 1",
		"cluster snapshot save " + file, "import --quarantine= --from " + source, "cluster add n4 127.0.0.1:1",
		"cluster mode", "cluster mode shadow", "cluster switch enhanced", "cluster feature list", "cluster feature enable health-checks",
		"config get", "config set enhanced-locking.migration.mode=shadow", "migration status", "migration report", "migration compare",
		"export --to boltdb:" + file, "locks validate", "locks release a/b/./d/ --force", "cluster remove n1", "cluster transfer-leader",
	} {
		for _, endpoint := range []string{"127.0.0.1:1", silent.Addr().String()} {
			t.Run(line+" "+endpoint, func(t *testing.T) {
				t.Parallel()
				begin := time.Now()
				code, _, diagnostics := command(t, nil, append(strings.Fields(line), "--endpoints", endpoint, "--timeout", "300ms")...)
				if code != 1 || !strings.Contains(diagnostics, "no node answers at "+endpoint+": is the cluster running?") || !strings.Contains(diagnostics, "gRPC addresses") {
					t.Errorf("exit code %d, %s", code, diagnostics)
				}
				if d := time.Since(begin); d > 30*time.Second {
					t.Errorf("gave up after %v", d)
				}
			})
		}
	}
	begin := time.Now()
	code, _, diagnostics := command(t, nil, "locks", "list", "--endpoints", "127.0.0.1:1,127.0.0.1:2", "--timeout", "10m")
	if d := time.Since(begin); code != 1 || d > time.Minute {
		t.Errorf("exit code %d after %v: %s", code, d, diagnostics)
	}
}

// A command that only asks ends within --timeout, also where something answers that
// is no node, and then says so.
func TestTimeoutIsForAll(t *testing.T) {
	page := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(page.Close)
	const timeout, some = 3 * time.Second, 1500 * time.Millisecond
	for _, line := range []string{"locks list", "cluster mode", "cluster status", "locks get a/b/./d/"} {
		for endpoint, want := range map[string]string{
			"127.0.0.1:1":                 "is the cluster running?",
			page.Listener.Addr().String(): "something answers there that is not lockcluster's gRPC; the default gRPC port is 7100",
		} {
			t.Run(line+" "+endpoint, func(t *testing.T) {
				t.Parallel()
				begin := time.Now()
				code, _, diagnostics := command(t, nil, append(strings.Fields(line), "--endpoints", endpoint, "--timeout", timeout.String())...)
				if d := time.Since(begin); code != 1 || d > timeout+some || !strings.Contains(diagnostics, want) {
					t.Errorf("exit code %d after %v: %s", code, d, diagnostics)
				}
			})
		}
	}
}

// An empty word is no key and no node, which needs no cluster to tell.
func TestEmptyWords(t *testing.T) {
	for _, words := range [][]string{{"locks", "get", ""}, {"locks", "release", "", "--force"}, {"cluster", "remove", ""}, {"cluster", "add", "", "h:1"}} {
		if code, _, diagnostics := command(t, nil, words...); code != 2 {
			t.Errorf("%q: exit code %d, %s", words, code, diagnostics)
		}
	}
}
