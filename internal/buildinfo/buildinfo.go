// Package buildinfo says which build of lockcluster is running: version,
// commit and Go release.
//
// A released build stamps its version by the linker
// (-ldflags "-X github.com/lockcluster/lockcluster/internal/buildinfo.version=v1.2.3"),
// as the Makefile does. Any other build ("go run", "go install", a test) falls
// back to what the Go tool recorded in the binary. [Get] never fails and does
// no I/O.
package buildinfo

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// Set by the linker; see the package comment and the Makefile.
var (
	version string
	commit  string
)

const unknown = "unknown"

// Info describes one build. The JSON names are printed by "lockcluster
// version -o json"; scripts rely on them.
type Info struct {
	Version   string `json:"version"`               // "v1.2.3", or "devel" when the build was not stamped
	Commit    string `json:"commit"`                // full revision, or "unknown"
	CommitAt  string `json:"commit_time,omitempty"` // RFC 3339, when the Go tool recorded it
	Modified  bool   `json:"modified,omitempty"`    // built from a tree with local changes
	GoVersion string `json:"go_version"`
	Platform  string `json:"platform"` // "linux/amd64"
}

// Get returns what is known about the running binary.
func Get() Info {
	bi, _ := debug.ReadBuildInfo()
	return describe(bi, version, commit)
}

// describe merges the linker's stamps with the Go tool's record bi, which may
// be nil. A stamp wins.
func describe(bi *debug.BuildInfo, version, commit string) Info {
	info := Info{
		Version:   version,
		Commit:    commit,
		GoVersion: runtime.Version(),
		Platform:  runtime.GOOS + "/" + runtime.GOARCH,
	}
	if bi != nil {
		fill(&info, bi)
	}
	if info.Version == "" {
		info.Version = "devel"
	}
	if info.Commit == "" {
		info.Commit = unknown
	}
	return info
}

func fill(info *Info, bi *debug.BuildInfo) {
	if info.Version == "" && bi.Main.Version != "(devel)" {
		info.Version = bi.Main.Version
	}
	for _, s := range bi.Settings {
		switch s.Key {
		case "vcs.revision":
			if info.Commit == "" {
				info.Commit = s.Value
			}
		case "vcs.time":
			info.CommitAt = s.Value
		case "vcs.modified":
			info.Modified = s.Value == "true"
		}
	}
}

// String returns one line for a person, for example
// "v1.2.3 (commit 0123456789ab, go1.26.8, linux/amd64)".
func (i Info) String() string {
	var b strings.Builder
	c := i.Commit
	if len(c) > 12 {
		c = c[:12]
	}
	fmt.Fprintf(&b, "%s (commit %s", i.Version, c)
	if i.Modified {
		b.WriteString(" with local changes")
	}
	fmt.Fprintf(&b, ", %s, %s)", i.GoVersion, i.Platform)
	return b.String()
}
