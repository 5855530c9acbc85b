package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/migration"
)

type validateFlags struct {
	client        clientFlags
	from          string
	namespace     string
	compatibility bool
	repair        string
	to            string
}

// The names in the directory --repair.
const (
	repairedFile   = "atlantis.db"
	repairedLeft   = "left-out"
	findingsShown  = 200
	leftOutAppends = ".left-out"
)

func (a *app) locksValidateCommand() *cobra.Command {
	f := validateFlags{client: clientFlags{long: true}}
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check stored records, and write a repaired copy",
		Long: `validate looks at every stored lock, pull status and command lock: whether it can
be read, whether its key is that of its value, what is stored twice, and what would
put it right. Without --from it asks the cluster, else a file or Redis, which is only
ever read. If there are errors the exit code is 3.

--check-compatibility makes an error of what an Atlantis v0.47.1 could not use.

--repair and --to write a repaired copy of a source: old keys re-keyed, missing fields
filled, what cannot be read left out, its bytes kept beside. The source stays as it is.`,
		Example: `  lockcluster locks validate --check-compatibility
  lockcluster locks validate --from boltdb:/var/lib/atlantis/atlantis.db --repair fixed`,
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.validate(cmd.Context(), &f) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.from, "from", "", "what to check instead of the cluster: boltdb:FILE or the `URL` of a Redis")
	addNamespace(fs, &f.namespace)
	fs.BoolVar(&f.compatibility, "check-compatibility", false, "an error, too, is what Atlantis v0.47.1 could not use")
	fs.StringVar(&f.repair, "repair", "", "make this `directory` with a repaired atlantis.db; needs --from")
	fs.StringVar(&f.to, "to", "", "write the repaired copy to boltdb:`FILE` instead")
	a.addClientFlags(fs, &f.client)
	return cmd
}

// validateView is what validate answers.
type validateView struct {
	*migration.ValidationReport
	Repair *repairView `json:"repair,omitempty"`
}

// repairView says what a repaired copy has and has not.
type repairView struct {
	File       string `json:"file"`
	LeftOutDir string `json:"left_out_dir,omitempty"` // bytes of what was left out; holds secrets
	Records    int    `json:"records"`
	Digest     string `json:"digest"`
	*migration.Repaired
}

func (a *app) validate(ctx context.Context, f *validateFlags) error {
	if err := lockcluster.ValidateNamespace(f.namespace); err != nil {
		return usagef("--namespace: %w", err)
	}
	file, left, err := f.target()
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	options := migration.ValidateOptions{CheckCompatibility: f.compatibility}
	var v validateView
	if f.from == "" {
		view, err := a.fetchView(ctx, &f.client)
		if err != nil {
			return err
		}
		if v.ValidationReport, err = migration.ValidateView(view, f.namespace, options); err != nil {
			return err
		}
	} else {
		origin, err := migration.ParseOrigin(f.from)
		if err != nil {
			return usagef("--from: %w", err)
		}
		silenceRedis()
		src, others, err := migration.ReadOrigin(ctx, origin)
		if err != nil {
			return err
		}
		v.ValidationReport = migration.Validate(src, options)
		v.Source, v.Other = origin.String(), others
		if file != "" {
			if v.Repair, err = writeRepaired(ctx, src, file, left); err != nil {
				return err
			}
		}
	}
	if err := a.print(v, v.table); err != nil {
		return err
	}
	if !v.Sound {
		return silent(exitRefused)
	}
	return nil
}

// target returns where the repaired copy and what it leaves out go; nowhere if
// none was asked for.
func (f *validateFlags) target() (file, left string, err error) {
	switch {
	case f.repair == "" && f.to == "":
		return "", "", nil
	case f.repair != "" && f.to != "":
		return "", "", usagef("--repair and --to both say where the repaired copy goes: give one")
	case f.from == "":
		return "", "", usagef("a repaired copy is of a file or Redis: name it with --from; what the cluster has, 'lockcluster export' writes")
	case f.repair != "":
		return filepath.Join(f.repair, repairedFile), filepath.Join(f.repair, repairedLeft), nil
	}
	if file, err = migration.ParseTarget(f.to); err != nil {
		return "", "", usagef("--to %q: %w", f.to, err)
	}
	return file, file + leftOutAppends, nil
}

// writeRepaired writes a repaired copy of src to file, and the bytes of what it
// leaves out to the directory left.
func writeRepaired(ctx context.Context, src *migration.Source, file, left string) (*repairView, error) {
	r, err := migration.Repair(src)
	if err != nil {
		return nil, fmt.Errorf("repair: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("repair: %w", err)
	}
	written, err := migration.WriteBolt(ctx, r.Records, migration.ExportOptions{File: file})
	if errors.Is(err, migration.ErrExists) {
		return nil, fmt.Errorf("repair: %s is there already: name another place", file)
	}
	if err != nil {
		return nil, fmt.Errorf("repair: %w", err)
	}
	v := &repairView{File: file, Records: len(r.Records), Digest: written.Digest, Repaired: r}
	if r.Complete() {
		return v, nil
	}
	v.LeftOutDir = left
	if err := r.WriteQuarantine(left); err != nil {
		return nil, fmt.Errorf("repair: %w", err)
	}
	return v, nil
}

// table writes the report for a person.
func (v validateView) table(w io.Writer) error {
	verdict := map[bool]string{true: "yes", false: "no"}
	t := newTable(w)
	for _, line := range [][]string{
		{"source", v.Source},
		{"namespace", v.Namespace},
		{"locks", fmt.Sprint(v.Locks)},
		{"pull statuses", fmt.Sprint(v.Pulls)},
		{"command locks", fmt.Sprint(v.CommandLocks)},
		{"not Atlantis's", fmt.Sprint(v.Other)},
		{"errors", fmt.Sprint(v.Errors)},
		{"warnings", fmt.Sprintf("%d (with the errors, %d can be repaired)", v.Warnings, v.Repairable)},
		{"notes", fmt.Sprint(v.Notes)},
		{"usable by Atlantis v0.47.1", verdict[v.Compatible]},
		{"digest", v.Digest},
	} {
		t.row(line...)
	}
	if err := t.flush(); err != nil {
		return err
	}
	if v.Invariants != "" {
		say(w, "\nERROR: the cluster's state is not sound: %s\n", visible(v.Invariants))
	}
	if err := v.findings(w); err != nil {
		return err
	}
	if v.Repair != nil {
		v.Repair.say(w)
	}
	return nil
}

func (v validateView) findings(w io.Writer) error {
	if v.Errors+v.Warnings+v.Notes == 0 {
		return nil
	}
	say(w, "\nFINDINGS\n")
	t, shown := newTable(w, "SEVERITY", "BUCKET", "KEY", "WHAT", "REPAIR"), 0
	for _, severity := range []migration.Severity{migration.SeverityError, migration.SeverityWarning, migration.SeverityNote} {
		for _, rec := range v.Records {
			for _, f := range rec.Findings {
				if f.Severity != severity {
					continue
				}
				if shown++; shown <= findingsShown {
					t.row(string(f.Severity), rec.Bucket, rec.Key, f.Text, f.Repair)
				}
			}
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	if shown > findingsShown {
		say(w, "and %d more: -o json has all\n", shown-findingsShown)
	}
	return nil
}

func (r *repairView) say(w io.Writer) {
	say(w, "\nRepaired copy: %s with %s, %d changed, %d left out; its digest is %s\n", visible(r.File),
		plural(r.Records, "record", "records"), len(r.Changes), len(r.Left)+len(r.Conflicts), r.Digest)
	if r.LeftOutDir != "" {
		say(w, "The bytes of what was left out are in the directory %s: they hold secrets.\n", visible(r.LeftOutDir))
	}
}
