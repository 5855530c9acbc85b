// Package command is the log's own schema: the form a request has in a log
// entry, and the form of its answer.
//
// One log entry carries the commands of one group commit as a protobuf
// [logpb.Entry] inside an envelope of magic, version, length and CRC32C
// (Castagnoli). [DecodeEntry] verifies the envelope before it looks inside;
// anything it does not know is an error, and the node that reads the entry must
// halt, never skip it.
//
// The schema is apart from the API schema (docs/adr/0003): a door translates
// API messages to the root package's types, and only this package turns those
// into bytes. Encoding is deterministic and covered by golden files in
// testdata; persisted numbers are never reused.
//
// All functions are pure and safe for concurrent use. Decoded values do not
// share memory with their input.
package command
