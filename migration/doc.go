// Package migration is the road between Atlantis's own lock storage and the
// cluster: import, export, following a running Atlantis, and checks.
//
// In: [ImportBolt] takes over an atlantis.db, also while Atlantis has it open
// and writes to it: [CopyBolt] makes a consistent copy without a lock on the
// source and without ever writing to it, [ReadBolt] checks and reads the copy,
// [BuildPlan] decides what each record is, and [Importer] sends the plan to
// the cluster. [ImportRedis] does the same for a Redis. A [Follower] reads a
// source again and again and hands on what has changed.
//
// Out: [ExportBolt] writes what a cluster holds to a new atlantis.db.
//
// [Validate] says what is wrong with stored records, [Repair] puts right what
// can be.
//
// For the time that both systems are in use, [Compare] says how two answers
// differ, and a [MismatchLog] remembers that; package migration/report draws it.
//
// What the import promises:
//   - Every record of the three buckets is imported, unchanged, quarantined or
//     in a conflict; none is dropped in silence.
//   - Identity comes from a record's value. The stored key is a cross-check.
//   - Nothing in the cluster is ever overwritten, so an import can be stopped
//     and repeated at any time.
//   - No value is printed: reports, differences and errors hold keys, owners and
//     reasons.
//
// Importing is for one goroutine at a time; a MismatchLog is for any number.
// Only a [Follower] has goroutines, which end with its Run.
// DESIGN.md says why the copy is consistent.
package migration
