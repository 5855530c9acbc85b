// Package clustertest runs a whole cluster in one process, for tests inside a
// testing/synctest bubble: hours pass in seconds, and no socket is opened.
//
// The nodes are real ([cluster.Node]); only the wire is not. [Network] carries
// Raft and the calls between nodes in memory, and can cut, drop and refuse.
// Stores are in memory and survive a crash of their node, or on disk in a
// temporary directory; both can be made to fail or hang.
//
// What it does not show: TCP, framing, real disks and real clocks. The tests
// on real processes are for those.
package clustertest
