package harness

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster/bench/internal/system"
)

// Quantiles are values that were measured, by the nearest rank.
func TestQuantile(t *testing.T) {
	var hundred []float64
	for i := range 100 {
		hundred = append(hundred, float64(i+1))
	}
	for q, want := range map[float64]float64{0.5: 50, 0.99: 99, 1: 100} {
		if got := quantile(hundred, q); got != want {
			t.Errorf("quantile %g: %g, want %g", q, got, want)
		}
	}
	if got := quantile([]float64{7}, 0.99); got != 7 {
		t.Errorf("quantile of one value: %g", got)
	}
	if got := quantile[float64](nil, 0.5); got != 0 {
		t.Errorf("quantile of none: %g", got)
	}
}

// The ratio is the median of the rounds' ratios, not the ratio of medians.
func TestRatioIsTakenWithinARound(t *testing.T) {
	r := &Result{Systems: []SystemInfo{{Name: Reference}, {Name: "lockcluster-grpc"}}}
	for i, v := range [][2]float64{{100, 300}, {200, 400}, {1000, 1100}} {
		r.Cells = append(r.Cells,
			Cell{Workload: "pairs-64", System: Reference, Round: i + 1, PerSecond: v[0], P50: 1},
			Cell{Workload: "pairs-64", System: "lockcluster-grpc", Round: i + 1, PerSecond: v[1], P50: 1})
	}
	r.Summarize([]Workload{{Pairs, 64}})
	if got := r.Rows[1].Throughput; got == nil || got.Median != 2 || got.Min != 1.1 || got.Max != 3 {
		t.Errorf("ratio %+v, want 2 [1.1-3]", got)
	}
	if len(r.Verdicts) != 1 || !r.Verdicts[0].Pass {
		t.Errorf("verdicts %+v, want one pass", r.Verdicts)
	}
}

// A target of "at most" fails when the ratio is above it, and systems that are
// not ours are not judged.
func TestJudge(t *testing.T) {
	slow := &Spread{Median: 1.2}
	vs := judge([]Row{
		{Workload: "list-1", System: "lockcluster-grpc", Latency: slow},
		{Workload: "list-1", System: "redis", Latency: slow},
		{Workload: "pairs-1", System: "lockcluster-redis", Throughput: slow, TryLock: &Spread{Median: 0.9}},
	})
	var got []string
	for _, v := range vs {
		got = append(got, v.System+" "+v.What+map[bool]string{true: " pass", false: " fail"}[v.Pass])
	}
	want := "lockcluster-redis pairs/s pass, lockcluster-redis TryLock p50 pass, lockcluster-grpc list p50 fail"
	if strings.Join(got, ", ") != want {
		t.Errorf("got %v\nwant %s", got, want)
	}
}

// Workloads that cannot be meant are refused with what is right.
func TestParseWorkloads(t *testing.T) {
	if ws, err := ParseWorkloads(DefaultWorkloads); err != nil || len(ws) != 7 {
		t.Errorf("defaults: %v, %v", ws, err)
	}
	for _, bad := range []string{"", "pairs", "pairs-0", "pairs-x", "writes-4", "read-99999"} {
		if _, err := ParseWorkloads(bad); err == nil || !strings.Contains(err.Error(), "pairs-N") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A whole run over the bbolt file gives every cell, in turn, and a table and
// JSON of them; nothing is judged without the reference. The cells are long, so
// that one stall of the disk does not leave one empty.
func TestRunMeasuresEveryCell(t *testing.T) {
	ws := []Workload{{Pairs, 2}, {Reads, 2}, {Lists, 1}}
	res, err := Run(t.Context(), Plan{
		Systems: []system.System{system.NewBolt()}, Workloads: ws, Rounds: 2, Cell: 2 * time.Second, Dir: t.TempDir(), Progress: io.Discard,
	})
	if err != nil {
		t.Fatal(err)
	}
	res.Summarize(ws)
	if len(res.Cells) != 6 || len(res.Rows) != 3 || len(res.Verdicts) != 0 || res.Errors() != 0 {
		t.Errorf("%d cells, %d rows, %d verdicts, %d errors", len(res.Cells), len(res.Rows), len(res.Verdicts), res.Errors())
	}
	var table, js bytes.Buffer
	if err := errors.Join(res.WriteTable(&table, ws), res.WriteJSON(&js)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "No target was judged") || !strings.Contains(js.String(), `"per_second"`) {
		t.Errorf("table:\n%s", &table)
	}
}

// A run whose context ends stops its systems and says why.
func TestRunStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := system.NewBolt()
	_, err := Run(ctx, Plan{
		Systems: []system.System{b}, Workloads: []Workload{{Pairs, 1}}, Rounds: 1, Cell: time.Hour, Dir: t.TempDir(),
		Progress: writerFunc(func(p []byte) (int, error) {
			if bytes.HasPrefix(p, []byte("starting")) {
				time.AfterFunc(300*time.Millisecond, cancel)
			}
			return len(p), nil
		}),
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v, want that it was cancelled", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
