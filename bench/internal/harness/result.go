package harness

import (
	"slices"
	"time"
)

// Reference is the system that ratios are taken to.
const Reference = "etcd"

// Result is everything a run has measured.
type Result struct {
	Started     time.Time    `json:"started"`
	Machine     Machine      `json:"machine"`
	Rounds      int          `json:"rounds"`
	CellSeconds float64      `json:"cell_seconds"`
	Systems     []SystemInfo `json:"systems"`
	Cells       []Cell       `json:"cells"`
	Noise       []Noise      `json:"noise"`
	Rows        []Row        `json:"rows"`
	Verdicts    []Verdict    `json:"verdicts"`
}

// SystemInfo says what a system is and how it is used.
type SystemInfo struct {
	Name       string `json:"name"`
	Deployment string `json:"deployment"`
	Operations string `json:"operations"`
}

// Row is one system on one workload over all rounds.
type Row struct {
	Workload   string  `json:"workload"`
	System     string  `json:"system"`
	Rounds     int     `json:"rounds"`
	PerSecond  Spread  `json:"per_second"`
	P50        float64 `json:"p50_ms"` // median of the rounds' p50
	P99        float64 `json:"p99_ms"` // median of the rounds' p99
	TryLockP50 float64 `json:"trylock_p50_ms,omitempty"`
	ServerCPU  float64 `json:"server_cpu_us_per_op"` // medians, as all of these
	ClientCPU  float64 `json:"client_cpu_us_per_op"`
	Errors     int     `json:"errors,omitempty"`
	// The ratios to the reference in the same round, nil without a reference.
	Throughput *Spread `json:"ratio_per_second,omitempty"`
	Latency    *Spread `json:"ratio_p50,omitempty"`
	TryLock    *Spread `json:"ratio_trylock_p50,omitempty"`
}

// Spread is a median with the smallest and largest value.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spread(values []float64) Spread {
	return Spread{Median: median(values), Min: slices.Min(values), Max: slices.Max(values)}
}

// Summarize fills Rows and Verdicts from Cells.
func (r *Result) Summarize(workloads []Workload) {
	r.Rows, r.Verdicts = nil, nil
	for _, w := range workloads {
		for _, s := range r.Systems {
			if row, ok := r.row(w.Name(), s.Name); ok {
				r.Rows = append(r.Rows, row)
			}
		}
	}
	r.Verdicts = judge(r.Rows)
}

func (r *Result) row(workload, system string) (Row, bool) {
	row := Row{Workload: workload, System: system}
	var perSecond, p50, p99, tryLock, ratio, ratioP50, ratioTryLock, server, client []float64
	for _, c := range r.Cells {
		if c.Workload != workload || c.System != system {
			continue
		}
		perSecond, p50, p99 = append(perSecond, c.PerSecond), append(p50, c.P50), append(p99, c.P99)
		tryLock = append(tryLock, c.TryLockP50)
		server, client = append(server, c.ServerCPU), append(client, c.ClientCPU)
		row.Errors += c.Errors
		ref, ok := r.cell(workload, Reference, c.Round)
		if !ok {
			continue
		}
		ratio, ratioP50 = append(ratio, c.PerSecond/ref.PerSecond), append(ratioP50, c.P50/ref.P50)
		if ref.TryLockP50 > 0 {
			ratioTryLock = append(ratioTryLock, c.TryLockP50/ref.TryLockP50)
		}
	}
	if len(perSecond) == 0 {
		return row, false
	}
	row.Rounds = len(perSecond)
	row.PerSecond, row.P50, row.P99, row.TryLockP50 = spread(perSecond), median(p50), median(p99), median(tryLock)
	row.ServerCPU, row.ClientCPU = median(server), median(client)
	row.Throughput, row.Latency, row.TryLock = spreadIfAny(ratio), spreadIfAny(ratioP50), spreadIfAny(ratioTryLock)
	return row, true
}

func spreadIfAny(values []float64) *Spread {
	if len(values) == 0 {
		return nil
	}
	s := spread(values)
	return &s
}

func (r *Result) cell(workload, system string, round int) (Cell, bool) {
	at := slices.IndexFunc(r.Cells, func(c Cell) bool {
		return c.Workload == workload && c.System == system && c.Round == round
	})
	if at < 0 {
		return Cell{}, false
	}
	return r.Cells[at], true
}

// Errors counts the failed operations of all cells.
func (r *Result) Errors() int {
	n := 0
	for _, c := range r.Cells {
		n += c.Errors
	}
	return n
}
