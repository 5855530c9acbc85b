package report

import (
	"time"

	"github.com/lockcluster/lockcluster/migration"
)

// Data is what a report shows. Its JSON fields are relied on by scripts.
type Data struct {
	GeneratedAt    time.Time                `json:"generated_at"`
	Status         Status                   `json:"status"`
	Comparison     Comparison               `json:"comparison"`
	Series         []Point                  `json:"series"`   // oldest first
	Switches       []Switch                 `json:"switches"` // oldest first
	MismatchCounts migration.MismatchCounts `json:"mismatch_counts"`
	Mismatches     []migration.Mismatch     `json:"mismatches"` // newest first
}

// Status is where the migration is.
type Status struct {
	Mode       string    `json:"mode"`
	Active     string    `json:"active_system"` // empty when it differs from key to key
	Epoch      uint64    `json:"epoch"`
	Legacy     string    `json:"legacy"` // kind of the attached legacy system, empty for none
	LegacyHost string    `json:"legacy_host,omitempty"`
	Namespace  string    `json:"namespace"`
	Percentage uint32    `json:"percentage"`
	GateClosed bool      `json:"gate_closed"`
	ChangedAt  time.Time `json:"changed_at,omitzero"`
	Reason     string    `json:"reason,omitempty"`
	Rollback   string    `json:"rollback,omitempty"` // what the automatic rollback is at
}

// Comparison is how the enhanced system does beside the legacy one. The ratios
// are enhanced / legacy: below 1 is better.
type Comparison struct {
	Comparable         bool     `json:"comparable"` // both had enough operations
	LatencyImprovement float64  `json:"latency_improvement"`
	MemoryIncrease     float64  `json:"memory_increase"`
	ErrorRateChange    float64  `json:"error_rate_change"`
	Recommendation     string   `json:"recommendation"`
	Compatible         bool     `json:"compatible"` // the health check's verdict
	Issues             []string `json:"issues"`
}

// Point is one moment of the course; latencies are in seconds. Its fields are
// those of a point of compat/health, so that one converts to the other.
type Point struct {
	At                 time.Time `json:"at"`
	LegacyP50          float64   `json:"legacy_p50_seconds"`
	LegacyP95          float64   `json:"legacy_p95_seconds"`
	LegacyP99          float64   `json:"legacy_p99_seconds"`
	EnhancedP50        float64   `json:"enhanced_p50_seconds"`
	EnhancedP95        float64   `json:"enhanced_p95_seconds"`
	EnhancedP99        float64   `json:"enhanced_p99_seconds"`
	LegacyOperations   uint64    `json:"legacy_operations"`
	LegacyErrors       uint64    `json:"legacy_errors"`
	EnhancedOperations uint64    `json:"enhanced_operations"`
	EnhancedErrors     uint64    `json:"enhanced_errors"`
	Divergences        uint64    `json:"divergences"` // since the start
}

// Switch is one change of the active system, or an attempt at one.
type Switch struct {
	At           time.Time `json:"at"`
	From         string    `json:"from"`
	To           string    `json:"to"`
	Epoch        uint64    `json:"epoch"`
	Reason       string    `json:"reason"`
	GateClosedMS float64   `json:"gate_closed_ms"`
	Carried      int       `json:"carried"` // records that the target had to be given
	Automatic    bool      `json:"automatic"`
	Failed       string    `json:"failed,omitempty"` // why it did not happen; empty if it did
}
