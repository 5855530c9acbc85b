// Package crew writes to lockcluster without a pause and knows when each write
// was acknowledged, so that a failover, a snapshot or a restart shows as the
// time in which nothing was.
//
// A writer takes a lock of its own and frees it again, with our Go client,
// which tries again by itself, under the same request id, whatever happens to
// the nodes.
package crew
