package harness

import "strings"

// oursPrefix begins the names of the systems that targets are set for.
const oursPrefix = "lockcluster-"

// target is a ratio to the reference that a system of ours has to reach.
type target struct {
	workload string
	what     string
	limit    float64
	atMost   bool // the ratio may not exceed the limit; else it may not fall below it
	ratio    func(Row) *Spread
	applies  func(system string) bool
}

func throughput(r Row) *Spread   { return r.Throughput }
func latency(r Row) *Spread      { return r.Latency }
func tryLock(r Row) *Spread      { return r.TryLock }
func everyDoor(name string) bool { return strings.HasPrefix(name, oursPrefix) }

// targets are the first column of performance.md section 1.
var targets = []target{
	{"pairs-1", "pairs/s", 1.2, false, throughput, everyDoor},
	{"pairs-16", "pairs/s", 1.4, false, throughput, everyDoor},
	{"pairs-64", "pairs/s", 1.8, false, throughput, everyDoor},
	{"pairs-256", "pairs/s", 2.2, false, throughput, everyDoor},
	{"pairs-1", "TryLock p50", 1, true, tryLock, everyDoor},
	{"read-64", "reads/s", 1.5, false, throughput, everyDoor},
	{"list-1", "list p50", 1, true, latency, everyDoor},
}

// Verdict is what became of one target.
type Verdict struct {
	Workload string  `json:"workload"`
	System   string  `json:"system"`
	What     string  `json:"what"`
	Ratio    Spread  `json:"ratio"`
	Limit    float64 `json:"limit"`
	AtMost   bool    `json:"at_most"`
	Pass     bool    `json:"pass"`
}

// judge compares the median ratios with the targets. Rows that were not
// measured, or not beside the reference, are not judged.
func judge(rows []Row) []Verdict {
	var vs []Verdict
	for _, t := range targets {
		for _, r := range rows {
			if r.Workload != t.workload || !t.applies(r.System) {
				continue
			}
			ratio := t.ratio(r)
			if ratio == nil {
				continue
			}
			pass := ratio.Median >= t.limit
			if t.atMost {
				pass = ratio.Median <= t.limit
			}
			vs = append(vs, Verdict{Workload: t.workload, System: r.System, What: t.what, Ratio: *ratio, Limit: t.limit, AtMost: t.atMost, Pass: pass})
		}
	}
	return vs
}
