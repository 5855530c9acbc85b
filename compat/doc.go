// Package compat is Atlantis's view of a lock: the records it stores, with
// Atlantis's own JSON, without requiring Atlantis.
//
// Reading is tolerant of every Atlantis since v0.1 where a field only
// describes ("Env" for "Workspace", no "BaseRepo", approvals as a number), and
// strict where a field identifies: repository, path, workspace, project, pull
// request number. A record whose identity cannot be told is an error
// ([RecordError]), never a guess. Fields that could not be read, or that had
// to be concluded, are named in Uncertain.
//
// Stored values hold a VCS token (in CloneURL) and the pull request's text.
// No error of this package contains any part of a value; what leaves the
// process through an API goes through [SanitizeValue] first.
//
// All functions are pure and safe for concurrent use. They never write to the
// byte slices they are given. The package knows the root package only: no
// door, no store and no migration.
package compat
