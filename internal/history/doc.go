// Package history records what the clients of a cluster asked and heard, and
// judges whether one cluster with one set of lock rules can have answered so.
//
// A [Recorder] is wrapped around every call of every client; it notes when the
// call began and returned, by one monotonic clock, and what came back. [Check]
// then takes the log index that every answer carries as the order in which
// things happened, replays that order through a [Model] of the lock rules,
// compares every answer with the model's, and requires that the order respects
// real time: what had returned before another call began must not come after
// it. That takes O(n log n), so every operation of a long run is checked.
//
// A call whose outcome is unknown may have been applied or not. With the log
// ([LogSource]) that is resolved: what the log holds has happened. Without it
// Check looks for the smallest set of unknown calls, and of leases that ran
// out, that explains what others saw. If that fails it follows all that can
// have happened to the record before it calls an answer wrong; where that is
// too much to look at, the answer is counted as undecided. See [Check] for what
// that cannot find.
//
// Answers at the Redis door carry no log index. [CheckRegisters] judges those
// key by key with Porcupine, a linearizability checker that needs no index; it
// is also the second opinion on indexed histories ([Registers]). Its worst case
// is exponential, so it has a time limit and may leave a key undecided.
//
// The package is for tests. It shares no lock rules with package fsm: the
// model is a second opinion on them. Violations name keys, holders, tokens and
// times, never stored values.
package history
