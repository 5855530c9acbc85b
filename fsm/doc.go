// Package fsm is the replicated state machine of a node: it runs the rules of
// package state over the committed log, and turns the state into snapshots and
// back.
//
// # The determinism contract
//
// Every node applies the same entries and must reach the same state, bit for
// bit. In this package and below it nothing reads a clock, a random source,
// the environment, a file or the network, iterates a map where order matters,
// uses floats or starts a goroutine. What a decision needs travels in the
// entry. Wall time in an entry is the leader's, for display only.
//
// A domain refusal is a result. A broken invariant, an entry that cannot be
// read, an index that does not rise or a term that falls panics: the node
// stops, because going on could make it differ from the others.
//
// Raft calls [FSM.Apply], [FSM.Snapshot] and [FSM.Restore] from one goroutine.
// Readers may call everything else at any time. DESIGN.md says why it is built
// this way.
package fsm
