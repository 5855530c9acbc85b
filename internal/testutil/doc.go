// Package testutil holds the few helpers that tests of every package need:
// waiting for a condition with a deadline ([WaitFor]), network ports that no
// other test process uses ([FreePort]), and the seed of a random test with the
// command that repeats it ([Seed]).
//
// It is for tests only and imports nothing of ours. The helpers fail the test
// themselves; they never return an error.
package testutil
