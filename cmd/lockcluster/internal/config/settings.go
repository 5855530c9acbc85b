package config

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/lockcluster/lockcluster/compat/bridge"
)

// Server is what one node is told, after all sources are merged.
type Server struct {
	NodeID  string `koanf:"node-id"`
	DataDir string `koanf:"data-dir"`

	// The addresses the node listens on.
	RaftAddr string `koanf:"raft-addr"`
	GRPCAddr string `koanf:"grpc-addr"`
	HTTPAddr string `koanf:"http-addr"`
	RESPAddr string `koanf:"resp-addr"`
	// The addresses others reach it at; see [Server.Complete].
	RaftAdvertise string `koanf:"raft-advertise"`
	GRPCAdvertise string `koanf:"grpc-advertise"`
	HTTPAdvertise string `koanf:"http-advertise"`
	RESPAdvertise string `koanf:"resp-advertise"`

	InitialCluster string `koanf:"initial-cluster"` // n1=host:port,n2=host:port
	Join           string `koanf:"join"`            // gRPC endpoints, separated by commas
	LogStore       string `koanf:"log-store"`
	SendEarly      bool   `koanf:"send-early"`

	Insecure         bool   `koanf:"insecure"`
	RESPUsername     string `koanf:"resp-username"`
	RESPPasswordFile string `koanf:"resp-password-file"`

	// The Redis door's ways, see package compat/resp.
	ExactRepoMatch    bool `koanf:"exact-repo-match"`
	RedactCredentials bool `koanf:"redact-stored-credentials"`

	// The legacy system, in Atlantis's own format; see package backends.
	LegacyBoltDB string `koanf:"legacy-boltdb"` // file, on this node
	LegacyAttach string `koanf:"legacy-attach"` // own or follow; only with LegacyBoltDB
	LegacyRedis  string `koanf:"legacy-redis"`  // URL; may hold a password

	LogFormat string `koanf:"log-format"`
	LogLevel  string `koanf:"log-level"`

	// Settings are the blocks "locks" and "enhanced-locking": what a new cluster
	// begins with. Later the cluster's own, replicated ones count.
	Settings bridge.Values `koanf:"-"`
}

// kind is the type of a setting's value.
type kind int

const (
	kindText kind = iota + 1
	kindBool
	kindList    // text separated by commas; in a file also a list
	kindMembers // as kindList; in a file also a mapping of id to address
)

// setting is one line of the table below.
type setting struct {
	name     string // of the flag and the file's key
	kind     kind
	fallback string // the default, as text
	usage    string
}

// settings is every setting of a node. The order is that of the help text.
var settings = []setting{
	{"node-id", kindText, "", "name of this node, for all time"},
	{"data-dir", kindText, "", "directory of this node's data; made if it is not there"},
	{"initial-cluster", kindMembers, "", "founders of a new cluster with their raft addresses, the same `list` on each: n1=host:port,n2=host:port"},
	{"join", kindList, "", "gRPC `addresses` of a running cluster that a new node enters"},
	{"raft-addr", kindText, "127.0.0.1:7000", "`host:port` to listen on for the other nodes' Raft"},
	{"grpc-addr", kindText, "127.0.0.1:7100", "`host:port` to listen on for gRPC: clients and forwarded requests"},
	{"http-addr", kindText, "127.0.0.1:7200", "`host:port` to listen on for /metrics, /livez and /readyz"},
	{"resp-addr", kindText, "127.0.0.1:7300", "`host:port` to listen on for the Redis protocol"},
	{"raft-advertise", kindText, "", "`host:port` other nodes dial for Raft, if it differs from --raft-addr"},
	{"grpc-advertise", kindText, "", "`host:port` others dial for gRPC, if it differs from --grpc-addr"},
	{"http-advertise", kindText, "", "`host:port` others use for HTTP, if it differs from --http-addr"},
	{"resp-advertise", kindText, "", "`host:port` cluster-mode Redis clients are sent to, if it differs from --resp-addr"},
	{"log-store", kindText, "wal", "how the Raft log is kept: wal or boltdb; fixed at the first start"},
	{"send-early", kindBool, "true", "as leader, send an entry that comes alone before it is on the own disk; false costs a single client a disk write a request"},
	{"resp-username", kindText, "", "user name that Redis clients must give; needs --resp-password-file"},
	{"resp-password-file", kindText, "", "`file` with the password that Redis clients must give"},
	{"insecure", kindBool, "false", "listen beyond this machine without TLS and authentication"},
	{"exact-repo-match", kindBool, "true", "a pull request's close never touches a repository whose name merely begins alike"},
	{"redact-stored-credentials", kindBool, "false", "strip user names and tokens from URLs before a lock is stored"},
	{"legacy-boltdb", kindText, "", "Atlantis's own `file` atlantis.db on this node, as the legacy system; on one node of the cluster"},
	{"legacy-attach", kindText, "", "how --legacy-boltdb is used: own (serve it alone) or follow (read it while an Atlantis has it) (default own)"},
	{"legacy-redis", kindText, "", "`URL` of Atlantis's own Redis as the legacy system, the same on each node; with a password better as LOCKCLUSTER_LEGACY_REDIS"},
	{"log-format", kindText, "json", "how log lines look: json or text"},
	{"log-level", kindText, "info", "lowest level that is logged: debug, info, warn or error"},
}

// byName returns the setting of that name, nil if there is none.
func byName(name string) *setting {
	for i := range settings {
		if settings[i].name == name {
			return &settings[i]
		}
	}
	return nil
}

// sections are the settings that a file may also have in a section.
var sections = map[string][]string{
	"compat": {"exact-repo-match", "redact-stored-credentials"},
}

func settingNames() []string {
	names := make([]string, len(settings))
	for i, s := range settings {
		names[i] = s.name
	}
	return names
}

// env returns the name of the setting's environment variable.
func (s *setting) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

// flagConfig names the configuration file itself; it is no setting.
const flagConfig = "config"

// AddFlags adds every setting, and --config, to fs.
func AddFlags(fs *pflag.FlagSet) {
	fs.SortFlags = false
	fs.String(flagConfig, "", "YAML `file` with any of these settings (LOCKCLUSTER_CONFIG)")
	for _, s := range settings {
		if s.kind == kindBool {
			fs.Bool(s.name, s.fallback == "true", s.usage)
			continue
		}
		fs.String(s.name, s.fallback, s.usage)
	}
	bridge.AddFlags(fs)
}
