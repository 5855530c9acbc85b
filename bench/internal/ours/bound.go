package ours

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Bound is a target of performance.md section 1 and what became of it.
type Bound struct {
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Limit float64 `json:"limit"`
	Unit  string  `json:"unit"`
	Pass  bool    `json:"pass"`
}

func atMost(what string, value, limit float64, unit string) Bound {
	return Bound{What: what, Value: value, Limit: limit, Unit: unit, Pass: value <= limit}
}

func writeBounds(w io.Writer, bounds []Bound) error {
	fmt.Fprint(w, "\n== targets\n")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, b := range bounds {
		word := "PASS"
		if !b.Pass {
			word = "FAIL"
		}
		fmt.Fprintf(tw, "%s\t%s\t%.4g %s\twant <= %.4g\n", word, b.What, b.Value, b.Unit, b.Limit)
	}
	return tw.Flush()
}

// Missed reports whether one of the bounds was.
func Missed(bounds []Bound) bool {
	return slices.ContainsFunc(bounds, func(b Bound) bool { return !b.Pass })
}

// Times are repeated measurements in milliseconds, with what is said of them.
type Times struct {
	Each   []float64 `json:"each_ms"`
	Median float64   `json:"median_ms"`
	P95    float64   `json:"p95_ms"`
	Worst  float64   `json:"worst_ms"`
}

func timesOf(ds []time.Duration) Times {
	var t Times
	for _, d := range ds {
		t.Each = append(t.Each, ms(d))
	}
	if len(ds) == 0 {
		return t
	}
	sorted := slices.Sorted(slices.Values(t.Each))
	n := len(sorted)
	t.Median = (sorted[(n-1)/2] + sorted[n/2]) / 2
	t.P95, t.Worst = sorted[(n*95+99)/100-1], sorted[n-1]
	return t
}

func (t Times) String() string {
	return fmt.Sprintf("median %.4g ms, p95 %.4g ms, worst %.4g ms of %d", t.Median, t.P95, t.Worst, len(t.Each))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
