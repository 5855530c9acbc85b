package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/spf13/cobra"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/rpc"
)

func (a *app) locksCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "locks",
		Short: "Look at locks, take, release and check them",
		Long: `A lock's KEY is Atlantis's own text form, repo/path/workspace/project. The path of
a repository's root is ".", and the project is mostly empty, which leaves a slash
at the end: acme/infra/./default/`,
	}, a.locksListCommand(), a.locksGetCommand(), a.locksAcquireCommand(), a.locksReleaseCommand(), a.locksValidateCommand())
}

func (a *app) locksGetCommand() *cobra.Command {
	var where clientFlags
	var namespace string
	cmd := &cobra.Command{
		Use:     "get KEY",
		Short:   "Show one lock",
		Long:    "get shows who holds a lock. If nobody does, that is an error (exit code 1).",
		Example: "  lockcluster locks get acme/infra/./default/",
		Args:    args(1, 1),
		RunE: a.withClient(&where, func(ctx context.Context, c *client, words []string) error {
			lock, err := c.needLock(ctx, namespace, words[0])
			if err != nil {
				return err
			}
			v := viewOf(lock, c.systems(ctx))
			return a.print(v, v.details)
		}),
	}
	addNamespace(cmd.Flags(), &namespace)
	a.addClientFlags(cmd.Flags(), &where)
	return cmd
}

func (a *app) locksListCommand() *cobra.Command {
	where := clientFlags{long: true}
	var filter rpc.LockFilter
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List locks",
		Example: "  lockcluster locks list --repo acme/infra --pull 7",
		Args:    args(0, 0),
		RunE: a.withClient(&where, func(ctx context.Context, c *client, _ []string) error {
			s, err := c.anySystems(ctx)
			if err != nil {
				return err
			}
			return a.printList(c.ListLocks(ctx, filter), s)
		}),
	}
	f := cmd.Flags()
	cmd.PreRunE = func(*cobra.Command, []string) error {
		switch set := f.Changed("pull"); {
		case set && filter.Pull < 1:
			return badPull(filter.Pull)
		case set && filter.Repo == "":
			return usagef("--pull needs --repo: pull requests of two repositories may have one number")
		}
		if err := lockcluster.ValidateNamespace(filter.Namespace); err != nil {
			return usagef("--namespace: %w", err)
		}
		return nil
	}
	f.SortFlags = false
	addNamespace(f, &filter.Namespace)
	f.StringVar(&filter.Repo, "repo", "", "only locks of exactly this `repository`")
	f.IntVar(&filter.Pull, "pull", 0, "only locks of this pull request; needs --repo")
	a.addClientFlags(f, &where)
	return cmd
}

// printList writes locks as they arrive: there may be a million.
func (a *app) printList(locks iter.Seq2[*lockcluster.Lock, error], s *systems) error {
	if !a.json() {
		t, empty := newTable(a.Out), true
		for l, err := range locks {
			switch {
			case err != nil && empty:
				return err
			case err != nil:
				return errors.Join(t.flush(), fmt.Errorf("the list is not complete: %w", err))
			case empty:
				t.row(slices.Clone(lockColumns)...)
				empty = false
			}
			t.row(viewOf(l, s).cells()...)
		}
		if empty {
			_, err := fmt.Fprintln(a.Out, "no locks")
			return err
		}
		return t.flush()
	}
	w := bufio.NewWriter(a.Out)
	separator := "[\n  "
	for l, err := range locks {
		if err != nil { // the array stays open, so that no script takes it for all
			return errors.Join(w.Flush(), fmt.Errorf("the list is not complete: %w", err))
		}
		b, err := json.MarshalIndent(viewOf(l, s), "  ", "  ")
		if err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		_, _ = w.WriteString(separator + string(b)) // an error shows at Flush
		separator = ",\n  "
	}
	closing := "\n]\n"
	if separator[0] == '[' {
		closing = "[]\n"
	}
	_, _ = w.WriteString(closing)
	return w.Flush()
}

// ownerFlags say for whom a lock is taken or released.
type ownerFlags struct {
	id   string
	pull int
	host string
	set  func(name string) bool
}

// badPull refuses n as the number of a pull request.
func badPull(n int) error {
	return usagef("--pull %d: want the number of a pull request, above 0", n)
}

// owner returns the owner, of a repository for a pull request; nil if no flag
// names one. Atlantis's own runs without a pull request have numbers below 1.
func (o *ownerFlags) owner(repo string) (*lockcluster.Owner, error) {
	switch {
	case o.id != "" && (o.set("pull") || o.set("host")):
		return nil, usagef("an owner is either --owner, or --pull and --host")
	case o.set("owner") && o.id == "":
		return nil, usagef("--owner is empty")
	case o.id != "":
		repo = ""
	case !o.set("pull") && o.host != "":
		return nil, usagef("--host goes with --pull")
	case !o.set("pull"):
		return nil, nil
	}
	owner := &lockcluster.Owner{ID: o.id, Pull: o.pull, Host: o.host, Repo: repo}
	if err := owner.Validate(); err != nil {
		return nil, usagef("--owner, --pull: %w", err)
	}
	return owner, nil
}

func (a *app) locksReleaseCommand() *cobra.Command {
	var where clientFlags
	var namespace string
	var who ownerFlags
	var force bool
	cmd := &cobra.Command{
		Use:   "release KEY (--owner ID | --pull N | --force)",
		Short: "Release a lock",
		Long: `release frees a lock if the given owner or pull request holds it; with --force,
whoever holds it. If someone else holds it, nothing changes and the exit code is
3; if nobody does, it is 1.`,
		Example: "  lockcluster locks release acme/infra/./default/ --pull 7",
		Args:    args(1, 1),
		RunE: a.withClient(&where, func(ctx context.Context, c *client, words []string) error {
			if force == (who.set("owner") || who.set("pull")) {
				return usagef("say whose lock it is with --owner or --pull, or release it whoever holds it with --force")
			}
			if _, err := who.owner("any"); err != nil {
				return err
			}
			return a.release(ctx, c, namespace, words[0], &who)
		}),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&who.id, "owner", "", "`id` of the owner that holds it")
	f.IntVar(&who.pull, "pull", 0, "`number` of the pull request that holds it")
	f.BoolVar(&force, "force", false, "whoever holds it")
	who.set = f.Changed
	addNamespace(f, &namespace)
	a.addClientFlags(f, &where)
	return cmd
}

// release frees exactly the grant that it has read, if that is who means.
func (a *app) release(ctx context.Context, c *client, namespace, text string, who *ownerFlags) error {
	lock, err := c.needLock(ctx, namespace, text)
	if err != nil {
		return err
	}
	owner, err := who.owner(cmp.Or(lock.Owner.Repo, lock.Key.Repo))
	if err != nil {
		return err
	}
	guard := lockcluster.Guard{Token: lock.Token, Owner: owner}
	result, err := c.Do(ctx, lockcluster.RequestID{}, lockcluster.Release{Namespace: namespace, Text: lock.Key.Text(), Guard: guard})
	if err != nil {
		return err
	}
	answer := struct {
		Released bool      `json:"released"`
		Index    uint64    `json:"index"`
		Key      string    `json:"key"`
		Lock     *lockView `json:"lock,omitempty"`
	}{result.Status == lockcluster.StatusReleased, result.Index, lock.Key.Text(), viewOf(result.Lock, c.systems(ctx))}
	if err := a.print(answer, func(w io.Writer) error {
		if !answer.Released {
			return nil
		}
		_, err := fmt.Fprintf(w, "released %s, which %s held\n", visible(answer.Key), visible(lock.Owner.String()))
		return err
	}); err != nil {
		return err
	}
	switch {
	case answer.Released:
		return nil
	case result.Status == lockcluster.StatusNotFound:
		return fmt.Errorf("%s is not locked any more", visible(answer.Key))
	case result.Status == lockcluster.StatusNotHolder && result.Lock != nil:
		return &exitError{exitRefused, fmt.Errorf("not released: %s is held by %s; name that one, or release it whoever holds it with --force", visible(answer.Key), visible(result.Lock.Owner.String()))}
	}
	return fmt.Errorf("not released: %s %s", result.Status, result.Text)
}
