// Package harness measures lock systems side by side and judges the result.
//
// The host's disk and CPU drift by more than the systems differ, so that
// systems are only comparable when they are measured moments apart: for each
// workload and round every system has its turn, one after another, and a ratio
// is taken within a round before the median over the rounds is. All systems
// run for the whole time on the same disk.
package harness
