// Package cluster is one node of the replicated lock service: it keeps the
// state of package fsm on every node the same by Raft (hashicorp/raft), and
// answers requests and reads on any node.
//
// What it promises:
//   - [Node.Do] decides a request exactly once when it carries a request id
//     (the node assigns one if the caller does not), whatever node it reaches
//     and however often the leader changes. Its error says what is known:
//     nothing was proposed, or the outcome is unknown.
//   - [Node.View] is linearizable: it contains every request that was answered
//     before the call, on any node. [Node.StaleView] says how old it is.
//   - An answer is given only for what a majority has on disk. A write or fsync
//     error, a hanging disk, a corrupt record or a state that differs from the
//     other nodes' stops the process ([HaltError]); nothing is retried on a
//     store that has failed.
//   - A lease never ends early: the leader counts it on its monotonic clock and
//     a new leader counts it anew, in full.
//
// What it is not: it knows no wire format but Raft's. What nodes ask each other
// beside Raft goes through the interface [Peers], which package rpc implements;
// the node serves the other end by the Serve methods.
//
// A node owns its data directory ([Open] to [Node.Close]). Every goroutine it
// starts ends before Close returns. All methods of [Node] are safe for
// concurrent use.
//
// Why things are as they are: DESIGN.md.
package cluster
