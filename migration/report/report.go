package report

import (
	"bytes"
	_ "embed" // the page
	"fmt"
	"html/template"
	"io"
	"math"
	"strconv"
	"time"
)

// mismatchesShown bounds the table of differences: a page is for people.
const mismatchesShown = 200

//go:embed page.html
var page string

// Write writes the page. Nothing is written if d cannot be drawn.
func Write(w io.Writer, d Data) error {
	t, err := template.New("report").Funcs(template.FuncMap{"time": showTime, "ratio": showRatio, "ms": showMilliseconds}).Parse(page)
	if err != nil {
		return fmt.Errorf("parse the report's page: %w", err)
	}
	view := struct {
		Data
		Plots   []plot
		Omitted int // differences that the table leaves out
	}{Data: d, Plots: plots(d)}
	if n := len(d.Mismatches); n > mismatchesShown {
		view.Mismatches, view.Omitted = d.Mismatches[:mismatchesShown], n-mismatchesShown
	}
	var body bytes.Buffer
	if err := t.Execute(&body, view); err != nil {
		return fmt.Errorf("draw the report: %w", err)
	}
	_, err = w.Write(body.Bytes())
	return err
}

func plots(d Data) []plot {
	times := make([]time.Time, len(d.Series))
	for i, p := range d.Series {
		times[i] = p.At
	}
	collect := func(name, class string, f func(Point) float64) series {
		s := series{name: name, class: class, values: make([]float64, len(d.Series))}
		for i, p := range d.Series {
			s.values[i] = f(p)
		}
		return s
	}
	return []plot{
		drawLines("Latency", "p50, p95 and p99 latency of both systems over time, on a logarithmic scale", times, []series{
			collect("legacy p50", "legacy p50", func(p Point) float64 { return positive(p.LegacyP50) }),
			collect("legacy p95", "legacy p95", func(p Point) float64 { return positive(p.LegacyP95) }),
			collect("legacy p99", "legacy p99", func(p Point) float64 { return positive(p.LegacyP99) }),
			collect("enhanced p50", "enhanced p50", func(p Point) float64 { return positive(p.EnhancedP50) }),
			collect("enhanced p95", "enhanced p95", func(p Point) float64 { return positive(p.EnhancedP95) }),
			collect("enhanced p99", "enhanced p99", func(p Point) float64 { return positive(p.EnhancedP99) }),
		}, true, showSeconds),
		drawLines("Failed operations", "share of the operations of each system that failed, over time", times, []series{
			collect("legacy", "legacy p50", func(p Point) float64 { return share(p.LegacyErrors, p.LegacyOperations) }),
			collect("enhanced", "enhanced p50", func(p Point) float64 { return share(p.EnhancedErrors, p.EnhancedOperations) }),
		}, false, showShare),
		drawLines("Divergence", "number of operations that the systems answered differently, over time", times, []series{
			collect("different answers", "divergence", func(p Point) float64 { return float64(p.Divergences) }),
		}, false, showCount),
		drawSwitches(d.Switches),
	}
}

// drawSwitches draws how long each switch kept the gate closed.
func drawSwitches(switches []Switch) plot {
	p := plot{Title: "Gate closed", About: "how long requests waited at each switch"}
	if len(switches) == 0 {
		p.Empty = true
		return p
	}
	from, to := switches[0].At, switches[len(switches)-1].At
	margin := max(to.Sub(from)/20, 30*time.Second)
	from, to = from.Add(-margin), to.Add(margin)
	x := timeScale(from, to)
	var high float64
	for _, s := range switches {
		high = math.Max(high, s.GateClosedMS)
	}
	y := verticalScale(0, high, false)
	for _, s := range switches {
		top := y.at(s.GateClosedMS)
		b := bar{
			X: coordinate(x.at(s.At.Sub(from).Seconds()) - 3), Y: coordinate(top), Height: coordinate(y.from - top), Class: s.To,
			Label: fmt.Sprintf("%s to %s: %s", showTime(s.At), s.To, showMilliseconds(s.GateClosedMS)),
		}
		if s.Failed != "" {
			b.Class, b.Label = "failed", b.Label+", failed"
		}
		p.Bars = append(p.Bars, b)
	}
	p.XTicks, p.YTicks = timeTicks(from, to, x), valueTicks(y, showMilliseconds)
	return p
}

// positive makes a gap of a latency that was not measured.
func positive(v float64) float64 {
	if v <= 0 {
		return math.NaN()
	}
	return v
}

func share(part, whole uint64) float64 {
	if whole == 0 {
		return math.NaN()
	}
	return float64(part) / float64(whole)
}

func showTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func showRatio(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }

// showCount writes a number of things; there is no quarter of one.
func showCount(v float64) string {
	if v != math.Trunc(v) {
		return ""
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

func showShare(v float64) string { return strconv.FormatFloat(100*v, 'g', 3, 64) + " %" }

func showMilliseconds(v float64) string {
	return strconv.FormatFloat(math.Round(10*v)/10, 'f', -1, 64) + " ms"
}

// showSeconds writes a latency in the unit that fits.
func showSeconds(v float64) string {
	return time.Duration(math.Round(v * float64(time.Second))).String()
}
