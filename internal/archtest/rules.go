package archtest

// Module is the path in front of all our packages.
const Module = "github.com/lockcluster/lockcluster"

// Rule says what the packages under one path may import. Paths are relative
// to the module: "" is the root package, "fsm" that package alone, and
// "fsm/..." everything below it, but not itself.
type Rule struct {
	Why string // one line for whoever breaks the rule
	// Ours lists our packages that may be imported, in the notation above.
	// "any" allows all.
	Ours []string
	// Third lists the prefixes of modules of others that may be imported; nil
	// allows all, an empty list none.
	Third []string
	// Pure packages decide what every node decides alike: see pureImports and
	// pureCalls for what they may not touch.
	Pure bool
}

const anyOfOurs = "any"

// Rules maps each part of the tree to its rule. The longest matching path
// wins. A package that no rule covers fails the test: a new top-level folder
// needs a reason, and its place in the picture.
var Rules = map[string]Rule{
	"": {
		Why:   "the vocabulary is values only",
		Third: []string{},
		Pure:  true,
	},

	"fsm/command": {
		Why:   "log-entry forms: a codec between the vocabulary and bytes",
		Ours:  []string{"", "fsm/command/..."},
		Third: []string{"google.golang.org/protobuf"},
		Pure:  true,
	},
	"fsm/command/...": {
		Why:   "generated messages of the log; no door may share them",
		Third: []string{"google.golang.org/protobuf"},
		Pure:  true,
	},
	"fsm/state": {
		Why:   "the lock rules over a transactional store; answers are kept in the log's form",
		Ours:  []string{"", "fsm/command", "fsm/state/..."},
		Third: []string{"google.golang.org/protobuf", "github.com/tidwall/btree"},
		Pure:  true,
	},
	"fsm/state/...": {
		Why:   "records and indexes of the lock rules",
		Ours:  []string{"", "fsm/state/..."},
		Third: []string{"google.golang.org/protobuf", "github.com/tidwall/btree"},
		Pure:  true,
	},
	"fsm": {
		Why:   "the bridge from raft's log to the rules",
		Ours:  []string{"", "fsm/..."},
		Third: []string{"google.golang.org/protobuf", "github.com/hashicorp/raft"},
		Pure:  true,
	},
	"fsm/...": {
		Why:   "parts of the state machine",
		Ours:  []string{"", "fsm/..."},
		Third: []string{"google.golang.org/protobuf", "github.com/hashicorp/raft", "github.com/tidwall/btree"},
		Pure:  true,
	},

	"cluster": {
		Why:  "a raft node knows no door and no legacy system",
		Ours: []string{"", "fsm", "fsm/...", "cluster/...", "internal/..."},
	},
	"cluster/...": {
		Why:  "parts of the raft node and its test harness",
		Ours: []string{"", "fsm", "fsm/...", "cluster", "cluster/...", "internal/..."},
	},

	// The exception: to read or write an Atlantis's store one needs Atlantis's
	// model, and its one home is compat. So backends and migration may import
	// compat (the model, not the doors below it), and compat may never import
	// them.
	"backends": {
		Why:  "a lock system is the rules over a store in Atlantis's format, never a cluster; of compat only the model",
		Ours: []string{"", "fsm/state", "compat", "backends/...", "internal/..."},
	},
	"backends/...": {
		Why:  "a lock system is the rules over a store in Atlantis's format, never a cluster; of compat only the model",
		Ours: []string{"", "fsm/state", "compat", "backends", "backends/...", "internal/..."},
	},

	"migration": {
		Why:  "the road between two systems; of compat only the model",
		Ours: []string{"", "fsm", "fsm/...", "backends", "backends/...", "compat", "migration/...", "internal/..."},
	},
	"migration/...": {
		Why:  "the road between two systems; of compat only the model",
		Ours: []string{"", "fsm", "fsm/...", "backends", "backends/...", "compat", "compat/bridge", "compat/health", "migration", "migration/...", "internal/..."},
	},

	"compat": {
		Why:  "Atlantis's view; declares the interfaces it needs",
		Ours: []string{"", "fsm/state", "internal/..."},
	},
	"compat/...": {
		Why:  "a door declares what it needs; it knows no other door, no cluster and no migration",
		Ours: []string{"", "fsm/state", "compat", "compat/...", "internal/..."},
	},
	"rpc": {
		Why:  "a door declares what it needs; of compat it may use the sanitizing helpers",
		Ours: []string{"", "fsm/state", "compat", "rpc/...", "internal/..."},
	},
	"rpc/...": {
		Why:  "a door declares what it needs; of compat it may use the sanitizing helpers",
		Ours: []string{"", "fsm/state", "compat", "rpc", "rpc/...", "internal/..."},
	},

	"internal/...": {
		Why:  "leaf helpers serve every layer, so they know none",
		Ours: []string{"", "internal/..."},
	},
	// Two helpers judge the whole: one replays the log beside the rules, one
	// drives real nodes as a client does.
	"internal/history": {
		Why:  "decides from recorded calls and the log whether the promises were kept",
		Ours: []string{"", "fsm", "fsm/...", "internal/..."},
	},
	"internal/e2e": {
		Why:  "starts real node processes, is their client, and reads their stores past them",
		Ours: []string{"", "fsm", "fsm/...", "compat", "migration", "migration/controller", "rpc", "rpc/...", "internal/..."},
	},
	"cmd/...": {
		Why:  "the only place that knows all parts",
		Ours: []string{anyOfOurs},
	},
	"deploy/...": {
		Why:  "tests of what is deployed",
		Ours: []string{"internal/..."},
	},
}

// pureImports are the standard packages (with everything below them) that a
// pure package may not import: each is a way to another answer on another
// node.
var pureImports = []string{
	"crypto/rand", "io/fs", "io/ioutil", "log", "math/rand", "net", "os",
	"path/filepath", "runtime", "syscall", "testing",
}

// pureImportsAllowed are exceptions to pureImports.
var pureImportsAllowed = []string{"net/netip", "net/url"}

// pureCalls are the functions that a pure package may not use, by import path.
var pureCalls = map[string][]string{
	"time": {"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer", "Sleep"},
}
