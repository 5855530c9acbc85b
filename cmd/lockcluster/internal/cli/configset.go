package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat/bridge"
)

func (a *app) configGetCommand() *cobra.Command {
	f := clientFlags{}
	cmd := &cobra.Command{
		Use:   "get [NAME...]",
		Short: "Show the cluster's settings",
		Long: `get shows the settings that are the same on every node: those that were set,
or those that are named. "config mapping" shows all of them with their meaning.`,
		Example: `  lockcluster config get
  lockcluster config get enhanced-locking.migration.mode`,
		RunE: func(cmd *cobra.Command, words []string) error { return a.configGet(cmd.Context(), &f, words) },
	}
	a.addClientFlags(cmd.Flags(), &f)
	return cmd
}

// settingView is one setting in the answer of "config get".
type settingView struct {
	Setting string        `json:"setting"`
	Value   string        `json:"value"`
	Default string        `json:"default"`
	Source  bridge.Source `json:"source"`
}

func (a *app) configGet(ctx context.Context, f *clientFlags, names []string) error {
	wanted := map[string]bool{}
	for _, name := range names {
		s, err := bridge.Lookup(name)
		if err != nil {
			return usagef("%w", err)
		}
		wanted[s.Name] = true
	}
	values, err := a.replicated(ctx, f)
	if err != nil {
		return err
	}
	views := settingViews(values, wanted)
	return a.print(views, func(w io.Writer) error {
		t := newTable(w, "SETTING", "VALUE", "FROM")
		for _, v := range views {
			t.row(v.Setting, v.Value, string(v.Source))
		}
		return t.flush()
	})
}

// settingViews are the wanted settings; those that were set if none is named.
func settingViews(values bridge.Values, wanted map[string]bool) []settingView {
	views := []settingView{}
	for _, r := range bridge.Mapping(values) {
		if wanted[r.Setting] || len(wanted) == 0 && r.Source == bridge.SourceCluster {
			views = append(views, settingView{r.Setting, r.Value, r.Default, r.Source})
		}
	}
	return views
}

func (a *app) configSetCommand() *cobra.Command {
	f := clientFlags{}
	cmd := &cobra.Command{
		Use:   "set NAME=VALUE [NAME=VALUE...]",
		Short: "Change settings of the whole cluster, at once",
		Long: `set changes settings on every node at once, without a restart: all of those
given, or none. An empty value is the way back to the default. What the change
means is judged first: a contradiction with another setting is refused.

"config set enhanced-locking.enabled=false" sends everything back to the legacy
system.`,
		Example: `  lockcluster config set enhanced-locking.migration.mode=shadow
  lockcluster config set enhanced-locking.migration.mode=gradual enhanced-locking.migration.traffic-percentage=10`,
		Args: func(cmd *cobra.Command, words []string) error { return args(1, max(1, len(words)))(cmd, words) },
		RunE: func(cmd *cobra.Command, words []string) error { return a.configSet(cmd.Context(), &f, words) },
	}
	a.addClientFlags(cmd.Flags(), &f)
	return cmd
}

func (a *app) configSet(ctx context.Context, f *clientFlags, words []string) error {
	assignments, err := parseAssignments(words)
	if err != nil {
		return usagef("%w", err)
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	c, err := a.dial(ctx, f)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	limited, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	result, err := c.SetSettings(limited, assignments, "")
	if err != nil {
		return f.explain(ctx, c, err)
	}
	return a.print(result, func(w io.Writer) error { return settingsTable(w, &result) })
}

// parseAssignments reads NAME=VALUE words. What is wrong with them alone is
// found here; the leader judges them with the other settings.
func parseAssignments(words []string) (map[string]string, error) {
	var list []bridge.Assignment
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return nil, fmt.Errorf("%q: want NAME=VALUE", word)
		}
		list = append(list, bridge.Assignment{Name: name, Value: value})
	}
	return bridge.Judge(list)
}

func settingsTable(w io.Writer, r *lockcluster.SettingsResult) error {
	t := newTable(w, "SETTING", "VALUE")
	for _, name := range slices.Sorted(maps.Keys(r.Changes)) {
		value := r.Changes[name]
		if value == "" {
			value = "(default)"
		}
		t.row(name, value)
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, line := range r.Why {
		say(w, "%s\n", visible(line))
	}
	return nil
}
