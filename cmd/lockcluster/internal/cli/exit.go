package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lockcluster/lockcluster/internal/nearest"
)

// args checks that there are least to most words after a command's name. What
// is missing has its name from the command's usage line.
func args(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, words []string) error {
		switch {
		case len(words) < least:
			return usagef("%s is missing\nusage: %s", strings.Fields(cmd.Use)[len(words)+1], cmd.UseLine())
		case len(words) > most:
			return usagef("unexpected %q\nusage: %s", words[most], cmd.UseLine())
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
		return unknownCommand(cmd, args[0])
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(children...)
	return cmd
}

func unknownCommand(cmd *cobra.Command, word string) error {
	hint := ""
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		hint = fmt.Sprintf(", did you mean %q?", near[0])
	}
	return usagef("unknown command %q for %q%s; see %[2]s --help", word, cmd.CommandPath(), hint)
}

// flagError says what is wrong with a flag, and which one may be meant.
func (a *app) flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var value *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		// A mistyped command leaves its flags to the group.
		if word := a.wordAfter(cmd); word != "" && cmd.HasSubCommands() {
			return unknownCommand(cmd, word)
		}
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := nearest.Near(unknown.GetSpecifiedName(), names); near != "" && unknown.GetSpecifiedShortnames() == "" {
			err = fmt.Errorf("%w, did you mean --%s?", err, near)
		}
	case errors.As(err, &value):
		kinds := map[string]string{"int": "a whole number", "duration": "a time, for example 10s or 5m", "bool": "true or false"}
		if kind := kinds[value.GetFlag().Value.Type()]; kind != "" {
			err = fmt.Errorf("--%s %q: want %s", value.GetFlag().Name, value.GetValue(), kind)
		}
	}
	return usagef("%w; see %s --help", err, cmd.CommandPath())
}

// wordAfter returns the first word after the command's own names, empty if it
// is one of its commands or there is none.
func (a *app) wordAfter(cmd *cobra.Command) string {
	path := strings.Fields(cmd.CommandPath())[1:]
	for _, word := range a.arguments {
		switch {
		case strings.HasPrefix(word, "-"):
		case len(path) > 0 && word == path[0]:
			path = path[1:]
		case len(path) == 0:
			isOne := slices.ContainsFunc(cmd.Commands(), func(c *cobra.Command) bool { return c.Name() == word })
			if isOne {
				return ""
			}
			return word
		}
	}
	return ""
}
