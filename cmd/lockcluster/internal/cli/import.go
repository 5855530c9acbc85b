package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/migration"
)

type importFlags struct {
	client     clientFlags
	from       string
	dryRun     bool
	onConflict string
	namespace  string
	quarantine string
	redact     bool
	backup     string
	follow     bool
	again      bool
	wait       time.Duration
}

// followWait is how long a follower waits for a source that cannot be read.
const followWait = 10 * time.Minute

func (a *app) importCommand() *cobra.Command {
	f := importFlags{client: clientFlags{long: true}}
	cmd := &cobra.Command{
		Use:   "import --from boltdb:FILE|redis://HOST",
		Short: "Take over the locks of an Atlantis",
		Long: `import reads an atlantis.db, also while Atlantis has it open, or the Redis of an
Atlantis, and gives the locks, pull statuses and command locks to the cluster. The
source is only ever read. Nothing in the cluster is overwritten, so an import may be
stopped and repeated.

The cluster remembers what it has imported. An import that would bring back what was
released in the cluster since an earlier one is refused, with a list; --again means it.

A Redis is named by redis://[user:password@]host[:port][/db], by
redis+cluster://host,host or by redis+sentinel://host,host/master[/db]; rediss in
place of redis is TLS. It is read twice, until both readings agree; keys that keep
changing are named.

With --backup the cluster's state is saved first. To go back to it:
lockcluster cluster snapshot restore FILE

With --follow the cluster becomes a live copy of the source: what Atlantis takes
and frees there is taken and freed here, until Ctrl-C. Nobody else may use the
cluster meanwhile. While the source cannot be read, because it changes without end or
does not answer, it is waited for, at the start and later; that is told, and ends with
exit code 1 after --wait.

What cannot be imported is reported, and the exit code is 3: records that cannot
be read, and locks that two pull requests claim. Their bytes, which hold secrets,
are kept in the directory --quarantine, readable by you only.`,
		Example: `  lockcluster import --from boltdb:/var/lib/atlantis/atlantis.db --dry-run
  lockcluster import --from redis://:$PASSWORD@redis:6379/0 --backup before.snap
  lockcluster import --from boltdb:/var/lib/atlantis/atlantis.db --on-conflict keep-older`,
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.importFrom(cmd.Context(), &f) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.from, "from", "", "what to import: boltdb:FILE or the `URL` of a Redis")
	fs.BoolVar(&f.dryRun, "dry-run", false, "only read the source and say what it holds; asks no cluster")
	fs.StringVar(&f.onConflict, "on-conflict", migration.ConflictFail.String(),
		"when two pull requests have one lock in the source: fail (leave it out), keep-older or keep-newer")
	addNamespace(fs, &f.namespace)
	fs.StringVar(&f.quarantine, "quarantine", "lockcluster-quarantine",
		"`directory` to keep the bytes of records in that are not imported; made when there are any; empty: keep none")
	fs.BoolVar(&f.follow, "follow", false, "go on until Ctrl-C: keep the cluster equal to the source, while Atlantis still uses that")
	fs.DurationVar(&f.wait, "wait", followWait, "with --follow: how long to wait for a source that cannot be read before it ends with an error; 0: until Ctrl-C")
	fs.BoolVar(&f.again, "again", false, "bring back what the cluster has released since an earlier import")
	fs.BoolVar(&f.redact, "redact-credentials", false, "strip user names and tokens from URLs before they are stored")
	fs.StringVar(&f.backup, "backup", "", "save the cluster's state to this `file` before anything is imported")
	a.addClientFlags(fs, &f.client)
	return cmd
}

func (a *app) importFrom(ctx context.Context, f *importFlags) error {
	if f.from == "" {
		return usagef("--from is missing: say what to import, for example --from boltdb:/var/lib/atlantis/atlantis.db or --from redis://redis:6379/0")
	}
	origin, err := migration.ParseOrigin(f.from)
	if err != nil {
		return usagef("--from: %w", err)
	}
	policy, err := migration.ParseConflictPolicy(f.onConflict)
	if err != nil {
		return usagef("--on-conflict: %w", err)
	}
	if err := lockcluster.ValidateNamespace(f.namespace); err != nil {
		return usagef("--namespace: %w", err)
	}
	switch {
	case f.dryRun && (f.follow || f.again):
		return usagef("--dry-run asks no cluster: leave --follow and --again out")
	case !f.follow && f.client.set("wait"):
		return usagef("--wait is for --follow: an import without it ends by itself when the source cannot be read")
	case f.wait < 0:
		return usagef("--wait %s: give a time, or 0 to wait until Ctrl-C", f.wait)
	}
	if f.follow {
		say(a.Err, "following %s: reading it for the first time ...\n", origin)
	}
	ctx, cancel := interruptible(ctx)
	defer cancel()
	var doer migration.Doer
	var c *client
	var guard *importGuard
	if !f.dryRun {
		if c, err = a.dial(ctx, &f.client); err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		doer = &patientDoer{c, f.client.timeout}
		if guard, err = newImportGuard(ctx, c, origin, f, policy); err != nil {
			return f.client.explain(ctx, c, err)
		}
	}
	if f.backup != "" && !f.dryRun {
		if _, err := save(ctx, c, f.backup, false); err != nil {
			return f.client.explain(ctx, c, fmt.Errorf("nothing was imported: %w", err))
		}
	}
	plan := migration.PlanOptions{Namespace: f.namespace, OnConflict: policy, RedactCredentials: f.redact}
	if f.follow {
		return a.follow(ctx, c, origin, f, plan, guard)
	}
	report, err := a.importOrigin(ctx, doer, origin, f, plan, guard)
	if report == nil {
		return f.client.explain(ctx, c, err)
	}
	if !f.dryRun {
		report.Backup = f.backup
		if err == nil {
			err = guard.note(ctx, true)
		}
	}
	// Else the guard has seen to it, or the cluster remembers no earlier import.
	if f.again || !f.dryRun && len(guard.earlier) == 0 && report.Known() > 0 {
		report.NoteServed()
	}
	if _, statErr := os.Stat(f.quarantine); statErr == nil && !f.dryRun && leftOver(report) > 0 {
		report.QuarantineDir = f.quarantine
	}
	if printErr := a.print(report, func(w io.Writer) error { return importTable(w, report) }); printErr != nil {
		return printErr
	}
	switch {
	case err != nil:
		return fmt.Errorf("the import stopped before its end; repeat it to go on: %w", f.client.explain(ctx, c, err))
	case !report.Complete():
		return silent(exitRefused)
	}
	return nil
}

// slowReading is how long an import may read its source until that is told. It ends
// by itself.
const slowReading = 5 * time.Second

// importOrigin imports a file or a Redis.
func (a *app) importOrigin(ctx context.Context, doer migration.Doer, from migration.Origin, f *importFlags, o migration.PlanOptions, guard *importGuard) (*migration.Report, error) {
	bar := newProgress(a.Err, "importing")
	defer bar.done()
	reading := time.AfterFunc(slowReading, func() {
		say(a.Err, "still reading %s: it is being written, or does not answer\n", from)
	})
	defer reading.Stop()
	before := func(ctx context.Context, src *migration.Source, sha256 string, plan *migration.Plan) error {
		reading.Stop()
		return guard.before(ctx, src, sha256, plan)
	}
	if from.Redis != nil {
		silenceRedis()
		return migration.ImportRedis(ctx, doer, migration.RedisImport{
			URL: from.Redis, PlanOptions: o, DryRun: f.dryRun, QuarantineDir: f.quarantine, Before: before, Progress: bar.show,
		})
	}
	return migration.ImportBolt(ctx, doer, migration.BoltImport{
		File: from.File, PlanOptions: o, DryRun: f.dryRun, QuarantineDir: f.quarantine, Before: before, Progress: bar.show,
	})
}

// silenceRedis keeps go-redis from writing to standard error by itself: what
// matters comes back as an error. Its logger is one for the whole process.
func silenceRedis() { logging.Disable() }

// patientDoer gives every batch of an import the same time.
type patientDoer struct {
	client  *client
	timeout time.Duration
}

// Do implements [migration.Doer].
func (d *patientDoer) Do(ctx context.Context, id lockcluster.RequestID, req lockcluster.Request) (lockcluster.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	result, err := d.client.Do(ctx, id, req)
	if err != nil {
		err = &finalError{err}
	}
	return result, err
}

// finalError hides what would make an import try again: the client has done
// that for as long as the user wants to wait.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }

// As finds the cause's types; there is no Unwrap, so that no sentinel matches.
func (e *finalError) As(target any) bool { return errors.As(e.err, target) }

// leftOver counts the entries of a report whose bytes went into quarantine.
func leftOver(r *migration.Report) int { return len(r.Quarantined) + len(r.Conflicts) }

// importTable writes the report for a person.
func importTable(w io.Writer, r *migration.Report) error {
	if r.DryRun {
		say(w, "DRY RUN: nothing was changed; into an empty cluster this would go:\n\n")
	}
	t := newTable(w)
	for _, line := range [][]string{
		{"source", r.Source},
		{"namespace", r.Namespace},
		{"locks imported", fmt.Sprint(r.Imported)},
		{"locks unchanged", fmt.Sprint(r.Unchanged)},
		{"pull statuses", fmt.Sprint(r.Pulls)},
		{"command locks", fmt.Sprint(r.CommandLocks)},
		{"quarantined", fmt.Sprint(len(r.Quarantined))},
		{"conflicts", fmt.Sprint(len(r.Conflicts))},
		{"digest", r.Digest},
	} {
		t.row(line...)
	}
	if err := t.flush(); err != nil {
		return err
	}
	importRemarks(w, r)
	if len(r.Quarantined) > 0 {
		say(w, "\nQUARANTINED (not imported)\n")
		t := newTable(w, "BUCKET", "KEY", "REASON")
		for _, q := range r.Quarantined {
			t.row(q.Bucket, q.Key, q.Reason)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if err := conflictTable(w, r.Conflicts); err != nil {
		return err
	}
	if len(r.Duplicates) > 0 {
		say(w, "\nDUPLICATES (one lock of one pull request, stored twice)\n")
		t := newTable(w, "LOCK", "KEPT", "LEFT OUT")
		for _, d := range r.Duplicates {
			t.row(d.Identity, d.Kept, strings.Join(d.Dropped, ", "))
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	return noteTable(w, r.Notes)
}

// importRemarks writes what a person has to know or do, a line each.
func importRemarks(w io.Writer, r *migration.Report) {
	if r.SourceSHA256After != "" && r.SourceSHA256After != r.SourceSHA256 {
		say(w, "\nAtlantis wrote to the source meanwhile: import again to take over what is new.\n")
	}
	for _, n := range r.Notes {
		if n.Identity == "" { // about the import as a whole
			say(w, "\nWARNING: %s\n", visible(strings.Join(n.About, "; ")))
		}
	}
	if slices.Contains(r.CommandLockNames, compat.CommandApply.String()) {
		say(w, "\nThe global apply lock is among the command locks: apply commands stay disabled globally; to enable them, remove the lock in Atlantis's web page.\n")
	}
	if len(r.IgnoredBuckets) > 0 {
		say(w, "\nignored, as they are not Atlantis's: the buckets %s\n", visible(strings.Join(r.IgnoredBuckets, ", ")))
	}
	if r.OtherKeys > 0 {
		say(w, "\nignored, as they are not Atlantis's: %s\n", plural(r.OtherKeys, "key", "keys"))
	}
	if r.Backup != "" {
		say(w, "\nThe state before the import is in %s; to go back to it: lockcluster cluster snapshot restore %[1]s\n", visible(r.Backup))
	}
	if r.QuarantineDir != "" {
		say(w, "\nThe bytes of what was not imported are in the directory %s: they hold secrets.\n", visible(r.QuarantineDir))
	}
}

func noteTable(w io.Writer, notes []migration.Note) error {
	shown := false
	t := newTable(w, "BUCKET", "KEY", "ABOUT")
	for _, n := range notes {
		if n.Identity == "" {
			continue
		}
		if !shown {
			say(w, "\nNOTES\n")
			shown = true
		}
		t.row(n.Bucket, n.Key, strings.Join(n.About, "; "))
	}
	if !shown {
		return nil
	}
	return t.flush()
}

// isOpenInSource reports whether --on-conflict would decide a conflict.
func isOpenInSource(c migration.Conflict) bool {
	inCluster := slices.ContainsFunc(c.Candidates, func(h migration.Candidate) bool { return h.In == migration.InCluster })
	return c.Kept == "" && len(c.Candidates) > 1 && !inCluster
}

func conflictTable(w io.Writer, conflicts []migration.Conflict) error {
	if len(conflicts) == 0 {
		return nil
	}
	hint := ""
	if slices.ContainsFunc(conflicts, isOpenInSource) {
		hint = " (left out; import again with --on-conflict keep-older or keep-newer to choose)"
	}
	say(w, "\nCONFLICTS%s\n", hint)
	t := newTable(w, "LOCK", "IN", "HOLDER", "USER", "SINCE", "VERDICT")
	for _, c := range conflicts {
		for i, holder := range c.Candidates {
			name := c.Identity
			if i > 0 {
				name = " "
			}
			verdict := "not imported: " + c.Reason
			switch {
			case c.Kept != "" && c.Kept == holder.Key:
				verdict = "kept"
			case c.Kept != "":
				verdict = "left out"
			case i > 0:
				verdict = " "
			}
			who := holder.Owner
			if holder.Pull != 0 {
				who = fmt.Sprintf("%s#%d", holder.Repo, holder.Pull)
			}
			t.row(name, holder.In, who, holder.User, holder.Time, verdict)
		}
	}
	return t.flush()
}

// progress shows a bar on a terminal, nothing elsewhere.
type progress struct {
	w     io.Writer // nil: not a terminal
	what  string    // what is being done, "importing"
	next  time.Time
	shown bool
}

// progressPause is the least time between two drawings.
const progressPause = 50 * time.Millisecond

func newProgress(w io.Writer, what string) *progress {
	if !terminal(w) {
		w = nil
	}
	return &progress{w: w, what: what}
}

func (p *progress) show(done, total int) {
	now := time.Now()
	if p.w == nil || total == 0 || done < total && now.Before(p.next) {
		return
	}
	p.next, p.shown = now.Add(progressPause), true
	const width = 30
	full := done * width / total
	say(p.w, "\r%s [%s%s] %d of %d", p.what, strings.Repeat("#", full), strings.Repeat(".", width-full), done, total)
}

// done leaves the bar's line.
func (p *progress) done() {
	if p.shown {
		say(p.w, "\n")
	}
}
