// Package proc runs the programs that a benchmark measures, as child processes
// on this machine, and makes sure that none outlives it.
//
// A child is in a process group of its own, so that a Ctrl-C at the terminal
// reaches the benchmark alone, which then stops its children in order. Should
// the benchmark itself be killed, the kernel kills the children (Linux).
package proc
