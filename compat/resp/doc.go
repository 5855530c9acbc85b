// Package resp is the Redis door: an unmodified Atlantis that is told to use
// Redis, as one node or as a cluster, finds its locks here.
//
// A key "pr/<lock key text>" is a lock, "global/<command>/lock" a command lock,
// anything else a document. SELECT n chooses the namespace. What makes the door
// safer than Redis, for a client that cannot be changed:
//
//   - SET of a lock key takes the lock, by the rules of package fsm/state. It
//     never replaces a lock that another pull request holds.
//   - GET is linearizable. A second GET of a lock key that nobody holds waits a
//     moment for the first reader's SET (see [Intents]), so that the loser of a
//     race sees the holder.
//   - DEL of a lock key deletes only what its connection has read or set.
//   - SCAN returns everything at once, and to Atlantis's client library exactly
//     the locks of the repository that it asks for.
//
// Requests are forwarded by [System], so every node answers everything; CLUSTER
// SLOTS only spreads the load. Without a leader a request is held, then refused
// with a CLUSTERDOWN error, which go-redis repeats. Repeating is safe.
//
// Commands that read and write more than one thing, and scripts, run over a
// snapshot and are committed as one conditional transaction (see session). A
// script that fails changes nothing, unlike in Redis. The cache of scripts is
// each node's own, as in a Redis cluster.
//
// Stored values hold a VCS token: no log line, error or metric of this package
// carries a value or an argument. Only a client that asks for it gets it.
//
// Each connection has one goroutine, which reads, decides and answers in
// order. What crosses connections: [IntentTable], the script cache and the
// metrics. tidwall/redcon parses commands; a guard in front of it refuses what
// is too large before memory is taken for it.
package resp
