package buildinfo

import (
	"runtime/debug"
	"strings"
	"testing"
)

// A linker stamp wins over what the Go tool recorded; the rest is filled in.
func TestDescribePrefersStamp(t *testing.T) {
	bi := &debug.BuildInfo{
		Main: debug.Module{Version: "v0.0.1"},
		Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "aaaa"},
			{Key: "vcs.time", Value: "2026-01-02T03:04:05Z"},
			{Key: "vcs.modified", Value: "true"},
		},
	}
	got := describe(bi, "v1.2.3", "bbbb")
	if got.Version != "v1.2.3" || got.Commit != "bbbb" {
		t.Errorf("stamped build: got version %q, commit %q", got.Version, got.Commit)
	}
	if got.CommitAt != "2026-01-02T03:04:05Z" || !got.Modified {
		t.Errorf("the recorded settings are missing: %+v", got)
	}
	got = describe(bi, "", "")
	if got.Version != "v0.0.1" || got.Commit != "aaaa" {
		t.Errorf("unstamped build: got version %q, commit %q", got.Version, got.Commit)
	}
}

// A build of which nothing is known still says so in words.
func TestDescribeUnknownBuild(t *testing.T) {
	for _, bi := range []*debug.BuildInfo{nil, {Main: debug.Module{Version: "(devel)"}}} {
		got := describe(bi, "", "")
		if got.Version != "devel" || got.Commit != "unknown" {
			t.Errorf("got version %q, commit %q", got.Version, got.Commit)
		}
		if got.GoVersion == "" || got.Platform == "" {
			t.Errorf("the Go release or the platform is missing: %+v", got)
		}
	}
}

// The line for a person shortens the commit and names local changes.
func TestString(t *testing.T) {
	i := Info{Version: "v1.0.0", Commit: "0123456789abcdef", Modified: true, GoVersion: "go1.26.8", Platform: "linux/amd64"}
	const want = "v1.0.0 (commit 0123456789ab with local changes, go1.26.8, linux/amd64)"
	if got := i.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if s := Get().String(); !strings.Contains(s, "commit ") {
		t.Errorf("the running build describes itself as %q", s)
	}
}
