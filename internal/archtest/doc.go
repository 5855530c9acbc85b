// Package archtest keeps the shape of the code: who may import whom, what the
// deterministic packages may not touch, and how large a file may grow.
//
// The map [Rules] is the documentation of the import rules; design.md section
// 3 draws the same picture: root <- fsm <- cluster, backends <- migration <-
// compat, rpc <- cmd, with one exception that is written down at its rule.
// The rules hold for the code that ships. Tests may import what they need:
// the compiler already forbids cycles.
//
// The package needs no tool but the Go command. It is used by its own test
// only.
package archtest
