package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat/bridge"
)

// gateTimeout is how long requests may wait at the closed gate if nobody says
// otherwise.
const gateTimeout = 30 * time.Second

func (a *app) clusterSwitchCommand() *cobra.Command {
	var where clientFlags
	var req lockcluster.SwitchRequest
	cmd := &cobra.Command{
		Use:   "switch enhanced|legacy",
		Short: "Make one lock system the one that decides, everywhere at once",
		Long: `switch moves all locks, pull statuses and command locks of the attached namespace
to the other system, on all nodes at one moment. Requests wait meanwhile; they do
not fail. Either it happens as a whole, or nothing has changed.

Switching to the enhanced system asks for what is set under
enhanced-locking.migration.switch-criteria, and, in mode shadow, for no
divergence that nobody has explained. The way back to the legacy system is never
barred. The mode is blue-green afterwards.

--timeout bounds how long requests may wait; when it is over the switch is given
up. --dry-run shows what would be asked for, and changes nothing.`,
		Example: "  lockcluster cluster switch enhanced --reason 'maintenance window'\n  lockcluster cluster switch legacy",
		Args:    args(1, 1),
	}
	run := func(ctx context.Context, c *client, words []string) error {
		if _, err := lockcluster.ParseSystem(words[0]); err != nil {
			return usagef("%q: switch to which system? enhanced or legacy", words[0])
		}
		req.To, req.Timeout = words[0], where.timeout
		res, err := c.Switch(ctx, req)
		if err != nil {
			return err
		}
		return a.print(res, func(w io.Writer) error { return switchTable(w, &res) })
	}
	cmd.RunE = a.withPatience(&where, run)
	fs := cmd.Flags()
	a.addClientFlags(fs, &where)
	fs.Lookup("timeout").Usage = "how long requests may wait at the closed gate"
	fs.Lookup("timeout").DefValue, where.timeout = gateTimeout.String(), gateTimeout
	fs.StringVar(&req.Reason, "reason", "", "`text` for the others: why")
	fs.BoolVar(&req.DryRun, "dry-run", false, "show what would be checked; change nothing")
	fs.BoolVar(&req.Force, "force", false, "leave out the criteria, and a legacy system that cannot be reached")
	return cmd
}

func switchTable(w io.Writer, r *lockcluster.SwitchResult) error {
	for _, check := range r.Checks {
		say(w, "checked: %s\n", visible(check))
	}
	switch {
	case r.From == r.To: // a check says so
		return nil
	case r.DryRun:
		_, err := fmt.Fprintf(w, "a switch from %s to %s would go ahead; nothing was changed\n", r.From, r.To)
		return err
	}
	_, err := fmt.Fprintf(w, "switched from %s to %s: %s, gate closed for %.1f ms, epoch %d\n",
		r.From, r.To, number(r.Records, "record"), r.GateClosedMS, r.Epoch)
	if r.Unverified && err == nil {
		_, err = fmt.Fprintln(w, "the legacy system could not be asked: compare both as soon as it is back (migration compare)")
	}
	return err
}

func (a *app) clusterModeCommand() *cobra.Command {
	var where clientFlags
	var req lockcluster.ModeRequest
	var canary string
	var percentage uint32
	cmd := &cobra.Command{
		Use:   "mode [enhanced|legacy|shadow|gradual|blue-green]",
		Short: "Show or change how the two lock systems share the work",
		Long: `mode without a word shows the mode. With one it changes it:

  legacy      the legacy system decides, the enhanced one is left alone
  shadow      the legacy system decides, the enhanced one does everything after
              the fact, and the answers are compared
  gradual     each lock has its system, chosen while it is free: by --canary, or
              by a share of the keys (--percentage)
  blue-green  what decides goes on deciding, and the other system holds a mirror
  enhanced    the legacy system is let go; only after a switch to enhanced

A cluster that has no legacy system yet gets that of the node which is asked
(server --legacy-boltdb or --legacy-redis). Then say whose locks count with
--authority; --dry-run shows what would be lost.

If another store is found in the place of the attached one, or it was emptied,
nothing is decided with it. The right one is taken by itself when it is back. To
accept what is there, give the present mode and --authority: legacy takes it as
it is, enhanced writes the cluster's copy into it (not in mode legacy).`,
		Example: "  lockcluster cluster mode shadow\n  lockcluster cluster mode gradual --percentage 10 --canary '[{workspace: staging}]'\n" +
			"  lockcluster cluster mode blue-green --authority enhanced --dry-run",
		Args: args(0, 1),
	}
	fs := cmd.Flags()
	run := func(ctx context.Context, c *client, words []string) error {
		if len(words) == 0 {
			return a.showMode(ctx, c)
		}
		req.Mode, req.Timeout, req.KeepCanary = words[0], where.timeout, !fs.Changed("canary")
		if fs.Changed("percentage") {
			req.Percentage = &percentage
		}
		if canary != "" {
			rules, err := bridge.ParseCanary(canary)
			if err != nil {
				return usagef("--canary: %w", err)
			}
			req.Canary = rules
		}
		res, err := c.SetMode(ctx, req)
		if err != nil {
			return err
		}
		return a.print(res, func(w io.Writer) error { return modeTable(w, &res) })
	}
	cmd.PreRunE = func(_ *cobra.Command, words []string) error { return checkMode(words, fs, percentage, req.Authority) }
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		if len(words) == 0 { // nobody waits at a gate
			return a.withClient(&where, run)(cmd, words)
		}
		return a.withPatience(&where, run)(cmd, words)
	}
	a.addClientFlags(fs, &where)
	fs.Lookup("timeout").DefValue, where.timeout = gateTimeout.String(), gateTimeout
	fs.Uint32Var(&percentage, "percentage", 0, "gradual: share of the keys that go to the enhanced system, 0 to 100")
	fs.StringVar(&canary, "canary", "", "gradual: `rules` that send locks to the enhanced system: [{project-name: x}, {workspace: y}, {user-group: z}]")
	fs.StringVar(&req.Authority, "authority", "", "whose locks count when a legacy system is attached, or another store is accepted: enhanced or legacy")
	fs.StringVar(&req.Reason, "reason", "", "`text` for the others: why")
	fs.BoolVar(&req.DryRun, "dry-run", false, "show what would be changed; change nothing")
	fs.BoolVar(&req.Force, "force", false, "lose the records of the system that does not count")
	return cmd
}

// checkMode refuses what could be no mode of any cluster.
func checkMode(words []string, fs *pflag.FlagSet, percentage uint32, authority string) error {
	word := ""
	if len(words) > 0 {
		word = words[0]
	}
	mode, err := lockcluster.ParseMode(word)
	if err != nil && word != "" {
		return usagef("%q is no mode: use enhanced, legacy, shadow, gradual or blue-green", word)
	}
	for _, name := range []string{"percentage", "canary"} {
		if fs.Changed(name) && mode != lockcluster.ModeGradual {
			return usagef("--%s goes with mode gradual", name)
		}
	}
	for _, name := range []string{"authority", "reason", "dry-run", "force"} {
		if fs.Changed(name) && word == "" {
			return usagef("--%s goes with a mode to change to", name)
		}
	}
	if percentage > 100 {
		return usagef("--percentage %d: use 0 to 100", percentage)
	}
	if _, err := lockcluster.ParseSystem(authority); authority != "" && err != nil {
		return usagef("--authority %q: use enhanced or legacy", authority)
	}
	return nil
}

// showMode prints the mode as the status has it.
func (a *app) showMode(ctx context.Context, c *client) error {
	s, err := c.LeaderStatus(ctx)
	if err != nil {
		return err
	}
	v := map[string]any{"mode": s.Mode, "active_system": s.ActiveSystem, "epoch": s.Epoch}
	return a.print(v, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "mode %s · active system %s · epoch %d\n", visible(s.Mode), visible(activeText(s.ActiveSystem)), s.Epoch)
		return err
	})
}

// activeText names the active system of a mode in which each key has its own.
func activeText(s string) string {
	if s == "" {
		return "by key"
	}
	return s
}

func modeTable(w io.Writer, r *lockcluster.ModeResult) error {
	for _, note := range r.Notes {
		say(w, "%s\n", visible(note))
	}
	var parts []string
	if r.Differences > 0 || r.DryRun {
		parts = append(parts, number(r.Differences, "record")+" to copy into the other system")
	}
	if r.Lost > 0 {
		parts = append(parts, number(r.Lost, "record")+" of it to be removed")
	}
	stays, _, _ := strings.Cut(r.From, " ") // "blue-green enhanced"
	switch {
	case r.DryRun && stays == r.Mode && len(r.Notes) > 0: // they say what is done instead
		_, err := fmt.Fprintf(w, "DRY RUN: mode %s stays; nothing was changed\n", r.Mode)
		return err
	case r.DryRun:
		_, err := fmt.Fprintf(w, "mode %s would become %s: %s; nothing was changed\n", r.From, r.Mode, strings.Join(parts, ", "))
		return err
	}
	say(w, "mode %s · active system %s · epoch %d", r.Mode, activeText(r.ActiveSystem), r.Epoch)
	if r.GateClosedMS > 0 {
		say(w, " · gate closed for %.1f ms", r.GateClosedMS)
	}
	say(w, "\n")
	return nil
}

// withPatience is withClient for a command whose --timeout is the cluster's
// limit: the answer may take a little longer.
func (a *app) withPatience(f *clientFlags, run func(ctx context.Context, c *client, words []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, words []string) error {
		ctx, stop := interruptible(cmd.Context())
		defer stop()
		c, err := a.dial(ctx, f)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		limited, cancel := context.WithTimeout(ctx, f.timeout+clientTimeout)
		defer cancel()
		return f.explain(ctx, c, run(limited, c, words))
	}
}
