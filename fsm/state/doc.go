// Package state is the lock rules: what every command does, as pure functions
// over a small transactional store of ordered records.
//
// The rules are written once. The Raft node runs them over [Mem], a
// copy-on-write B-tree; other backends give them a transaction of their own
// store (interface [Tx]). [Begin] opens one log entry, [Applier.Do] decides one
// command, [Applier.End] closes the entry.
//
// What it promises:
//   - Deterministic: the same entries give the same records, answers and
//     [Hash] on every node. No clock, randomness, map order, floats,
//     goroutines or I/O; wall time is a field of the entry, for display only.
//   - A refusal changes nothing. Checks come before the first write; a
//     transaction writes through an [Overlay] that is dropped on refusal.
//   - A broken invariant panics: a node that cannot be sure it is right stops.
//   - Every grant has a greater fencing token than all before it.
//   - One key text has at most one holder per namespace; one repository name
//     has at most one VCS host per namespace while it holds locks.
//   - Every request with a [lockcluster.RequestID] is applied at most once as
//     long as its answer is remembered (see requests.go for how long).
//
// Record layout: keys.go. Reading: query.go. Invariants: invariants.go.
package state
