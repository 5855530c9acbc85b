package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lockcluster/lockcluster"
)

// The exit codes; [exitTable] says what they mean.
const (
	exitDone    = 0
	exitFailure = 1
	exitUsage   = 2
	exitRefused = 3
)

// exitTable is what each code means, for every command but a running server.
var exitTable = []struct {
	code    int
	meaning string
	when    []string
}{
	{exitDone, "done", []string{"what was asked for is so, now or before already (but a release needs a lock that is held)"}},
	{exitFailure, "failed", []string{
		"no node answers, or there is no leader",
		"the cluster refuses it as things stand: a rule, a criterion, a setting that contradicts those it has",
		"what is named is not there: a lock that nobody holds, a node that is no member",
		"a file, a Redis or an old store cannot be read or written (import --follow: not within --wait)",
	}},
	{exitUsage, "wrong usage", []string{
		"an unknown command, flag, setting, mode or name of a feature",
		"a value that could never be, or two that could never be together",
		"a node's settings (flags, environment, configuration file) with one of these, or naming a file that is not there (an old store may be away)",
		"never anything that depends on the cluster; nothing was changed",
	}},
	{exitRefused, "a person has to look", []string{
		"locks acquire, release: another holds the lock",
		"import, export: records were left out, the rest is done",
		"locks validate: errors · migration compare: differences",
	}},
}

// exitCodesCommand is a page of help, not a command.
func exitCodesCommand() *cobra.Command {
	var b strings.Builder
	b.WriteString("The exit codes are the same for every command, whatever it does:\n")
	for _, e := range exitTable {
		fmt.Fprintf(&b, "\n%3d  %s\n", e.code, e.meaning)
		for _, when := range e.when {
			fmt.Fprintf(&b, "       - %s\n", when)
		}
	}
	b.WriteString("\nA server that stops by itself has codes of its own: lockcluster server --help")
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: b.String()}
}

// exitLine is the table in a line, for the help of the whole program.
func exitLine() string {
	parts := make([]string, len(exitTable))
	for i, e := range exitTable {
		parts[i] = fmt.Sprintf("%d %s", e.code, e.meaning)
	}
	return strings.Join(parts, " · ")
}

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
// to be printed about it. It is the one place that gives errors their codes:
// what a node calls invalid is as wrong as what was found here.
func exitCode(err error) (code int, text string) {
	var e *exitError
	switch {
	case err == nil:
		return exitDone, ""
	case errors.As(err, &e) && e.err == nil:
		return e.code, ""
	case e != nil:
		return e.code, err.Error()
	case errors.Is(err, lockcluster.ErrInvalid):
		return exitUsage, err.Error()
	}
	return exitFailure, err.Error()
}
