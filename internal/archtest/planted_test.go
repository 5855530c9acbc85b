package archtest

import (
	"strings"
	"testing"
)

const ours = Module + "/"

// A planted import that breaks a rule is found, and an allowed one is not.
func TestPlantedImports(t *testing.T) {
	tests := []struct {
		from, to string
		allowed  bool
	}{
		{Module, "strings", true},
		{Module, "os", false},
		{Module, ours + "fsm", false},
		{Module, "github.com/hashicorp/raft", false},
		{ours + "fsm/command", Module, true},
		{ours + "fsm/command", "google.golang.org/protobuf/proto", true},
		{ours + "fsm/command", ours + "fsm/state", false},
		{ours + "fsm/state", ours + "fsm/command", true},
		{ours + "fsm/state", ours + "fsm", false},
		{ours + "fsm/state", "github.com/tidwall/btree", true},
		{ours + "fsm/state", "github.com/tidwall/btreeplus", false},
		{ours + "fsm/state", "net/netip", true},
		{ours + "fsm/state", "net/http", false},
		{ours + "fsm/state", "math/rand/v2", false},
		{ours + "fsm/state", "crypto/rand", false},
		{ours + "fsm/state", "crypto/sha256", true},
		{ours + "fsm/state", "log/slog", false},
		{ours + "fsm/state", "io", true},
		{ours + "fsm/state", "io/fs", false},
		{ours + "fsm/state", ours + "internal/testutil", false},
		{ours + "fsm", ours + "fsm/state", true},
		{ours + "fsm", "github.com/hashicorp/raft", true},
		{ours + "fsm", ours + "cluster", false},
		{ours + "cluster", ours + "fsm/command", true},
		{ours + "cluster", ours + "rpc", false},
		{ours + "cluster", ours + "compat", false},
		{ours + "cluster", ours + "migration", false},
		{ours + "cluster", ours + "backends", false},
		{ours + "cluster/clustertest", ours + "cluster", true},
		{ours + "backends/boltdb", ours + "cluster", false},
		{ours + "backends/boltdb", ours + "fsm/state", true},
		{ours + "backends", ours + "compat", true},
		{ours + "backends", ours + "compat/resp", false},
		{ours + "compat", ours + "backends", false},
		{ours + "migration", ours + "compat", true},
		{ours + "migration", ours + "compat/resp", false},
		{ours + "migration", ours + "rpc", false},
		{ours + "migration", ours + "compat/health", false},
		{ours + "migration/report", ours + "migration", true},
		{ours + "compat", ours + "migration", false},
		{ours + "compat/health", ours + "migration", false},
		{ours + "compat/resp", ours + "rpc", false},
		{ours + "compat/resp", ours + "cluster", false},
		{ours + "compat/resp", "github.com/tidwall/redcon", true},
		{ours + "rpc", ours + "compat/resp", false},
		{ours + "rpc/client", ours + "cluster", false},
		{ours + "rpc/client", ours + "rpc/lockcluster/v1", true},
		{ours + "internal/fault", ours + "cluster", false},
		{ours + "internal/fault", Module, true},
		{ours + "internal/fault", ours + "rpc", false},
		{ours + "internal/history", ours + "fsm/command", true},
		{ours + "internal/history", ours + "cluster", false},
		{ours + "internal/e2e", ours + "cluster", false},
		{ours + "cmd/lockcluster", ours + "cluster", true},
		{ours + "util", "strings", false}, // a package without a rule
		{"example.com/other", ours + "fsm", true},
	}
	for _, tt := range tests {
		bad := Check(Rules, []Package{{Path: tt.from, Imports: []string{tt.to}}})
		if got := len(bad) == 0; got != tt.allowed {
			t.Errorf("%s importing %s: allowed = %v, want %v %v", tt.from, tt.to, got, tt.allowed, bad)
		}
	}
}

// The clock and goroutines are found under any import name; durations and
// methods that merely share a name are not.
func TestPlantedClock(t *testing.T) {
	tests := []struct{ name, src, want string }{
		{"now", `import "time"; var _ = time.Now()`, "time.Now"},
		{"renamed", `import clock "time"; var _ = clock.Since`, "time.Since"},
		{"timer", `import "time"; func f() { <-time.After(time.Second) }`, "time.After"},
		{"dot", `import . "time"; var _ = Now()`, "dot"},
		{"goroutine", `func f() { go f() }`, "goroutine"},
		{"duration", `import "time"; const d = 5 * time.Second`, ""},
		{"instant from the entry", `import "time"; var t = time.Unix(0, 0)`, ""},
		{"other", `type c struct{}; func (c) Now() int { return 0 }; var time c; var _ = time.Now()`, ""},
	}
	for _, tt := range tests {
		bad, err := CheckPureSource(tt.name+".go", []byte("package p\n"+tt.src+"\n"))
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		switch {
		case tt.want == "" && len(bad) > 0:
			t.Errorf("%s: found %v in harmless code", tt.name, bad)
		case tt.want != "" && (len(bad) != 1 || !strings.Contains(bad[0], tt.want)):
			t.Errorf("%s: got %v, want one finding about %s", tt.name, bad, tt.want)
		}
	}
	if _, err := CheckPureSource("broken.go", []byte("package")); err == nil {
		t.Error("a file that does not parse passed")
	}
}

// Unformatted code is noticed, and generated code is known by its mark.
func TestPlantedFormat(t *testing.T) {
	if ok, err := CheckFormat("a.go", []byte("package p\nvar  x=1\n")); ok || err != nil {
		t.Errorf("unformatted code: ok = %v, err = %v", ok, err)
	}
	if ok, err := CheckFormat("a.go", []byte("package p\n\nvar x = 1\n")); !ok || err != nil {
		t.Errorf("formatted code: ok = %v, err = %v", ok, err)
	}
	if !isGenerated([]byte("// Code generated by protoc-gen-go. DO NOT EDIT.\npackage p\n")) {
		t.Error("generated code was not recognised")
	}
	if isGenerated([]byte("package p\n// Code generated by hand. DO NOT EDIT.\n")) {
		t.Error("a comment behind the package clause made a file generated")
	}
}
