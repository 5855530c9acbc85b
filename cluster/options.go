package cluster

import (
	"github.com/hashicorp/raft"

	"github.com/lockcluster/lockcluster"
)

// Option replaces a part of a node, for tests and for embedding.
type Option func(*options)

type options struct {
	peers  Peers
	trans  raft.Transport
	layer  raft.StreamLayer
	stores *Stores
	halt   func(error)
	grants func(namespace string, space lockcluster.Space, key string)

	changes   func(index uint64, refs []lockcluster.RecordRef)
	migration func(lockcluster.Migration)
	restored  func()
}

// WithPeers sets how this node reaches the others beside raft. Without it the
// node can only lead a cluster of one.
func WithPeers(p Peers) Option { return func(o *options) { o.peers = p } }

// WithStreamLayer replaces TCP under raft, for example by TLS. Its address must
// be the one the other nodes dial. The node closes it.
func WithStreamLayer(l raft.StreamLayer) Option { return func(o *options) { o.layer = l } }

// WithTransport replaces raft's network transport, for tests in one process.
// The node closes it.
func WithTransport(t raft.Transport) Option { return func(o *options) { o.trans = t } }

// WithStores replaces the stores on disk; the data directory is then not used
// at all. For tests in one process.
func WithStores(s Stores) Option { return func(o *options) { o.stores = &s } }

// WithGrants has f called for every lock and command lock that this node has
// seen granted, with its key text or command name. It is called on the apply
// goroutine and must not block.
func WithGrants(f func(namespace string, space lockcluster.Space, key string)) Option {
	return func(o *options) { o.grants = f }
}

// WithChanges has f called for every log entry that has put or removed locks,
// command locks or documents, on every node, with their names. It is called on
// the apply goroutine and must not block.
func WithChanges(f func(index uint64, refs []lockcluster.RecordRef)) Option {
	return func(o *options) { o.changes = f }
}

// WithMigration has f called with the state of the migration: before [Open]
// returns, after a snapshot has replaced the state, and whenever the log has
// changed it or its epoch. It must not block.
func WithMigration(f func(lockcluster.Migration)) Option {
	return func(o *options) { o.migration = f }
}

// WithRestored has f called whenever a snapshot has replaced the state of a node
// that runs, before the function of [WithMigration]. It must not block.
func WithRestored(f func()) Option { return func(o *options) { o.restored = f } }

// WithHalt replaces what a node does when it must stop its process (it logs,
// and exits with [ExitCode]). If f returns, as in tests, the node does nothing
// more until it is closed. A command that starts itself again does that here
// for [ErrRestart].
func WithHalt(f func(error)) Option { return func(o *options) { o.halt = f } }
