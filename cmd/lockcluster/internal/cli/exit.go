package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitFailure = 1
	exitUsage   = 2
	exitRefused = 3 // held by another; quarantine or conflict of an import
)

// exitError ends the process with a code of its own. Without err nothing is
// printed: the command has said what there is to say.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usagef returns an error for a wrong command line.
func usagef(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// silent ends the process with code after the command has printed its answer.
func silent(code int) error { return &exitError{code: code} }

// exitCode returns the process's exit code for a command's error, and what is
// to be printed about it.
func exitCode(err error) (code int, text string) {
	if err == nil {
		return 0, ""
	}
	var e *exitError
	if errors.As(err, &e) {
		if e.err == nil {
			return e.code, ""
		}
		return e.code, err.Error()
	}
	return exitFailure, err.Error()
}

// args wraps a cobra check of the positional arguments, so that its error
// counts as a wrong command line and shows how to call the command.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%w\nusage: %s", err, cmd.UseLine())
		}
		return nil
	}
}

// group makes a command that only holds others: alone it shows its help, and
// an unknown word after it is an error.
func group(cmd *cobra.Command, children ...*cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		hint := ""
		cmd.SuggestionsMinimumDistance = 2
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = fmt.Sprintf(", did you mean %q?", near[0])
		}
		return usagef("unknown command %q for %q%s; see %[2]s --help", args[0], cmd.CommandPath(), hint)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(children...)
	return cmd
}
