package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lockcluster/lockcluster/compat/bridge"
)

// featurePrefix is what stands before a feature flag among the settings.
const featurePrefix = "enhanced-locking.feature-flags."

// featureView is one feature flag.
type featureView struct {
	Name    string `json:"name"`
	On      bool   `json:"on"`
	Default bool   `json:"default"`
}

func (a *app) clusterFeatureCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "feature",
		Short: "List the feature flags, and turn them on and off",
		Long: `feature is short for "config set enhanced-locking.feature-flags.NAME=true|false".
Only what this version has is listed.`,
	}, a.featureListCommand(), a.featureSetCommand("enable", true), a.featureSetCommand("disable", false))
}

func (a *app) featureListCommand() *cobra.Command {
	var where clientFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the feature flags",
		Args:  args(0, 0),
		RunE: a.withClient(&where, func(ctx context.Context, c *client, _ []string) error {
			settings, err := c.Settings(ctx)
			if err != nil {
				return err
			}
			on := bridge.Decode(settings).Features
			views := []featureView{}
			for _, f := range bridge.Features() {
				views = append(views, featureView{Name: f.Name, On: on[f.Name], Default: f.Default})
			}
			return a.print(views, func(w io.Writer) error {
				t := newTable(w, "FEATURE", "ON", "DEFAULT")
				for _, v := range views {
					t.row(v.Name, fmt.Sprint(v.On), fmt.Sprint(v.Default))
				}
				return t.flush()
			})
		}),
	}
	a.addClientFlags(cmd.Flags(), &where)
	return cmd
}

func (a *app) featureSetCommand(verb string, on bool) *cobra.Command {
	var where clientFlags
	cmd := &cobra.Command{
		Use:   verb + " NAME",
		Short: strings.ToUpper(verb[:1]) + verb[1:] + " a feature on all nodes at once",
		Args:  args(1, 1),
		RunE: a.withClient(&where, func(ctx context.Context, c *client, words []string) error {
			changes, err := bridge.Normalize([]bridge.Assignment{{Name: featurePrefix + words[0], Value: fmt.Sprint(on)}})
			if err != nil {
				return usagef("%w", err)
			}
			res, err := c.SetSettings(ctx, changes, "cluster feature "+verb)
			if err != nil {
				return err
			}
			return a.print(res, func(w io.Writer) error { return settingsTable(w, &res) })
		}),
	}
	a.addClientFlags(cmd.Flags(), &where)
	return cmd
}
