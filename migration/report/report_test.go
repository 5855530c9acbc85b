package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster/migration"
)

var start = time.Date(2026, 3, 4, 9, 58, 0, 0, time.UTC)

// full returns the data of a migration that has seen everything: legacy, then
// a switch, errors, an automatic rollback, and a switch that failed.
func full() Data {
	d := Data{
		GeneratedAt: start.Add(2 * time.Hour),
		Status: Status{
			Mode: "blue-green", Active: "legacy", Epoch: 14, Legacy: "boltdb", LegacyHost: "n2", Namespace: "default",
			ChangedAt: start.Add(80 * time.Minute), Reason: "automatic rollback", Rollback: "cooldown",
		},
		Comparison: Comparison{
			Comparable: true, LatencyImprovement: 0.62, MemoryIncrease: 1.13, ErrorRateChange: 6.4, Compatible: false,
			Recommendation: "Stay on the legacy system, or go back to it: the enhanced error rate is 6.40 times the legacy one.",
			Issues:         []string{"error rate increase: enhanced / legacy is 6.40, above 1.1"},
		},
		Switches: []Switch{
			{At: start.Add(40 * time.Minute), From: "legacy", To: "enhanced", Epoch: 13, Reason: "rehearsal", GateClosedMS: 84.26, Carried: 3},
			{At: start.Add(80 * time.Minute), From: "enhanced", To: "legacy", Epoch: 14, Reason: "6 % errors", GateClosedMS: 131, Automatic: true},
			{At: start.Add(100 * time.Minute), From: "legacy", To: "enhanced", Epoch: 14, Reason: "again", GateClosedMS: 40, Failed: "not all records agree"},
		},
		MismatchCounts: migration.MismatchCounts{Total: 250, Unexplained: 249, ByOperation: map[string]uint64{"acquire": 250}},
	}
	for i := range 720 {
		p := Point{At: start.Add(time.Duration(i) * 10 * time.Second)}
		wave := 1 + .3*math.Sin(float64(i)/20)
		if i >= 240 && i < 480 {
			p.EnhancedP50, p.EnhancedP95, p.EnhancedP99, p.EnhancedOperations = .004*wave, .011*wave, .03*wave, 1000
			p.EnhancedErrors = uint64(max(0, i-400))
		} else {
			p.LegacyP50, p.LegacyP95, p.LegacyP99, p.LegacyOperations = .009*wave, .018*wave, .05*wave, 900
		}
		p.Divergences = uint64(i / 3)
		d.Series = append(d.Series, p)
	}
	for i := range 250 {
		d.Mismatches = append(d.Mismatches, migration.Mismatch{
			Seq: uint64(250 - i), Time: start, Operation: "acquire", Namespace: "default", Key: fmt.Sprintf("acme/app-%d/./default/", i), Difference: "holder",
			Legacy:   migration.Answer{Status: "held", Holder: "pull request #4 of acme/app"},
			Enhanced: migration.Answer{Status: "held", Holder: "pull request #9 of acme/app"}, Explained: i == 0, Explanation: map[bool]string{true: "rehearsal"}[i == 0],
		})
	}
	return d
}

func mustWrite(tb testing.TB, d Data) string {
	tb.Helper()
	var b bytes.Buffer
	if err := Write(&b, d); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

// The page shows everything there is, and loads nothing.
func TestReport(t *testing.T) {
	page := mustWrite(t, full())
	for _, want := range []string{
		"<!doctype html>", "blue-green", "boltdb on n2", "<dd>14</dd>", "2026-03-04 11:18:00 UTC: automatic rollback", "0.62", "1.13", "6.40",
		"incompatible", "84.3 ms", "automatic: 6 % errors", "failed: not all records agree", "250 in all", "249 not explained",
		"acme/app-0/./default/", "pull request #9 of acme/app", "50 more are not shown", "legacy p99", "enhanced p95", "different answers",
		"prefers-color-scheme: dark", ">10:15<", ">10ms<", ">100ms<",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "acme/app-200/") {
		t.Error("the table has more rows than it may")
	}
	for _, never := range []string{"http:", "https:", "//", "<script", "<link", "url(", "@import", "src=", "NaN", "Inf", "ZgotmplZ", "%!"} {
		if strings.Contains(page, never) {
			t.Errorf("the page has %q", never)
		}
	}
	if to := os.Getenv("LOCKCLUSTER_REPORT_FILE"); to != "" { // to look at
		if err := os.WriteFile(to, []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Every drawing is well formed, and all of it is inside its frame.
func TestDrawings(t *testing.T) {
	drawings := regexp.MustCompile(`(?s)<svg viewBox="0 0 860 240".*?</svg>`).FindAllString(mustWrite(t, full()), -1)
	if len(drawings) != 4 {
		t.Fatalf("%d drawings, want 4", len(drawings))
	}
	point := regexp.MustCompile(`[ML](-?[0-9.]+) (-?[0-9.]+)`)
	points := 0
	for _, d := range drawings {
		if err := xml.Unmarshal([]byte(d), new(struct{})); err != nil {
			t.Errorf("%v in %.200s", err, d)
		}
		for _, m := range point.FindAllStringSubmatch(d, -1) {
			points++
			var x, y float64
			if _, err := fmt.Sscan(m[1], &x); err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Sscan(m[2], &y); err != nil {
				t.Fatal(err)
			}
			if x < plotLeft || x > plotWidth-plotRight+.1 || y < plotTop-.1 || y > plotHeight-plotBottom+.1 {
				t.Fatalf("point %v %v is outside of the frame", x, y)
			}
		}
	}
	if want := 3*720 + 720 + 720; points != want { // one system's percentiles and errors at each moment, and the divergence
		t.Errorf("%d points are drawn, want %d", points, want)
	}
	if bars := strings.Count(drawings[3], "<rect"); bars != 3 {
		t.Errorf("%d switches are drawn, want 3", bars)
	}
}

// Nothing yet, one moment, and moments without figures are drawn too.
func TestReportOfLittle(t *testing.T) {
	page := mustWrite(t, Data{})
	if got := strings.Count(page, "Nothing to show yet."); got != 4 {
		t.Errorf("%d of 4 plots say that they are empty", got)
	}
	one := Data{Series: []Point{{At: start, LegacyP50: .5, LegacyP95: 1, LegacyP99: 1}}, Switches: []Switch{{At: start, To: "enhanced"}}}
	page = mustWrite(t, one)
	if !strings.Contains(page, "<circle") || !strings.Contains(page, "<rect") || strings.Contains(page, "NaN") {
		t.Error("a single moment is not drawn")
	}
	quiet := Data{Series: []Point{{At: start}, {At: start.Add(time.Minute)}}}
	if page = mustWrite(t, quiet); strings.Count(page, "Nothing to show yet.") != 3 || strings.Contains(page, "NaN") {
		t.Error("moments without operations are drawn wrongly")
	}
}

// What came from outside is text on the page, never markup.
func TestReportEscapes(t *testing.T) {
	const evil = `"><script>alert(1)</script>{{.}}`
	d := full()
	d.Status.Mode, d.Status.Reason, d.Comparison.Recommendation = evil, evil, evil
	d.Comparison.Issues = []string{evil}
	d.Switches[0].Reason, d.Switches[0].To, d.Switches[2].Failed = evil, evil, evil
	d.Mismatches[0].Key, d.Mismatches[0].Legacy.Holder, d.Mismatches[0].Explanation = evil, evil, evil
	page := mustWrite(t, d)
	if strings.Contains(page, "<script") || strings.Contains(page, `class=""><`) {
		t.Error("markup from the data is on the page")
	}
	if got := strings.Count(page, "&lt;script&gt;"); got < 9 {
		t.Errorf("the text is shown %d times, want at least 9", got)
	}
}

// The JSON has the names that scripts rely on, and reads back.
func TestReportJSON(t *testing.T) {
	b, err := json.Marshal(full())
	if err != nil {
		t.Fatal(err)
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(b, &top); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"generated_at", "status", "comparison", "series", "switches", "mismatch_counts", "mismatches"} {
		if _, ok := top[name]; !ok {
			t.Errorf("no %q", name)
		}
	}
	var back Data
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if mustWrite(t, back) != mustWrite(t, full()) {
		t.Error("the page of what was read back is another")
	}
}
