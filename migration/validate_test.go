package migration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
)

// mustRead reads a database's records.
func mustRead(t *testing.T, file string) *Source {
	t.Helper()
	c, err := CopyBolt(t.Context(), file, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	src, err := ReadBolt(c)
	if err := errors.Join(err, c.Close()); err != nil {
		t.Fatal(err)
	}
	return src
}

// found lists the findings of a report, one "key: severity kind" each, without
// notes.
func found(r *ValidationReport) []string {
	var out []string
	for _, rec := range r.Records {
		for _, f := range rec.Findings {
			if f.Severity != SeverityNote {
				out = append(out, fmt.Sprintf("%s: %s %s", rec.Key, f.Severity, f.Kind))
			}
		}
	}
	return out
}

// A database of the present is sound and compatible; of one with every era and
// every damage, each record has exactly the finding that it deserves. No value
// is in the report.
func TestValidateFixtures(t *testing.T) {
	r := Validate(mustRead(t, mustFixture(t, "atlantis-0.47.1").file), ValidateOptions{CheckCompatibility: true})
	f := mustFixture(t, "atlantis-0.47.1")
	if !r.Sound || !r.Compatible || r.Locks != len(f.Locks) || r.Pulls != len(f.Pulls) || r.CommandLocks != len(f.GlobalLocks) || len(found(r)) > 0 {
		t.Errorf("%d locks, %d pulls, %d command locks; %q", r.Locks, r.Pulls, r.CommandLocks, found(r))
	}
	old := mustFixture(t, "atlantis-eras")
	src := mustRead(t, old.file)
	r = Validate(src, ValidateOptions{CheckCompatibility: true})
	if r.Sound || r.Compatible || r.Errors == 0 || r.Repairable == 0 || len(r.Records) != len(src.Records) {
		t.Errorf("%+v", r)
	}
	unreadable := map[string]bool{}
	for _, rec := range r.Records {
		if len(rec.Digest) != 16 {
			t.Errorf("%s has the digest %q", rec.Key, rec.Digest)
		}
		for _, f := range rec.Findings {
			if f.Kind == FindUnreadable {
				unreadable[rec.Key] = true
			}
		}
	}
	for _, key := range old.Quarantined {
		if !unreadable[key] {
			t.Errorf("%s is not told to be unreadable", key)
		}
	}
	if len(unreadable) != len(old.Quarantined) {
		t.Errorf("unreadable are %v, want %v", unreadable, old.Quarantined)
	}
	lax := Validate(src, ValidateOptions{})
	if lax.Errors >= r.Errors || lax.Compatible {
		t.Errorf("%d errors without the check of compatibility, %d with it", lax.Errors, r.Errors)
	}
	b, err := json.Marshal([]*ValidationReport{r, lax})
	if err != nil || bytes.Contains(b, []byte("CANARY")) {
		t.Errorf("the canary is in the report, %v", err)
	}
}

// Each kind of damage gives its finding and its suggestion.
func TestValidateFindings(t *testing.T) {
	lock := func(key, value string) SourceRecord {
		return SourceRecord{Bucket: BucketLocks, Key: key, Value: []byte(value)}
	}
	value := func(path string, pull int) string { return string(lockValue("acme/app", path, pull, noon, "")) }
	const base = `"User":{"Username":"l"},"Time":"2020-01-01T00:00:00Z"`
	for name, c := range map[string]struct {
		records []SourceRecord
		want    []string
		repair  string
	}{
		"sound":     {[]SourceRecord{lock("acme/app/x/default/", value("x", 1))}, nil, ""},
		"old key":   {[]SourceRecord{lock("acme/app/x/default", value("x", 1))}, []string{"acme/app/x/default: warning old-key"}, "re-key to acme/app/x/default/"},
		"wrong key": {[]SourceRecord{lock("acme/app/y/default/", value("x", 1))}, []string{"acme/app/y/default/: warning wrong-key"}, "re-key to acme/app/x/default/"},
		"twice": {
			[]SourceRecord{lock("acme/app/x/default", value("x", 1)), lock("acme/app/x/default/", value("x", 1))},
			[]string{"acme/app/x/default: warning old-key", "acme/app/x/default: warning duplicate"},
			"keep the one under",
		},
		"two owners": {
			[]SourceRecord{lock("acme/app/x/default", value("x", 1)), lock("acme/app/x/default/", value("x", 2))},
			[]string{"acme/app/x/default: warning old-key", "acme/app/x/default: error conflict", "acme/app/x/default/: error conflict"},
			"decide which pull request holds acme/app/x/default/",
		},
		"Env": {
			[]SourceRecord{lock("a/b/./s/", `{"Project":{"RepoFullName":"a/b","Path":"."},"Env":"s","Pull":{"Num":1},`+base+`}`)},
			[]string{"a/b/./s/: error incompatible"},
			"fill Workspace from Env",
		},
		"type": {
			[]SourceRecord{lock("a/b/./s/", `{"Project":{"RepoFullName":"a/b","Path":"."},"Workspace":"s","Pull":{"Num":1,"State":"CANARY"},`+base+`}`)},
			[]string{"a/b/./s/: error incompatible"},
			"write the value anew",
		},
		"deleted at start": {
			[]SourceRecord{lock("b/./s/", `{"Project":{"RepoFullName":"b","Path":"."},"Workspace":"s","Pull":{"Num":1,"BaseRepo":{"FullName":"b"}},`+base+`}`)},
			[]string{"b/./s/: error dropped-at-start"},
			"rename",
		},
		"no JSON": {[]SourceRecord{lock("a/b/./s/", `CANARY`)}, []string{"a/b/./s/: error unreadable"}, "leave it out"},
		"command": {
			[]SourceRecord{{Bucket: BucketCommandLocks, Key: "plan/lock", Value: []byte(`{"CommandName":0}`)}},
			[]string{"plan/lock: error wrong-key"},
			"lock it again",
		},
		"approvals": {
			[]SourceRecord{{Bucket: BucketPulls, Key: "h::a/b::1", Value: []byte(`{"Projects":[{"PolicyStatus":[{"Approvals":2}]}],"Pull":{"Num":1,"BaseRepo":{"FullName":"a/b","VCSHost":{"Hostname":"h"}}}}`)}},
			[]string{"h::a/b::1: warning incompatible"},
			"int approvals -> list",
		},
		"moved pull": {
			[]SourceRecord{{Bucket: BucketPulls, Key: "h::a/b::2", Value: []byte(`{"Pull":{"Num":1,"BaseRepo":{"FullName":"a/b","VCSHost":{"Hostname":"h"}}}}`)}},
			[]string{"h::a/b::2: warning wrong-key"},
			"re-key to h::a/b::1",
		},
	} {
		r := Validate(&Source{Records: c.records}, ValidateOptions{CheckCompatibility: true})
		sameStrings(t, name, found(r), c.want)
		b, err := json.Marshal(r)
		if err != nil || !strings.Contains(string(b), strings.ReplaceAll(c.repair, ">", `\u003e`)) || bytes.Contains(b, []byte("CANARY")) {
			t.Errorf("%s: want %q in %s, %v", name, c.repair, b, err)
		}
	}
}

// What was repaired has every lock of the source once, under its present key,
// with no finding left that can be repaired; what was sound is unchanged byte
// for byte, and what was left out is named.
func TestRepair(t *testing.T) {
	for _, name := range fixtureNames {
		f := mustFixture(t, name)
		src := mustRead(t, f.file)
		r, err := Repair(src)
		if err != nil {
			t.Fatal(err)
		}
		again := Validate(&Source{Records: r.Records}, ValidateOptions{CheckCompatibility: true})
		if !again.Sound || !again.Compatible || again.Warnings > 0 || again.Locks != len(f.Locks) || again.Pulls != len(f.Pulls) {
			t.Errorf("%s: %q; %d locks", name, found(again), again.Locks)
		}
		if len(r.Left) != len(f.Quarantined) || len(r.Conflicts) != len(f.Conflicts) || r.Complete() != (name == "atlantis-0.47.1") {
			t.Errorf("%s: left %d, conflicts %d", name, len(r.Left), len(r.Conflicts))
		}
		changed := map[string]bool{}
		for _, c := range r.Changes {
			changed[c.Bucket+c.Key] = true
		}
		was := map[string][]byte{}
		for _, rec := range src.Records {
			was[rec.Bucket+rec.Key] = rec.Value
		}
		for _, rec := range r.Records {
			id := rec.Bucket + rec.Key
			if old, ok := was[id]; ok && !changed[id] && !bytes.Equal(old, rec.Value) {
				t.Errorf("%s: %s was changed and not told", name, rec.Key)
			}
		}
		b, err := json.Marshal(r)
		if err != nil || bytes.Contains(b, []byte("CANARY")) {
			t.Errorf("the canary is in the report, %v", err)
		}
		twice, err := Repair(&Source{Records: r.Records})
		if err != nil || len(twice.Changes) > 0 {
			t.Errorf("repaired again: %+v, %v", twice, err)
		}
	}
}

// A cluster's content is validated as it is stored; an owner that the value
// does not name is found, and documents that are not Atlantis's are counted.
func TestValidateView(t *testing.T) {
	c := newCluster()
	mustImport(t, c, mustFixture(t, "atlantis-0.47.1").file)
	mustDo(t, c, lockcluster.PutDocument{Namespace: "default", Key: "else", Value: []byte("CANARY")})
	r, err := ValidateView(c.mem.View(), "default", ValidateOptions{CheckCompatibility: true})
	if err != nil || !r.Sound || !r.Compatible || r.Other != 1 || r.Locks != len(c.locks()) || r.Index == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	a, err := compat.AcquireFromValue("default", lockValue("acme/owner", "x", 8, noon, ""))
	if err != nil {
		t.Fatal(err)
	}
	a.Owner.Pull = 9
	mustDo(t, c, a)
	mustDo(t, c, lockcluster.Acquire{Key: lockcluster.Key{Namespace: "default", Repo: "a/b", Path: ".", Workspace: "w"}, Owner: lockcluster.Owner{ID: "me"}})
	r, err = ValidateView(c.mem.View(), "default", ValidateOptions{CheckCompatibility: true})
	if err != nil {
		t.Fatal(err)
	}
	sameStrings(t, "findings", found(r), []string{"acme/owner/x/default/: error wrong-owner"})
	if b, err := json.Marshal(r); err != nil || bytes.Contains(b, []byte("CANARY")) {
		t.Errorf("the canary is in the report, %v", err)
	}
	if _, err := ValidateView(c.mem.View(), "no such", ValidateOptions{}); !errors.Is(err, lockcluster.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// Whatever the bytes, a record is validated and repaired without a panic, and
// a repaired record needs no repair.
func FuzzRepair(f *testing.F) {
	f.Add(BucketLocks, "acme/app/x/default", lockValue("acme/app", "x", 1, noon, "b"))
	f.Add(BucketPulls, "h::a/b::1", []byte(`{"Projects":[{"PolicyStatus":[{"Approvals":2}]}],"Pull":{"Num":1,"BaseRepo":{"FullName":"a/b","VCSHost":{"Hostname":"h"}}}}`))
	f.Add(BucketCommandLocks, "apply/lock", []byte(`{"CommandName":0}`))
	f.Fuzz(func(t *testing.T, bucket, key string, value []byte) {
		src := &Source{Records: []SourceRecord{{Bucket: bucket, Key: key, Value: value}}}
		Validate(src, ValidateOptions{CheckCompatibility: true})
		r, err := Repair(src)
		if err != nil {
			t.Fatal(err)
		}
		fixed := &Source{Records: r.Records}
		again, err := Repair(fixed)
		if err != nil || len(again.Changes) > 0 || len(again.Records) != len(r.Records) {
			t.Fatalf("repaired again: %+v, %v", again.Changes, err)
		}
		for _, rec := range Validate(fixed, ValidateOptions{}).Records {
			for _, f := range rec.Findings {
				if f.Repairable {
					t.Errorf("left after the repair: %+v", f)
				}
			}
		}
	})
}
