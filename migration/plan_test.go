package migration

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func mustPlan(t *testing.T, o PlanOptions, records ...SourceRecord) *Plan {
	t.Helper()
	p, err := BuildPlan(&Source{Records: records}, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func lockRecord(key string, pull int, at time.Time) SourceRecord {
	return SourceRecord{Bucket: BucketLocks, Key: key, Value: lockValue("acme/app", "x", pull, at, "")}
}

// planned returns the pull request that a plan gives the only lock to; 0 for
// none.
func planned(p *Plan) int {
	for _, rec := range p.Records {
		if q, ok := rec.Request.(lockcluster.Acquire); ok {
			return q.Owner.Pull
		}
	}
	return 0
}

// Two records of one lock: one pull request keeps the earliest, two are for a
// person to decide, unless a policy and the times do.
func TestPlanSettlesDoubles(t *testing.T) {
	const present, old = "acme/app/x/default/", "acme/app/x/default"
	later := noon.Add(time.Hour)
	for _, c := range []struct {
		name      string
		policy    ConflictPolicy
		records   []SourceRecord
		pull      int    // who gets the lock
		kept      string // key of the duplicate that is kept
		conflicts int
		complete  bool
	}{
		{"one pull, earliest is the old key's", ConflictFail, []SourceRecord{lockRecord(present, 7, later), lockRecord(old, 7, noon)}, 7, old, 0, true},
		{"one pull, same time", ConflictFail, []SourceRecord{lockRecord(old, 7, noon), lockRecord(present, 7, noon)}, 7, present, 0, true},
		{"two pulls, fail", ConflictFail, []SourceRecord{lockRecord(present, 7, later), lockRecord(old, 8, noon)}, 0, "", 1, false},
		{"two pulls, older", ConflictKeepOlder, []SourceRecord{lockRecord(present, 7, later), lockRecord(old, 8, noon)}, 8, "", 1, true},
		{"two pulls, newer", ConflictKeepNewer, []SourceRecord{lockRecord(present, 7, later), lockRecord(old, 8, noon)}, 7, "", 1, true},
		{"two pulls, same time", ConflictKeepOlder, []SourceRecord{lockRecord(present, 7, noon), lockRecord(old, 8, noon)}, 0, "", 1, false},
		{"two pulls, one without a time", ConflictKeepNewer, []SourceRecord{lockRecord(present, 7, noon), lockRecord(old, 8, time.Time{})}, 0, "", 1, false},
		{"two pulls, one of them twice", ConflictKeepNewer, []SourceRecord{lockRecord(present, 7, noon), lockRecord(old, 8, later), lockRecord("elsewhere", 7, noon.Add(-time.Hour))}, 8, "", 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := mustPlan(t, PlanOptions{OnConflict: c.policy}, c.records...)
			r := p.DryRun()
			if planned(p) != c.pull || len(p.Conflicts) != c.conflicts || r.Complete() != c.complete {
				t.Errorf("pull %d, conflicts %+v, complete %v", planned(p), p.Conflicts, r.Complete())
			}
			if c.kept != "" && (len(p.Duplicates) != 1 || p.Duplicates[0].Kept != c.kept) {
				t.Errorf("duplicates %+v", p.Duplicates)
			}
			if got := len(p.Records) + lostIn(p); c.kept == "" && got != len(c.records) {
				t.Errorf("%d of %d records are accounted for", got, len(c.records))
			}
		})
	}
}

func lostIn(p *Plan) int {
	n := 0
	for _, c := range p.Conflicts {
		n += len(c.lost)
	}
	return n
}

// A record without a host is of any host's pull request, but two hosts are two
// pull requests.
func TestPlanTellsHostsApart(t *testing.T) {
	value := func(host string, at time.Time) []byte {
		b, err := json.Marshal(compat.ProjectLock{
			Project: compat.Project{RepoFullName: "acme/app", Path: "x"}, Workspace: "default", Time: at,
			Pull: compat.PullRequest{Num: 7, BaseRepo: compat.Repo{VCSHost: compat.VCSHost{Hostname: host}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	none := SourceRecord{Bucket: BucketLocks, Key: "a", Value: value("", noon)}
	one := SourceRecord{Bucket: BucketLocks, Key: "b", Value: value("one.example", noon.Add(time.Second))}
	two := SourceRecord{Bucket: BucketLocks, Key: "c", Value: value("two.example", noon.Add(2*time.Second))}
	if p := mustPlan(t, PlanOptions{}, none, one); len(p.Conflicts) != 0 || planned(p) != 7 {
		t.Errorf("unknown and known host: %+v", p.Conflicts)
	}
	if p := mustPlan(t, PlanOptions{}, none, one, two); len(p.Conflicts) != 1 || len(p.Conflicts[0].Candidates) != 3 || planned(p) != 0 {
		t.Errorf("two hosts: %+v", p.Conflicts)
	}
}

// Every record of a bucket is planned, quarantined, a duplicate or in a
// conflict, and the notes say what was concluded.
func TestPlanAccountsForEveryRecord(t *testing.T) {
	pull := func(repo string, num int, status string) []byte {
		return []byte(`{"Projects":[{"Status":` + status + `}],"Pull":{"Num":` + string(rune('0'+num)) + `,"BaseRepo":{"FullName":"` + repo + `","VCSHost":{"Hostname":"h"}}}}`)
	}
	p := mustPlan(t, PlanOptions{},
		lockRecord("acme/app/x/default", 7, noon),
		SourceRecord{Bucket: BucketLocks, Key: "elsewhere", Value: lockValue("acme/other", "y", 1, noon, "")},
		SourceRecord{Bucket: BucketLocks, Key: "nested", Problem: "it is a nested bucket, not a record"},
		SourceRecord{Bucket: BucketLocks, Key: "\xffkey", Value: []byte("CANARY")},
		SourceRecord{Bucket: BucketPulls, Key: "h::r::1", Value: pull("r", 1, "1")},
		SourceRecord{Bucket: BucketPulls, Key: "misplaced", Value: pull("r", 1, "2")},
		SourceRecord{Bucket: BucketPulls, Key: "same", Value: pull("r", 1, "1")},
		SourceRecord{Bucket: BucketPulls, Key: "also misplaced", Value: pull("r", 2, "1")},
		SourceRecord{Bucket: BucketPulls, Key: "nested", Problem: "it is a nested bucket, not a record"},
		SourceRecord{Bucket: BucketCommandLocks, Key: "apply/lock", Value: []byte(`{"LockMetadata":{"UnixTime":1},"CommandName":0}`)},
		SourceRecord{Bucket: BucketCommandLocks, Key: "plan/lock", Value: []byte(`{"LockMetadata":{"UnixTime":1},"CommandName":5}`)},
		SourceRecord{Bucket: BucketCommandLocks, Key: "unlock/lock", Value: []byte(`{"LockMetadata":{"UnixTime":1},"CommandName":1}`)},
	)
	var identities, quarantined []string
	for _, rec := range p.Records {
		identities = append(identities, rec.Identity)
	}
	for _, q := range p.Quarantined {
		quarantined = append(quarantined, q.Bucket+" "+q.Key)
		if strings.Contains(q.Reason, "CANARY") || (q.Key == "\xffkey") != (q.KeyHex == "ff6b6579") {
			t.Errorf("%+v", q)
		}
	}
	sameStrings(t, "planned", identities, []string{"apply", "plan", "acme/app/x/default/", "acme/other/y/default/", "h::r::1", "h::r::2"})
	sameStrings(t, "quarantined", quarantined, []string{
		"runLocks nested", "runLocks \xffkey", "pulls misplaced", "pulls nested", "globalLocks unlock/lock",
	})
	if len(p.Duplicates) != 1 || !slices.Equal(p.Duplicates[0].Dropped, []string{"same"}) {
		t.Errorf("duplicates %+v", p.Duplicates)
	}
	about := map[string]string{}
	for _, n := range p.Notes {
		about[n.Key] = strings.Join(n.About, "; ")
	}
	if about["acme/app/x/default"] != oldKeyText || about["elsewhere"] != disagreeingText || about["also misplaced"] != disagreeingText {
		t.Errorf("notes %+v", p.Notes)
	}
	if identities[0] != "apply" {
		t.Error("the command locks do not come first")
	}
}

// The notes on the records of old eras say what an operator has to know.
func TestPlanNotesEras(t *testing.T) {
	r, err := ImportBolt(t.Context(), nil, BoltImport{File: mustFixture(t, "atlantis-eras").file, DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	about := map[string][]string{}
	for _, n := range r.Notes {
		about[n.Identity] = n.About
	}
	for identity, u := range map[string]compat.Uncertain{
		"old/one/./staging/":         compat.UncertainWorkspace,
		"old/two/dir/default/":       compat.UncertainHost,
		"github.com::acme/policy::9": compat.UncertainApprovals,
	} {
		if !slices.Contains(about[identity], uncertainTexts[u]) {
			t.Errorf("%s: %q", identity, about[identity])
		}
	}
	if !slices.Equal(r.IgnoredBuckets, []string{"somebodyElse"}) {
		t.Errorf("ignored %q", r.IgnoredBuckets)
	}
}

// Wrong options are an error, before anything is planned.
func TestPlanOptionsAreChecked(t *testing.T) {
	for _, o := range []PlanOptions{{Namespace: "a/b"}, {OnConflict: 9}} {
		if _, err := BuildPlan(&Source{}, o); !errors.Is(err, lockcluster.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, from := range []string{"", "boltdb", "boltdb:", "redis://x", "/a/b"} {
		if _, _, err := ParseSource(from); !errors.Is(err, lockcluster.ErrInvalid) {
			t.Errorf("%q: %v", from, err)
		}
	}
	if _, path, err := ParseSource("boltdb:/a:b"); err != nil || path != "/a:b" {
		t.Errorf("got %q, %v", path, err)
	}
	for _, p := range []ConflictPolicy{ConflictFail, ConflictKeepOlder, ConflictKeepNewer} {
		if got, err := ParseConflictPolicy(p.String()); err != nil || got != p {
			t.Errorf("%v leads to %v, %v", p, got, err)
		}
	}
}

// Whatever the keys and values, planning them accounts for each, makes
// requests that the rules accept, depends on no order, and shows no value.
func FuzzPlanValues(f *testing.F) {
	f.Add("acme/app/x/default", lockValue("acme/app", "x", 7, noon, ""), "acme/app/x/default/", lockValue("acme/app", "x", 8, noon, ""), uint8(0))
	f.Add("h::r::1", []byte(`{"Pull":{"Num":1,"BaseRepo":{"FullName":"r","VCSHost":{"Hostname":"h"}}}}`), "x", []byte("{"), uint8(1))
	f.Add("apply/lock", []byte(`{"LockMetadata":{"UnixTime":1},"CommandName":0}`), "plan/lock", []byte(`{"CommandName":5}`), uint8(5))
	f.Fuzz(func(t *testing.T, key1 string, value1 []byte, key2 string, value2 []byte, mode uint8) {
		if key1 == key2 {
			t.Skip()
		}
		bucket := []string{BucketLocks, BucketPulls, BucketCommandLocks}[mode%3]
		o := PlanOptions{OnConflict: ConflictPolicy(mode / 3 % 3), RedactCredentials: mode >= 128}
		a := SourceRecord{Bucket: bucket, Key: key1, Value: value1}
		b := SourceRecord{Bucket: bucket, Key: key2, Value: value2}
		p := mustPlan(t, o, a, b)
		dropped := 0
		for _, d := range p.Duplicates {
			dropped += len(d.Dropped)
		}
		if n := len(p.Records) + len(p.Quarantined) + dropped + lostIn(p); n != 2 {
			t.Fatalf("%d of 2 records are accounted for: %+v", n, p)
		}
		c := newCluster()
		r, err := Importer{Cluster: c}.Import(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		other := mustPlan(t, o, b, a).DryRun()
		if len(r.Conflicts) == len(p.Conflicts) && other.Digest != r.Digest {
			t.Fatal("the order of the records changes the digest")
		}
		if _, err := json.Marshal(r); err != nil {
			t.Fatal(err)
		}
	})
}
