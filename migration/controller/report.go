package controller

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/lockcluster/lockcluster/compat/health"
	"github.com/lockcluster/lockcluster/migration/report"
)

// Health is the figures that go with a [Status], from the leader.
type Health struct {
	Answer   health.MetricsAnswer  `json:"figures"`
	Series   []health.Point        `json:"series"`
	Rollback health.RollbackStatus `json:"rollback"`
}

// ReportOf makes the report of a status.
func ReportOf(s *Status) report.Data {
	var h Health
	_ = json.Unmarshal(s.Health, &h) // absent figures are shown as none
	p := h.Answer.Performance
	d := report.Data{
		GeneratedAt: time.Now().UTC().Round(time.Second),
		Status: report.Status{
			Mode: s.Mode, Active: s.ActiveSystem, Epoch: s.Epoch, Legacy: s.Legacy.Kind, LegacyHost: s.Legacy.Host,
			Namespace: s.Namespace, Percentage: s.Percentage, GateClosed: s.GateClosed, ChangedAt: s.Since, Reason: s.Reason,
			Rollback: string(h.Rollback.State),
		},
		Comparison: report.Comparison{
			Comparable: p.Comparable, LatencyImprovement: p.LatencyImprovement, MemoryIncrease: p.MemoryIncrease,
			ErrorRateChange: p.ErrorRateChange, Recommendation: p.Recommendation,
			Compatible: h.Answer.Health.Compatible, Issues: h.Answer.Health.Issues,
		},
		MismatchCounts: s.Shadow.MismatchCounts, Mismatches: s.Mismatches,
	}
	for _, point := range h.Series {
		d.Series = append(d.Series, report.Point(point))
	}
	for _, one := range s.Switches {
		d.Switches = append(d.Switches, report.Switch{
			At: one.Time, From: one.From, To: one.To, Epoch: one.Epoch, Reason: one.Reason, GateClosedMS: one.GateClosedMS,
			Carried: one.Carried, Automatic: strings.HasPrefix(one.Reason, "automatic rollback"), Failed: one.Error,
		})
	}
	return d
}
