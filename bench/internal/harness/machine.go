package harness

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Machine is where the figures come from.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Dir    string `json:"dir"`
	Load   string `json:"load"` // processes that wanted to run, over 1, 5 and 15 minutes, at the start
}

// Noise is what the machine was like just before a round: how busy other work
// kept it, and how long one durable write took.
type Noise struct {
	Workload    string  `json:"workload"`
	Round       int     `json:"round"`
	BusyPercent float64 `json:"busy_percent"`
	SyncP50     float64 `json:"sync_p50_ms"`
	SyncMax     float64 `json:"sync_max_ms"`
}

// DescribeMachine looks at the machine that dir is on.
func DescribeMachine(dir string) Machine {
	m := Machine{CPU: "unknown", Load: "unknown", Cores: runtime.NumCPU(), Kernel: "unknown", Go: runtime.Version(), Dir: dir}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load = strings.Join(strings.Fields(string(b))[:3], " ")
	}
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for sc := bufio.NewScanner(f); sc.Scan(); {
			if k, v, ok := strings.Cut(sc.Text(), ":"); ok && strings.TrimSpace(k) == "model name" {
				m.CPU = strings.TrimSpace(v)
				break
			}
		}
	}
	return m
}

// probe takes a quarter of a second to look at the CPU and the disk.
func probe(dir string) (Noise, error) {
	var n Noise
	idle0, total0 := cpuTimes()
	time.Sleep(200 * time.Millisecond)
	if idle, total := cpuTimes(); total > total0 {
		n.BusyPercent = 100 * (1 - float64(idle-idle0)/float64(total-total0))
	}
	f, err := os.Create(filepath.Join(dir, "sync-probe"))
	if err != nil {
		return n, fmt.Errorf("probe the disk: %w", err)
	}
	defer f.Close()
	var took []float64
	block := make([]byte, 4096)
	for range 30 {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return n, fmt.Errorf("probe the disk: %w", err)
		}
		if err := f.Sync(); err != nil {
			return n, fmt.Errorf("probe the disk: %w", err)
		}
		took = append(took, millis(time.Since(start)))
	}
	slices.Sort(took)
	n.SyncP50, n.SyncMax = quantile(took, 0.5), quantile(took, 1)
	return n, nil
}

// cpuTimes returns the idle and the total ticks of all cores since boot, zero
// where the kernel does not tell.
func cpuTimes() (idle, total uint64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(line)
	if len(fields) < 6 {
		return 0, 0
	}
	for i, text := range fields[1:] {
		var ticks uint64
		if _, err := fmt.Sscan(text, &ticks); err != nil {
			return 0, 0
		}
		if i == 3 || i == 4 { // idle, iowait
			idle += ticks
		}
		total += ticks
	}
	return idle, total
}

// String says it in one line.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, kernel %s, %s, load %s, data in %s", m.CPU, m.Cores, m.Kernel, m.Go, m.Load, m.Dir)
}
