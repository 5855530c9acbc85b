// Package script runs the Lua scripts of EVAL as Redis does: a sandbox over
// yuin/gopher-lua with redis.call, redis.pcall, cjson and the parts of Lua's own
// library that reach nothing outside.
//
// It knows no keyspace: redis.call goes to a [Host]. What it promises is that a
// script, whatever it holds, ends soon after its context does, and that it can
// neither crash the process nor take much memory in one step:
//   - the depth of its syntax is bounded before it is compiled (tree.go);
//   - no string is longer than [StringSizeMax]: the operator .. and everything
//     in the string and table libraries that can grow text is our own;
//   - pattern matching counts its steps and looks at the context (pattern.go);
//     gopher-lua's own cannot be stopped;
//   - recursion, the stack and the length of arrays are bounded.
//
// What a script may gather over many steps is bounded from outside: see
// [Budget].
//
// A [Script] is compiled once and may run on many goroutines; each run has an
// interpreter of its own, so nothing that a script does to its globals is seen
// by the next.
package script
