package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/rpc"
)

// Errors have one code each, wherever they come from.
func TestExitCodeOfErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{nil, 0, ""},
		{errors.New("disk full"), 1, "disk full"},
		{rpc.ErrRefused, 1, "refused"},
		{fmt.Errorf("read: %w", lockcluster.ErrNoLeader), 1, "read: no leader"},
		{fmt.Errorf("%w: a percentage of 200", lockcluster.ErrInvalid), 2, "invalid request: a percentage of 200"},
		{&finalError{lockcluster.ErrInvalid}, 1, "invalid request"}, // of a record, not of the command line
		{fmt.Errorf("x: %w", usagef("which?")), 2, "x: which?"},
		{silent(exitRefused), 3, ""},
		{&exitError{exitRefused, errors.New("held by ada")}, 3, "held by ada"},
	} {
		if code, text := exitCode(c.err); code != c.code || text != c.text {
			t.Errorf("%v: %d %q, want %d %q", c.err, code, text, c.code, c.text)
		}
	}
}

// The documents and the help have the same table of exit codes.
func TestExitCodesAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	code, help, _ := command(t, nil, "help", "exit-codes")
	if code != 0 {
		t.Errorf("help exit-codes: exit code %d", code)
	}
	for _, e := range exitTable {
		row := fmt.Sprintf("| %d | %s | %s |", e.code, e.meaning, strings.Join(e.when, "; "))
		if !strings.Contains(string(b), row) {
			t.Errorf("docs/OPERATIONS.md lacks the row\n%s", row)
		}
		for _, when := range e.when {
			if !strings.Contains(help, when) {
				t.Errorf("the help lacks %q", when)
			}
		}
	}
}
