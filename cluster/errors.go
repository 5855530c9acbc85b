package cluster

import (
	"errors"
	"fmt"
)

// Exit codes of a process that a node stopped, see [ExitCode].
const (
	ExitCodeDiverged = 70 // the state differs from the other nodes', or an invariant broke
	ExitCodeStuck    = 71 // a watchdog found a part that does not move
	ExitCodeStorage  = 74 // a store failed, hung or is corrupt
	ExitCodeRestart  = 75 // the process has to start again, by itself or its supervisor
	ExitCodeRemoved  = 76 // the node was removed from the cluster
)

var (
	// ErrStorage marks a failed, hanging or corrupt store.
	ErrStorage = errors.New("storage failed")
	// ErrDiverged marks a state that differs from the other nodes'.
	ErrDiverged = errors.New("state differs from the other nodes")
	// ErrStuck marks a part of the node that does not move any more.
	ErrStuck = errors.New("node is stuck")
	// ErrRestart asks for a restart of the process with the same arguments: the
	// node has repaired its data directory in a way that only a new start sees.
	ErrRestart = errors.New("restart needed")
	// ErrRemoved means that this node was removed from the cluster.
	ErrRemoved = errors.New("this node was removed from the cluster")
)

// HaltError says why a node stopped its process. Test its cause with
// errors.Is against [ErrStorage], [ErrDiverged], [ErrStuck], [ErrRestart] and
// [ErrRemoved].
type HaltError struct {
	Cause  error  // one of the sentinels above
	Op     string // what the node was doing
	Err    error  // the error underneath, may be nil
	Advice string // what the operator should do
}

// Error names the cause, the operation and the advice.
func (e *HaltError) Error() string {
	s := e.Cause.Error() + ": " + e.Op
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Advice != "" {
		s += "; " + e.Advice
	}
	return s
}

// Unwrap returns the cause and the error underneath.
func (e *HaltError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Cause}
	}
	return []error{e.Cause, e.Err}
}

// ExitCode returns the process exit code for an error of this package: one of
// the ExitCode constants, 1 for any other error, 0 for nil.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrRestart):
		return ExitCodeRestart
	case errors.Is(err, ErrRemoved):
		return ExitCodeRemoved
	case errors.Is(err, ErrStorage):
		return ExitCodeStorage
	case errors.Is(err, ErrDiverged):
		return ExitCodeDiverged
	case errors.Is(err, ErrStuck):
		return ExitCodeStuck
	}
	return 1
}

// DataDirError says why a data directory cannot be used, and what to do.
type DataDirError struct {
	Dir    string
	Reason string
	Advice string
}

// Error names the directory, the reason and the advice.
func (e *DataDirError) Error() string {
	return fmt.Sprintf("data directory %s: %s; %s", e.Dir, e.Reason, e.Advice)
}
