// Package lockcluster is the vocabulary of a replicated lock service for
// Atlantis: keys, owners, locks, requests, results and the errors they share.
//
// Every door (the Redis protocol, gRPC, the command line) translates what it
// hears into a [Request]; the lock rules in package fsm decide it, and answer
// with a [Result]. A business refusal ("held by another pull request") is a
// Result. An error means that nothing was decided, or that the outcome is not
// known ([ErrOutcomeUnknown]).
//
// The package holds values only: no I/O, no clock, no goroutines. All types
// are safe to copy; byte slices are shared, never written to after they were
// handed over.
package lockcluster
