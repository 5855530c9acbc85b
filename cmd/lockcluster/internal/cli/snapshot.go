package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lockcluster/lockcluster/cluster"
	"github.com/lockcluster/lockcluster/fsm"
)

func (a *app) snapshotCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "snapshot",
		Short: "Back the cluster's state up, and restore it after a disaster",
	}, a.snapshotSaveCommand(), a.snapshotRestoreCommand(), a.snapshotInspectCommand())
}

// backupView describes a backup; the JSON names are a contract.
type backupView struct {
	File         string `json:"file"`
	SizeBytes    int64  `json:"size_bytes"`
	Index        uint64 `json:"index"`
	Term         uint64 `json:"term"`
	Records      uint64 `json:"records"`
	Locks        uint64 `json:"locks"`
	CommandLocks uint64 `json:"command_locks"`
	Documents    uint64 `json:"documents"`
	LastToken    string `json:"last_token"`
	StateHash    string `json:"state_hash"`
}

func backupOf(file string, size int64, info fsm.SnapshotInfo) backupView {
	return backupView{
		File: file, SizeBytes: size, Index: info.Index, Term: info.Term, Records: info.Records,
		Locks: info.Stats.Locks, CommandLocks: info.Stats.CommandLocks, Documents: info.Stats.Documents,
		LastToken: info.Stats.LastToken.String(), StateHash: info.Hashes.Data.String(),
	}
}

func (b backupView) table(w io.Writer) error {
	t := newTable(w)
	for _, line := range [][]string{
		{"file", b.File},
		{"size", fmt.Sprintf("%d bytes", b.SizeBytes)},
		{"log index", fmt.Sprint(b.Index)},
		{"term", fmt.Sprint(b.Term)},
		{"locks", fmt.Sprint(b.Locks)},
		{"command locks", fmt.Sprint(b.CommandLocks)},
		{"documents", fmt.Sprint(b.Documents)},
		{"last token", b.LastToken},
		{"state hash", b.StateHash},
	} {
		t.row(line...)
	}
	return t.flush()
}

// inspect reads a backup to its end and verifies it.
func inspect(path string) (backupView, error) {
	f, err := os.Open(path)
	if err != nil {
		return backupView{}, fmt.Errorf("open backup: %w", err)
	}
	defer func() { _ = f.Close() }()
	stat, err := f.Stat()
	if err != nil {
		return backupView{}, fmt.Errorf("read backup: %w", err)
	}
	if !stat.Mode().IsRegular() {
		return backupView{}, fmt.Errorf("%s is no file", path)
	}
	info, err := cluster.InspectSnapshot(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return backupView{}, fmt.Errorf("%s is not a sound backup: %w", path, err)
	}
	return backupOf(path, stat.Size(), info), nil
}

func (a *app) snapshotInspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE",
		Short: "Verify a backup and say what it holds",
		Long:  "inspect reads the whole file and verifies every record and the checksums. It asks no cluster.",
		Args:  args(1, 1),
		RunE: func(_ *cobra.Command, words []string) error {
			b, err := inspect(words[0])
			if err != nil {
				return err
			}
			return a.print(b, b.table)
		},
	}
}

func (a *app) snapshotSaveCommand() *cobra.Command {
	where := clientFlags{long: true}
	var force bool
	cmd := &cobra.Command{
		Use:   "save FILE",
		Short: "Write a backup of the whole state",
		Long: `save writes a consistent, checksummed backup and verifies it. FILE appears when the
backup is complete and on disk, never before. It holds the credentials that
Atlantis stores in its locks: it is readable by you only, keep it so.`,
		Args: args(1, 1),
		RunE: a.withClient(&where, func(ctx context.Context, c *client, words []string) error {
			b, err := save(ctx, c, words[0], force)
			if err != nil {
				return err
			}
			return a.print(b, b.table)
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE if it is there")
	a.addClientFlags(cmd.Flags(), &where)
	return cmd
}

// syncEvery is how much of a backup may be unsynced. It may be written to the
// disk of a node, whose log waits for all that is unsynced when it is synced.
const syncEvery = 4 << 20

// syncingFile syncs a file bit by bit.
type syncingFile struct {
	*os.File
	unsynced int
}

// Write implements [io.Writer].
func (f *syncingFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	if f.unsynced += n; err == nil && f.unsynced >= syncEvery {
		f.unsynced = 0
		err = f.Sync()
	}
	return n, err
}

// save writes the backup beside its place, verifies it and moves it there. It
// leaves all cores but one to a node on the same machine, and that one, too, when
// the node wants it: to verify a backup takes all that it can get.
func save(ctx context.Context, c *client, path string, force bool) (b backupView, err error) {
	if err := checkPlace(path, force); err != nil {
		return b, err
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	yield()
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".part-*") // mode 0600
	if err != nil {
		return b, fmt.Errorf("make backup: %w", err)
	}
	defer func() {
		_ = f.Close()
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err := c.SnapshotSave(ctx, &syncingFile{File: f}); err != nil {
		return b, fmt.Errorf("save backup: %w", err)
	}
	if err := f.Sync(); err != nil {
		return b, fmt.Errorf("write backup: %w", err)
	}
	if b, err = inspect(f.Name()); err != nil {
		return b, err
	}
	b.File = path
	if err := os.Rename(f.Name(), path); err != nil {
		return b, fmt.Errorf("name backup: %w", err)
	}
	return b, syncDir(dir)
}

// checkPlace says what stands in the way of a new file at path, before anything
// is asked of the cluster.
func checkPlace(path string, force bool) error {
	info, err := os.Lstat(path)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("%s is a directory: give the name of a file", path)
	case err == nil && !force:
		return fmt.Errorf("%s is there already: give another name, or replace it with --force", path)
	}
	dir := filepath.Dir(path)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is no directory %s: make it, or give another name", dir)
	}
	return nil
}

// syncDir makes a rename durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

func (a *app) snapshotRestoreCommand() *cobra.Command {
	where := clientFlags{long: true}
	var yes bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Replace the cluster's state by a backup: for disasters",
		Long: `restore replaces the whole state of the running cluster by a backup. Every lock
taken since the backup is lost, every lock released since is back: stop all
Atlantis first, and look through "locks list" before you start them again.

The backup is verified before anything changes. Fencing tokens keep rising.`,
		Args: args(1, 1),
		RunE: a.withClient(&where, func(ctx context.Context, c *client, words []string) error {
			return a.restore(ctx, c, words[0], yes)
		}),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	a.addClientFlags(cmd.Flags(), &where)
	return cmd
}

func (a *app) restore(ctx context.Context, c *client, path string, yes bool) error {
	b, err := inspect(path)
	if err != nil {
		return err
	}
	if !yes {
		s, err := c.status(ctx)
		if err != nil {
			return err
		}
		note := ""
		if s.Note != "" {
			note = " (" + visible(s.Note) + ")"
		}
		say(a.Err, "The cluster has %s at log index %d%s.\nAll of it will be replaced by the backup's %s of log index %d.\n",
			counts(s.Locks, s.CommandLocks, s.Documents, ", ", " and "), s.CommitIndex, note,
			counts(b.Locks, b.CommandLocks, b.Documents, ", ", " and "), b.Index)
		if err := a.confirm(); err != nil {
			return err
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open backup: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := c.SnapshotRestore(ctx, f)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return a.print(info, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "restored %s at log index %d; new fencing tokens begin with %d:\n",
			counts(b.Locks, b.CommandLocks, b.Documents, ", ", " and "), info.Index, info.Epoch)
		return err
	})
}

// confirm asks for a "yes".
func (a *app) confirm() error {
	if in, ok := a.In.(io.Writer); !ok || !terminal(in) {
		return usagef("there is no terminal to ask on: repeat with --yes if you mean it")
	}
	say(a.Err, "Type yes to go on: ")
	line, err := bufio.NewReader(a.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(line) != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}
