package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/migration/controller"
	"github.com/lockcluster/lockcluster/migration/report"
)

func (a *app) migrationCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "migration",
		Short: "See how the move from Atlantis's own lock system stands",
	}, a.migrationStatusCommand(), a.migrationReportCommand(), a.migrationCompareCommand())
}

// migrationStatus asks the leader how the migration stands.
func (c *client) migrationStatus(ctx context.Context) (controller.Status, error) {
	var s controller.Status
	b, err := c.MigrationStatus(ctx)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("read the migration's status: %w", err)
	}
	return s, nil
}

func (a *app) migrationStatusCommand() *cobra.Command {
	var where clientFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show mode, both systems, the mirror, and what stands in the way of a switch",
		Args:  args(0, 0),
		RunE: a.withClient(&where, func(ctx context.Context, c *client, _ []string) error {
			s, err := c.migrationStatus(ctx)
			if err != nil {
				return err
			}
			return a.print(s, func(w io.Writer) error { return migrationTable(w, &s) })
		}),
	}
	a.addClientFlags(cmd.Flags(), &where)
	return cmd
}

func migrationTable(w io.Writer, s *controller.Status) error {
	say(w, "mode %s · active system %s · epoch %d", s.Mode, activeText(s.ActiveSystem), s.Epoch)
	if s.Mode == "gradual" {
		say(w, " · %d %% of the keys, %s", s.Percentage, number(len(s.Canary), "canary rule"))
	}
	if s.GateClosed {
		say(w, " · the gate is closed: a switch is under way")
	}
	say(w, "\n")
	if !s.Since.IsZero() {
		say(w, "since %s", s.Since.UTC().Format(time.RFC3339))
		if s.Reason != "" {
			say(w, ": %s", visible(s.Reason))
		}
		say(w, "\n")
	}
	if s.Legacy.Kind == "" {
		text := "no legacy system is attached"
		if s.Available != "" {
			text = "a legacy system is there (" + s.Available + ") but not attached; to let it decide: lockcluster cluster mode legacy --authority legacy"
		}
		_, err := fmt.Fprintln(w, text)
		return err
	}
	switch {
	case s.Legacy.Followed:
		say(w, "the file is followed: its Atlantis decides, until a switch takes the file\n")
	case !s.Ready:
		say(w, "the leader %s has not brought both systems up yet\n", s.Leader)
	}
	switch {
	case s.Legacy.Refused:
		say(w, "the legacy store is refused: %s\n", visible(s.Legacy.Problem))
	case s.Legacy.Problem != "":
		say(w, "the legacy system does not answer: %s\n", visible(s.Legacy.Problem))
		if s.ActiveSystem != lockcluster.SystemEnhanced.String() {
			say(w, "it decides: until it is back, locks that it decides about can be neither taken nor freed\n")
		}
	}
	say(w, "\n")
	t := newTable(w, "SYSTEM", "KIND", "LOCKS", "COMMAND LOCKS", "DOCUMENTS", "DIGEST")
	if s.Legacy.Reachable {
		t.row("legacy", s.Legacy.Kind, fmt.Sprint(s.Legacy.Locks), fmt.Sprint(s.Legacy.CommandLocks), fmt.Sprint(s.Legacy.Documents), s.Legacy.Digest)
	} else {
		t.row("legacy", s.Legacy.Kind, "", "", "", "")
	}
	t.row("enhanced", "raft", fmt.Sprint(s.Enhanced.Locks), fmt.Sprint(s.Enhanced.CommandLocks), fmt.Sprint(s.Enhanced.Documents), s.Enhanced.Digest)
	if err := t.flush(); err != nil {
		return err
	}
	say(w, "\nmirror: %s behind · shadow: %s, %d compared, %d skipped, %d waiting · divergences: %d, %d unexplained\n",
		number(s.MirrorBehind, "record"), number(s.Shadow.Operations, "operation"), s.Shadow.Compared, s.Shadow.Skipped, s.ShadowQueue,
		s.Shadow.Total, s.Shadow.Unexplained+s.Shadow.Inherited)
	return switchVerdict(w, s)
}

// switchVerdict says whether a switch would be let through now.
func switchVerdict(w io.Writer, s *controller.Status) error {
	if s.ActiveSystem == lockcluster.SystemEnhanced.String() {
		way := "the way back: lockcluster cluster switch legacy"
		switch {
		case s.Legacy.Problem != "":
			way = "the way back waits for the legacy system; without it: lockcluster export --to boltdb:FILE"
		case s.SwitchWhyNot != "":
			way = "the way back (lockcluster cluster switch legacy) would be refused: " + visible(s.SwitchWhyNot)
		}
		_, err := fmt.Fprintln(w, "the enhanced system decides; "+way)
		return err
	}
	for _, c := range s.Criteria {
		say(w, "criterion: %s\n", visible(c))
	}
	verdict := "would be let through"
	if !s.SwitchReady {
		verdict = "would be refused"
		if s.SwitchWhyNot != "" {
			verdict += ": " + visible(s.SwitchWhyNot)
		}
	}
	_, err := fmt.Fprintf(w, "a switch to the enhanced system %s\n", verdict)
	return err
}

func (a *app) migrationReportCommand() *cobra.Command {
	var where clientFlags
	var page string
	var accept bool
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Report divergences, switches and latencies, also as a web page",
		Long: `report shows what the two lock systems answered differently, and the switches so
far. --html writes a page with the latencies of both systems and the divergences
over time; it loads nothing from anywhere.

--clear accepts the divergences so far, after you have looked at them: they no
longer stand in the way of a switch.`,
		Example: "  lockcluster migration report --html report.html",
		Args:    args(0, 0),
		RunE: a.withClient(&where, func(ctx context.Context, c *client, _ []string) error {
			s, err := c.migrationStatus(ctx)
			if err != nil {
				return err
			}
			d := controller.ReportOf(&s)
			if page != "" {
				if err := writePage(page, d); err != nil {
					return err
				}
			}
			if accept {
				if err := c.ClearMismatches(ctx); err != nil {
					return err
				}
			}
			return a.print(d, func(w io.Writer) error { return reportTable(w, &d, page, accept) })
		}),
	}
	fs := cmd.Flags()
	fs.StringVar(&page, "html", "", "write the report as a web page to this `file`")
	fs.BoolVar(&accept, "clear", false, "accept the divergences so far")
	a.addClientFlags(fs, &where)
	return cmd
}

func writePage(name string, d report.Data) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	if err := report.Write(f, d); err != nil {
		_ = f.Close() // the first error counts
		return fmt.Errorf("write the page: %w", err)
	}
	return f.Close()
}

func reportTable(w io.Writer, d *report.Data, page string, accepted bool) error {
	say(w, "%s: %d in all, %d unexplained\n", "divergences", d.MismatchCounts.Total, d.MismatchCounts.Unexplained)
	if len(d.Mismatches) > 0 {
		t := newTable(w, "TIME", "OPERATION", "KEY", "DIFFERENCE", "LEGACY", "ENHANCED")
		for _, m := range d.Mismatches {
			t.row(m.Time.Format(time.RFC3339), m.Operation, m.Key, m.Difference, m.Legacy.Status+" "+m.Legacy.Holder, m.Enhanced.Status+" "+m.Enhanced.Holder)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	say(w, "switches and changes of the mode by this leader: %d\n", len(d.Switches))
	if len(d.Switches) > 0 {
		t := newTable(w, "TIME", "FROM", "TO", "EPOCH", "GATE CLOSED", "REASON", "FAILED")
		for _, s := range d.Switches {
			t.row(s.At.Format(time.RFC3339), s.From, s.To, fmt.Sprint(s.Epoch), fmt.Sprintf("%.1f ms", s.GateClosedMS), s.Reason, s.Failed)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if d.Comparison.Recommendation != "" {
		say(w, "%s\n", visible(d.Comparison.Recommendation))
	}
	if accepted {
		say(w, "the divergences were accepted\n")
	}
	if page != "" {
		say(w, "written to %s\n", visible(page))
	}
	return nil
}

func (a *app) migrationCompareCommand() *cobra.Command {
	var where clientFlags
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Compare what the two lock systems hold, record by record",
		Long: `compare reads both systems and lists the records that they do not hold alike, and in
what they differ; of stored values, which may hold secrets, only the size is shown.
A mirror that is at work may be a moment behind: what stays is a difference. If
there is one the exit code is 3. In mode shadow both systems decide, and their tokens,
revisions and times are not compared.`,
		Args: args(0, 0),
		RunE: a.withClient(&where, func(ctx context.Context, c *client, _ []string) error {
			b, err := c.CompareSystems(ctx)
			if err != nil {
				return err
			}
			var found controller.Comparison
			if err := json.Unmarshal(b, &found); err != nil {
				return fmt.Errorf("read the comparison: %w", err)
			}
			if err := a.print(found, func(w io.Writer) error { return compareTable(w, &found) }); err != nil {
				return err
			}
			if found.OnlyEnhanced+found.OnlyLegacy+found.Differ > 0 {
				return silent(exitRefused)
			}
			return nil
		}),
	}
	a.addClientFlags(cmd.Flags(), &where)
	return cmd
}

func compareTable(w io.Writer, c *controller.Comparison) error {
	say(w, "%d equal · %d only in the legacy system · %d only in the enhanced system · %d different\n", c.Equal, c.OnlyLegacy, c.OnlyEnhanced, c.Differ)
	if len(c.Records) == 0 {
		return nil
	}
	t := newTable(w, "KIND", "KEY", "LEGACY", "ENHANCED", "DIFFERENT (LEGACY / ENHANCED)")
	for _, r := range c.Records {
		t.row(r.Kind, r.Key, r.Legacy, r.Enhanced, partsText(&r))
	}
	return t.flush()
}

// partsText says in what two holders of one record differ.
func partsText(r *controller.Difference) string {
	texts := make([]string, len(r.Parts))
	for i, p := range r.Parts {
		texts[i] = fmt.Sprintf("%s %s / %s", p.Part, cmp.Or(p.Legacy, "-"), cmp.Or(p.Enhanced, "-"))
	}
	return strings.Join(texts, ", ")
}
