// Package bridge is the configuration bridge: it takes the names that an
// Atlantis with enhanced locking was promised (the blocks "locks" and
// "enhanced-locking" of its YAML, ATLANTIS_… variables, flags) and says what
// they mean here.
//
// Every setting stands once in the table of registry.go, under its canonical
// name; an alias ("feature-flags.priority-queuing" for "priority-queue", "_"
// for "-") is the same setting, and two names with different values are a
// contradiction, not a choice. [Load], [FromEnv] and [FromFlags] read one
// source each; [Merge] lays a stronger source over a weaker one: file <
// environment < flags < the cluster's replicated settings.
//
// Only what was said is stored: a value that nobody gave stays out of
// [Values], so that the default "enhanced-locking.enabled: false" is told
// apart from an operator who has written it. [Effective] says what the
// settings ask of the migration state, [Change] what one change makes of them,
// [Decode] their typed values, [Mapping] all of them for people.
//
// What is not built yet is accepted at its default and refused otherwise: a
// setting never looks as if it worked. No error repeats more of a file than
// the one value that is wrong.
//
// All functions are pure and safe for concurrent use.
package bridge
