package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lockcluster/lockcluster/cmd/lockcluster/internal/config"
	"github.com/lockcluster/lockcluster/compat/bridge"
)

func (a *app) configCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "config",
		Short: "See, change and check the settings",
	}, a.configGetCommand(), a.configSetCommand(), a.configValidateCommand(), a.configMappingCommand())
}

func (a *app) configValidateCommand() *cobra.Command {
	onlyLocks := false
	cmd := &cobra.Command{
		Use:   "validate FILE",
		Short: "Check a configuration file",
		Long: `validate reads the YAML file of a node, with the blocks "locks" and
"enhanced-locking", and reports everything that is wrong with it by file, line
and key: unknown names, with the nearest known one, impossible values, and
settings that contradict each other. It asks no cluster and changes nothing.

Exit codes: 0 the file is valid · 2 it is not.`,
		Example: `  lockcluster config validate --enhanced-locking lockcluster.yaml`,
		Args:    args(1, 1),
		RunE:    func(_ *cobra.Command, words []string) error { return a.configValidate(words[0], onlyLocks) },
	}
	cmd.Flags().BoolVar(&onlyLocks, "enhanced-locking", false, `judge the blocks "locks" and "enhanced-locking" only, not the node's own settings`)
	return cmd
}

// validation is what "config validate" found.
type validation struct {
	File     string            `json:"file"`
	Valid    bool              `json:"valid"`
	Problems bridge.Problems   `json:"problems"`
	Settings map[string]string `json:"settings"`
	Mode     string            `json:"mode"`          // empty: depends on the cluster
	Active   string            `json:"active_system"` // empty: depends on the cluster, or differs from key to key
	Why      []string          `json:"why"`

	values bridge.Values
}

func (a *app) configValidate(file string, onlyLocks bool) error {
	values, site, problems, err := config.CheckFile(file, onlyLocks)
	if err != nil {
		return usagef("%w", err)
	}
	answer := validation{File: file, Valid: len(problems) == 0, Problems: problems, Settings: values.Settings(), Why: []string{}, values: values}
	if answer.Valid {
		plan, err := bridge.Effective(values.Replicated(), site)
		if err != nil {
			return fmt.Errorf("settings that were found valid are not: %w", err)
		}
		answer.Mode, answer.Active, answer.Why = plan.Mode.String(), plan.Active.String(), plan.Why
		answer.Problems = bridge.Problems{}
	}
	switch {
	case answer.Valid:
		return a.print(answer, func(w io.Writer) error { return validationTable(w, &answer) })
	case a.json():
		if err := a.print(answer, nil); err != nil {
			return err
		}
		return silent(exitUsage)
	}
	return usagef("%w", problems)
}

func validationTable(w io.Writer, v *validation) error {
	say(w, "%s is valid: %d settings\n", visible(v.File), len(v.Settings))
	for _, line := range v.Why {
		say(w, "  %s\n", visible(line))
	}
	if len(v.Settings) == 0 {
		return nil
	}
	say(w, "\n")
	t := newTable(w, "SETTING", "VALUE", "WHERE")
	for _, row := range bridge.Mapping(v.values) {
		if row.Source != bridge.SourceDefault {
			t.row(row.Setting, row.Value, row.Place)
		}
	}
	return t.flush()
}

type mappingFlags struct {
	client  clientFlags
	file    string
	offline bool
}

func (a *app) configMappingCommand() *cobra.Command {
	f := mappingFlags{}
	cmd := &cobra.Command{
		Use:   "mapping",
		Short: "Show every setting, its names, its value and what it is here",
		Long: `mapping shows every setting that an Atlantis with enhanced locking was
promised: what it is called here, what it is set to and by what, and whether it
can be changed while the cluster runs. The flag of a setting is its name with
"-" for ".", its environment variable ATLANTIS_ and the name in capitals with "_"
for both (and ATLANTIS_LOCK_TIMEOUT, ATLANTIS_LOCK_RETRIES); "-o json" lists all
names.

A cluster's own setting wins over a flag, a flag over the environment, that over
the file, the file over the default.`,
		Example: `  lockcluster config mapping --config lockcluster.yaml`,
		Args:    args(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.configMapping(cmd.Context(), &f) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.file, "config", "", "YAML `file` whose settings count (LOCKCLUSTER_CONFIG)")
	fs.BoolVar(&f.offline, "offline", false, "ask no cluster")
	a.addClientFlags(fs, &f.client)
	return cmd
}

func (a *app) configMapping(ctx context.Context, f *mappingFlags) error {
	inFile := bridge.Values{}
	if file := a.configFile(f.file); file != "" {
		values, _, problems, err := config.CheckFile(file, true)
		switch {
		case err != nil:
			return usagef("%w", err)
		case len(problems) > 0:
			return usagef("%w", problems)
		}
		inFile = values
	}
	inEnv, err := bridge.FromEnv(a.environ)
	if err != nil {
		return usagef("%w", err)
	}
	values := bridge.Merge(inFile, inEnv)
	if !f.offline {
		if replicated, err := a.replicated(ctx, &f.client); err != nil {
			say(a.Err, "no cluster was asked (%v): these are the values of this machine only\n", err)
		} else {
			values = bridge.Merge(values, replicated)
		}
	}
	rows := bridge.Mapping(values)
	return a.print(rows, func(w io.Writer) error { return mappingTable(w, rows) })
}

// configFile returns the file that --config or the environment names.
func (a *app) configFile(flag string) string {
	if flag != "" {
		return flag
	}
	for _, entry := range a.environ {
		if file, ok := strings.CutPrefix(entry, "LOCKCLUSTER_CONFIG="); ok {
			return file
		}
	}
	return ""
}

// replicated asks the cluster for its settings.
func (a *app) replicated(ctx context.Context, f *clientFlags) (bridge.Values, error) {
	ctx, stop := interruptible(ctx)
	defer stop()
	c, err := a.dial(ctx, f)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	limited, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	settings, err := c.Settings(limited)
	if err != nil {
		return nil, f.explain(ctx, c, err)
	}
	values, _ := bridge.FromSettings(settings)
	return values, nil
}

func mappingTable(w io.Writer, rows []bridge.Row) error {
	t := newTable(w, "SETTING", "VALUE", "FROM", "CHANGE", "HERE", "MEANING")
	for _, r := range rows {
		from := string(r.Source)
		if r.Place != "" {
			from = r.Place
		}
		change := "live"
		switch {
		case !r.Available:
			change = "not available"
		case !r.Live:
			change = "at start"
		}
		t.row(r.Setting, r.Value, from, change, r.Part, r.Meaning)
	}
	return t.flush()
}
