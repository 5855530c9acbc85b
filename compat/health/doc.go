// Package health measures the two lock systems of a migration side by side,
// compares them, and goes back to the legacy system when the enhanced one
// fails.
//
// A [Recorder] counts and times every operation by the system that decided it.
// A [Monitor] looks at it from time to time and keeps what a comparison needs:
// the course of both systems, the last figures of a system that no longer
// serves, and the memory that was in use under each. [CompatibilityChecker]
// says whether the enhanced system may go on, and [RollbackController] acts on
// that. [API] answers over HTTP.
//
// All figures come from what clients asked for. Nothing here takes a lock: a
// test lock in the space that Atlantis uses could stop somebody's work.
//
// A business refusal ("held by another pull request") is an answer, not an
// error. An error is an operation that was not decided, or whose outcome is
// not known. No key, owner or stored value ever gets here.
//
// Ratios are enhanced divided by legacy, so that below 1 is better, with one
// exception that the health check's own name brings along: its performance
// ratio is legacy p95 divided by enhanced p95. Where a side has too few
// samples a ratio is left out or 1, never NaN or infinite.
//
// All types are safe for concurrent use. [Monitor.Run] and
// [RollbackController.MonitorAndRollback] run on the caller's goroutine until
// their context ends; nothing else here keeps one.
package health
