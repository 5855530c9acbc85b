package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/fsm"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/migration"
)

type exportFlags struct {
	client    clientFlags
	to        string
	namespace string
	overwrite bool
	offline   bool
	dataDir   string
}

func (a *app) exportCommand() *cobra.Command {
	f := exportFlags{client: clientFlags{long: true}}
	cmd := &cobra.Command{
		Use:   "export --to boltdb:FILE",
		Short: "Write the locks to an atlantis.db",
		Long: `export writes the locks, pull statuses and command locks of a namespace to a new
atlantis.db, which an Atlantis opens as its own. FILE appears when it is complete,
on disk and read back. It holds the credentials that Atlantis stores in its locks:
it is readable by you only, so give it to Atlantis's user.

With --offline it asks no cluster but reads the data directory of one stopped node,
and changes nothing there. Export from every node that is left and use the file with
the highest term, and then the highest log index: if a majority of the nodes is left,
it has all that was acknowledged. Its last log entries may never have been committed;
nobody was told that they were.

What an atlantis.db cannot hold is listed, and the exit code is 3.`,
		Example: `  lockcluster export --to boltdb:/var/lib/atlantis/atlantis.db
  lockcluster export --to boltdb:atlantis.db --offline --data-dir /var/lib/lockcluster`,
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.export(cmd.Context(), &f) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.to, "to", "", "what to write: boltdb:`FILE`")
	addNamespace(fs, &f.namespace)
	fs.BoolVar(&f.overwrite, "overwrite", false, "replace FILE if it is there and no Atlantis has it open")
	fs.BoolVar(&f.offline, "offline", false, "read the data of a stopped node instead of a running cluster; needs --data-dir")
	fs.StringVar(&f.dataDir, "data-dir", "", "data `directory` of the stopped node")
	a.addClientFlags(fs, &f.client)
	return cmd
}

// exportView is what export answers.
type exportView struct {
	*migration.ExportReport
	Offline *cluster.OfflineInfo `json:"offline,omitempty"`
}

func (a *app) export(ctx context.Context, f *exportFlags) error {
	file, err := migration.ParseTarget(f.to)
	if err != nil {
		return usagef("--to %q: %w", f.to, err)
	}
	if err := lockcluster.ValidateNamespace(f.namespace); err != nil {
		return usagef("--namespace: %w", err)
	}
	if f.offline != (f.dataDir != "") {
		return usagef("--offline and --data-dir belong together: one reads a stopped node's data directory, the other names it")
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	var v exportView
	var view *state.View
	source := "cluster"
	if f.offline {
		mem, info, err := cluster.ReadOffline(f.dataDir, "")
		if err != nil {
			return err
		}
		view, v.Offline, source = mem.View(), &info, "data of node "+info.NodeID+" in "+filepath.Clean(f.dataDir)
	} else if view, err = a.fetchView(ctx, &f.client); err != nil {
		return err
	}
	bar := newProgress(a.Err, "exporting")
	v.ExportReport, err = migration.ExportBolt(ctx, view, f.namespace, migration.ExportOptions{
		File: file, Overwrite: f.overwrite, Progress: bar.show,
	})
	bar.done()
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	v.Source = source
	if err := a.print(v, v.table); err != nil {
		return err
	}
	if !v.Complete() {
		return silent(exitRefused)
	}
	return nil
}

// fetchView gets the cluster's whole state, stored values included.
func (a *app) fetchView(ctx context.Context, f *clientFlags) (*state.View, error) {
	c, err := a.dial(ctx, f)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	view, err := c.view(ctx)
	return view, f.explain(ctx, c, err)
}

// view reads all that the lock system holds that decides now.
func (c *client) view(ctx context.Context) (*state.View, error) {
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := c.SaveDeciding(ctx, w)
		_ = w.CloseWithError(err) // a pipe's never fails
		sent <- err
	}()
	mem, err := fsm.ReadSnapshot(r)
	_ = r.Close() // neither does this
	if saved := <-sent; err != nil && saved != nil && !errors.Is(saved, io.ErrClosedPipe) {
		err = saved // why the stream ended early
	}
	if err != nil {
		return nil, fmt.Errorf("read the cluster's state: %w", err)
	}
	return mem.View(), nil
}

// table writes the report for a person.
func (v exportView) table(w io.Writer) error {
	r := v.ExportReport
	t := newTable(w)
	for _, line := range [][]string{
		{"file", r.File},
		{"size", fmt.Sprintf("%d bytes", r.SizeBytes)},
		{"from", r.Source},
		{"namespace", r.Namespace},
		{"locks", fmt.Sprint(r.Locks)},
		{"pull statuses", fmt.Sprint(r.Pulls)},
		{"command locks", fmt.Sprint(r.CommandLocks)},
		{"not exported", fmt.Sprint(len(r.Skipped))},
		{"digest of the file", r.Digest},
		{"digest of the source", r.ClusterDigest},
		{"log index", fmt.Sprint(r.Index)},
		{"term", fmt.Sprint(r.Term)},
	} {
		t.row(line...)
	}
	if err := t.flush(); err != nil {
		return err
	}
	v.remarks(w)
	if len(r.Skipped) > 0 {
		say(w, "\nNOT EXPORTED\n")
		t := newTable(w, "KIND", "KEY", "REASON")
		for _, s := range r.Skipped {
			t.row(s.Kind, s.Key, s.Reason)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if len(r.Rewritten) == 0 {
		return nil
	}
	say(w, "\nWRITTEN ANEW (same facts, in a form that Atlantis reads)\n")
	t = newTable(w, "KIND", "KEY", "BECAUSE")
	for _, s := range r.Rewritten {
		t.row(s.Kind, s.Key, s.About)
	}
	return t.flush()
}

// remarks writes what a person has to know or do, a line each.
func (v exportView) remarks(w io.Writer) {
	if o := v.Offline; o != nil {
		snapshot := fmt.Sprintf("the snapshot of log index %d", o.SnapshotIndex)
		if o.SnapshotIndex == 0 {
			snapshot = "no snapshot, as there is none yet,"
		}
		say(w, "\nRead offline from node %s: %s and %s up to index %d of term %d.\n",
			visible(o.NodeID), snapshot, plural(o.Entries, "log entry", "log entries"), o.LastIndex, o.LastTerm)
		say(w, "Compare that index and term with the other nodes that are left: of a majority, the one with the highest term, then index, has all that was acknowledged.\n"+
			"The last entries may never have been committed; they are included.\n")
		for _, warning := range o.Warnings {
			say(w, "WARNING: %s\n", visible(warning))
		}
	}
	if n := len(v.OwnerLocks); n > 0 {
		say(w, "\nWARNING: %s held by owner ids, %d with a TTL: Atlantis shows them as of pull request 0 with the owner id as user, and they never expire there.\n",
			plural(n, "lock is", "locks are"), v.Leases)
	}
	if len(v.Elsewhere) > 0 {
		say(w, "\nNot in this file: the namespaces %s. Export each to a file of its own with --namespace.\n", visible(strings.Join(v.Elsewhere, ", ")))
	}
}

// plural returns "1 one" or "n many".
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
