package rpc

import (
	"context"
	"io"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// System is what a [Server] serves. NodeID and Node are needed; other parts
// that are nil answer UNIMPLEMENTED.
type System struct {
	NodeID  string // of this node
	Node    Node
	Cluster Cluster
	Backup  Backup
	Peer    Peer
	Intents Intents
	Caller  Caller
	// Migration drives the road between two lock systems.
	Migration Migration
	// Checks are what /readyz and the health service look at; all that are not
	// advisory must pass.
	Checks []Check
}

// Node decides requests and shows the state. A node of package cluster is one.
type Node interface {
	// Do decides a request, on whatever node it is called. The zero id leaves
	// the node to assign its own.
	Do(ctx context.Context, id lockcluster.RequestID, req lockcluster.Request) (lockcluster.Result, error)
	// Read calls f with a state that contains everything answered before the
	// call. f must be short: point reads, no I/O, no blocking.
	Read(ctx context.Context, f func(r state.Reader, index uint64)) error
	// View returns such a state as an unchanging picture, for listings.
	View(ctx context.Context) (*state.View, error)
	// StaleView returns this node's own state, which may be behind, and how long
	// ago the node knew that it was up to date; negative when it cannot tell.
	StaleView() (view *state.View, age time.Duration)
	// Leader returns the id and gRPC address of the leader, empty when not
	// known. It is cheap: every call asks.
	Leader() (id, grpcAddr string)
}

// Cluster shows and changes the membership.
type Cluster interface {
	// Status describes the cluster; with local set it asks no other node.
	Status(ctx context.Context, local bool) (ClusterStatus, error)
	// AddMember adds a non-voter that is promoted when it has caught up. It
	// returns the log index of the change.
	AddMember(ctx context.Context, id, raftAddr string) (uint64, error)
	// RemoveMember removes a node.
	RemoveMember(ctx context.Context, id string) (uint64, error)
	// TransferLeader hands leadership to a voter, to the most up-to-date one if
	// to is empty, and returns the new leader's id.
	TransferLeader(ctx context.Context, to string) (string, error)
}

// Backup saves and restores the whole state.
type Backup interface {
	// SnapshotSave writes a backup of a linearizable state to w.
	SnapshotSave(ctx context.Context, w io.Writer) error
	// SaveDeciding writes, in the same form, what the lock system holds that
	// decides now.
	SaveDeciding(ctx context.Context, w io.Writer) error
	// SnapshotRestore replaces the state of the cluster by the backup in r,
	// after it has verified all of it.
	SnapshotRestore(ctx context.Context, r io.Reader) (RestoreInfo, error)
}

// RestoreInfo says what a restore did.
type RestoreInfo struct {
	Index uint64 `json:"index"` // log index at which the restored state begins
	Epoch uint64 `json:"epoch"` // new epoch of the fencing tokens
}

// Peer answers what other nodes ask. A node of package cluster is one.
type Peer interface {
	// ClusterID returns the id of this node's cluster, empty when not known yet.
	ClusterID() string
	ServePropose(ctx context.Context, batch [][]byte) ([][]byte, error)
	ServeReadIndex(ctx context.Context, from string) (uint64, error)
	ServeCheckpoint(ctx context.Context, index uint64) (string, error)
	ServeNodeStatus(ctx context.Context) ([]byte, error)
	ServeJoin(ctx context.Context, request []byte) ([]byte, error)
}

// Caller answers the controllers of other nodes. A controller is one.
type Caller interface {
	ServeCall(ctx context.Context, method string, body []byte) ([]byte, error)
}

// Migration drives the road between two lock systems, on whatever node it is
// called. What the present state forbids is an [ErrRefused].
type Migration interface {
	Switch(ctx context.Context, req lockcluster.SwitchRequest) (lockcluster.SwitchResult, error)
	SetMode(ctx context.Context, req lockcluster.ModeRequest) (lockcluster.ModeResult, error)
	// MigrationStatus returns the JSON of "migration status".
	MigrationStatus(ctx context.Context) ([]byte, error)
	// Compare returns the JSON of "migration compare".
	Compare(ctx context.Context) ([]byte, error)
	ClearMismatches(ctx context.Context) error
	Settings(ctx context.Context) (map[string]string, error)
	SetSettings(ctx context.Context, settings map[string]string, reason string) (lockcluster.SettingsResult, error)
}

// Intents knows which Redis client is about to take which lock; the leader's
// counts. The table of package compat/resp is one.
type Intents interface {
	// Reserve says that a client has found nobody under key and will probably take
	// it. It returns true when the client should look again.
	Reserve(ctx context.Context, namespace, key string) bool
	// Settle says that somebody's SET of key has been decided.
	Settle(namespace, key string)
}

// Check is one condition for a node to be ready.
type Check struct {
	Name string
	// Run returns nil if the condition holds. It must be quick.
	Run func(ctx context.Context) error
	// Advisory marks a condition that is told and does not make the node unready:
	// one that fails on all nodes at once, so that to send requests elsewhere would
	// not help.
	Advisory bool
}

// ClusterStatus describes a cluster as one of its nodes sees it. The JSON names
// are those that "lockcluster cluster status -o json" prints.
type ClusterStatus struct {
	NodeID         string `json:"node_id"` // who answered
	ClusterID      string `json:"cluster_id,omitempty"`
	Leader         string `json:"leader"` // empty: none known
	LeaderGRPCAddr string `json:"leader_grpc_address,omitempty"`
	Term           uint64 `json:"term"`
	CommitIndex    uint64 `json:"commit_index"`
	Mode           string `json:"mode"`
	ActiveSystem   string `json:"active_system"`
	Epoch          uint64 `json:"epoch"`
	Version        string `json:"version,omitempty"`
	Locks          uint64 `json:"locks"`
	CommandLocks   uint64 `json:"command_locks"`
	Documents      uint64 `json:"documents"`
	// LegacyNamespace is what the attached legacy system covers, empty for none.
	LegacyNamespace string `json:"legacy_namespace,omitempty"`
	// GradualEpoch is when mode gradual began, GradualBase who decided then.
	GradualEpoch uint64         `json:"gradual_epoch,omitempty"`
	GradualBase  string         `json:"gradual_base,omitempty"`
	Members      []MemberStatus `json:"members"`
}

// MemberStatus describes one node of the configuration.
type MemberStatus struct {
	ID           string        `json:"id"`
	Address      string        `json:"address"`  // Raft
	Role         string        `json:"role"`     // leader, follower, candidate; empty: not known
	Suffrage     string        `json:"suffrage"` // voter, non-voter
	Reachable    bool          `json:"reachable"`
	AppliedIndex uint64        `json:"applied_index"`
	StateHash    string        `json:"state_hash"` // of AppliedIndex
	GRPCAddr     string        `json:"grpc_address,omitempty"`
	HTTPAddr     string        `json:"http_address,omitempty"`
	RESPAddr     string        `json:"resp_address,omitempty"`
	Version      string        `json:"version,omitempty"`
	Uptime       time.Duration `json:"uptime_ns,omitempty"`
	Problem      string        `json:"problem,omitempty"` // why it is not reachable
}
