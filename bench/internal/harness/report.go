package harness

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// WriteJSON writes the whole result.
func (r *Result) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// WriteTable writes the result for people: what was measured, every round, the
// medians with their ratios, and the verdicts.
func (r *Result) WriteTable(w io.Writer, workloads []Workload) error {
	r.writeHead(w)
	for _, wl := range workloads {
		if err := r.writeWorkload(w, wl); err != nil {
			return err
		}
	}
	return r.writeVerdicts(w)
}

func (r *Result) writeHead(w io.Writer) {
	fmt.Fprintf(w, "\nlockbench, %s\n%s\n", r.Started.Format("2006-01-02 15:04 MST"), r.Machine)
	fmt.Fprintf(w, "%d rounds of %g s a cell; all systems, the clients and the disk share this machine\n\n", r.Rounds, r.CellSeconds)
	for _, s := range r.Systems {
		fmt.Fprintf(w, "%s\n    runs:   %s\n    client: %s\n", s.Name, s.Deployment, s.Operations)
	}
}

func (r *Result) writeWorkload(w io.Writer, wl Workload) error {
	fmt.Fprintf(w, "\n== %s: %s\n", wl.Name(), wl.Title())
	for _, n := range r.Noise {
		if n.Workload == wl.Name() {
			fmt.Fprintf(w, "   before round %d: CPU %.0f %% busy, one 4 KiB write and fsync p50 %.2f ms, worst of 30 %.2f ms\n", n.Round, n.BusyPercent, n.SyncP50, n.SyncMax)
		}
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "system\tper second, median [min-max]\teach round\tp50 ms\tp99 ms\tTryLock p50 ms\tratio to "+Reference+" [min-max]\tp50 ratio\tCPU us an op: servers\tclients\t\n")
	for _, row := range r.Rows {
		if row.Workload != wl.Name() {
			continue
		}
		fmt.Fprintf(tw, "%s\t%.0f [%.0f-%.0f]\t%s\t%s\t%s\t%s\t%s\t%s\t%.0f\t%.0f\t\n", row.System,
			row.PerSecond.Median, row.PerSecond.Min, row.PerSecond.Max, r.roundsText(row), msText(row.P50), msText(row.P99),
			msText(row.TryLockP50), ratioText(row.Throughput), ratioText(row.Latency), row.ServerCPU, row.ClientCPU)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, row := range r.Rows {
		if row.Workload == wl.Name() && row.Errors > 0 {
			fmt.Fprintf(w, "   ! %s: %d operations failed and are not counted\n", row.System, row.Errors)
		}
	}
	return nil
}

func (r *Result) roundsText(row Row) string {
	text := ""
	for _, c := range r.Cells {
		if c.Workload == row.Workload && c.System == row.System {
			text += fmt.Sprintf(" %.0f", c.PerSecond)
		}
	}
	return text
}

// msText shows milliseconds with as many digits as they deserve.
func msText(ms float64) string {
	switch {
	case ms == 0:
		return "-"
	case ms < 0.1:
		return fmt.Sprintf("%.4f", ms)
	default:
		return fmt.Sprintf("%.2f", ms)
	}
}

func ratioText(s *Spread) string {
	if s == nil {
		return "-"
	}
	if s.Max < 0.1 {
		return fmt.Sprintf("%.4f", s.Median)
	}
	return fmt.Sprintf("%.2f [%.2f-%.2f]", s.Median, s.Min, s.Max)
}

func (r *Result) writeVerdicts(w io.Writer) error {
	if len(r.Verdicts) == 0 {
		fmt.Fprintf(w, "\nNo target was judged: that needs a %s* system and %s in one run.\n", oursPrefix, Reference)
		return nil
	}
	fmt.Fprintf(w, "\n== targets (ratio to %s in the same round, median over the rounds)\n", Reference)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range r.Verdicts {
		sign, word := ">=", "PASS"
		if v.AtMost {
			sign = "<="
		}
		if !v.Pass {
			word = "FAIL"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\twant %s %.2f\n", word, v.Workload, v.What, v.System, ratioText(&v.Ratio), sign, v.Limit)
	}
	return tw.Flush()
}
