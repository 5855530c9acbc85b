// Package wire holds tests that drive Atlantis's own, unmodified Redis client
// code against real lockcluster nodes, in several processes at once: what a
// user's Atlantis does, without the webhooks.
//
// It has no code of its own for others to use. The size of the runs is set by
// LOCKCLUSTER_RACE_KEYS (default 2000); the README's figures come from
// `make race-atlantis`, which sets it to 20000.
package wire
