// Package atlantis implements Atlantis's db.Database over a lockcluster
// cluster, for a build of Atlantis that is willing to import it. An unmodified
// Atlantis does not need it: it talks to any node as if that were its Redis.
//
// What it gives over the Redis door: every method is one atomic step in the
// replicated log (the merge of plan results included), releases are guarded by
// owner, and a call whose answer was lost is retried exactly once, on whatever
// node leads. Error texts and nil conventions are those of Atlantis's own
// backends (v0.47.1).
//
// Stored values hold VCS credentials and the pull request's text. The cluster's
// API never returns those: CloneURL comes back without its user-info and Body
// empty, where the caller's own arguments do not supply them.
//
// It is a Go module of its own, because Atlantis brings hundreds of modules.
package atlantis
