// Package controller routes requests between the two lock systems of a
// cluster: the enhanced system, which is the replicated state machine, and the
// legacy system, Atlantis's own store that is attached to the cluster.
//
// Every node has a [Controller], and the doors talk to it instead of the node.
// What the enhanced system decides goes straight into the log, from any node.
// What the legacy system decides, and every request of mode gradual, goes to
// the controller of the leader, the only one that writes to the legacy store.
//
// What it promises:
//   - One system decides about a key at every moment. The migration state is
//     in the log, so it changes for all nodes at one index; the state machine
//     refuses what is not its own to decide, and the legacy store refuses a
//     leader or an epoch that is over ([backends.Fence]).
//   - The legacy store is the one that was attached. Another one in its place,
//     or the same after it was emptied, is neither written to nor read from
//     until the right one is back or a person has accepted what is there.
//   - Requests wait while a switch is under way; they do not fail. Until the
//     switch is committed any failure leaves everything as it was. A crash at
//     any step leaves one authority, and the next leader opens the gate.
//   - Records are copied as they are, tokens and revisions included, and a
//     switch is committed only when both systems hold the same.
//   - The tokens of a key rise, whichever system grants them and whatever
//     changes between two grants.
//   - A request that is sent again under its id undoes nothing of what others
//     did since, through whichever node and system it comes.
//   - A mirror is told names, not operations: what counts is what a record is
//     when it is copied. Shadowing is told operations, in their order.
//
// A controller has goroutines from [Controller.Start] to [Controller.Close].
// Stored values pass through it; none gets into a log, an error or a metric.
package controller
