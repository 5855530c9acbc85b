package migration

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/lockcluster/lockcluster/compat"
)

// Severity says what a finding means for the record.
type Severity string

// The severities.
const (
	// SeverityError: the record cannot be used as it is; somebody loses a lock.
	SeverityError Severity = "error"
	// SeverityWarning: it is used, but not as it was stored, or not by all.
	SeverityWarning Severity = "warning"
	// SeverityNote: something had to be concluded, or is not known.
	SeverityNote Severity = "note"
)

// The kinds of findings; scripts rely on them.
const (
	FindUnreadable   = "unreadable"       // a format error
	FindIncompatible = "incompatible"     // Atlantis v0.47.1 reads it otherwise, or not
	FindDropped      = "dropped-at-start" // Atlantis deletes it when it starts
	FindOldKey       = "old-key"
	FindWrongKey     = "wrong-key" // key and value disagree
	FindDuplicate    = "duplicate"
	FindConflict     = "conflict"
	FindMissing      = "missing-field"
	FindUncertain    = "uncertain"
	FindOwner        = "wrong-owner" // the cluster has another owner than the value says
)

// Finding is something that is not as it should be with one record.
type Finding struct {
	Severity Severity `json:"severity"`
	Kind     string   `json:"kind"`
	Text     string   `json:"text"`
	// Repair says what would put it right; Repairable, that [Repair] does so.
	Repair     string `json:"repair,omitempty"`
	Repairable bool   `json:"repairable"`
}

// RecordCheck is what was found about one record.
type RecordCheck struct {
	Bucket   string    `json:"bucket"`
	Key      string    `json:"key"`
	KeyHex   string    `json:"key_hex,omitempty"`
	Identity string    `json:"identity,omitempty"` // empty when it cannot be read
	Digest   string    `json:"digest"`             // the first 16 digits of the value's SHA-256
	Size     int       `json:"size"`
	Findings []Finding `json:"findings"`
}

// ValidationReport says whether stored records are sound. Its JSON fields are
// relied on by scripts: more may be added, none is renamed. It holds no value.
type ValidationReport struct {
	Source       string `json:"source"` // the caller sets it
	Namespace    string `json:"namespace,omitempty"`
	Index        uint64 `json:"index,omitempty"` // of a cluster's content
	Locks        int    `json:"locks"`
	Pulls        int    `json:"pulls"`
	CommandLocks int    `json:"command_locks"`
	Other        int    `json:"other"` // documents or keys that are not Atlantis's

	Errors     int `json:"errors"`
	Warnings   int `json:"warnings"`
	Notes      int `json:"notes"`
	Repairable int `json:"repairable"` // of the errors and warnings

	// Compatible: Atlantis v0.47.1 can use every lock as it is stored.
	Compatible bool `json:"compatible"`
	// Sound: there is no error.
	Sound   bool          `json:"sound"`
	Digest  string        `json:"digest"` // as an import would show
	Records []RecordCheck `json:"records"`
	// Invariants is what is wrong with a cluster's state as a whole; empty if
	// nothing is.
	Invariants     string   `json:"invariants,omitempty"`
	IgnoredBuckets []string `json:"ignored_buckets"`
}

// ValidateOptions say how strictly to look.
type ValidateOptions struct {
	// CheckCompatibility makes an error of what a present Atlantis could not use.
	CheckCompatibility bool
}

// Validate looks at every record of a source: format, key against value,
// duplicates, what is not certain, and how a present Atlantis reads it.
func Validate(src *Source, o ValidateOptions) *ValidationReport {
	v := &validator{report: &ValidationReport{IgnoredBuckets: orEmpty(src.Ignored), Records: []RecordCheck{}}, options: o, at: map[SourceRef]int{}}
	plan, err := BuildPlan(src, PlanOptions{})
	if err != nil {
		panic("the default options make a plan: " + err.Error())
	}
	records := slices.Clone(src.Records)
	slices.SortFunc(records, compareRecords)
	for _, r := range records {
		v.record(r)
	}
	v.settled(plan)
	v.report.Digest = plan.DryRun().Digest
	v.report.count()
	return v.report
}

type validator struct {
	report  *ValidationReport
	options ValidateOptions
	at      map[SourceRef]int // index into report.Records
}

// find adds a finding about a record.
func (v *validator) find(ref SourceRef, f Finding) {
	if i, ok := v.at[ref]; ok {
		v.report.Records[i].Findings = append(v.report.Records[i].Findings, f)
	}
}

func (v *validator) record(r SourceRecord) {
	sum := sha256.Sum256(r.Value)
	ref := SourceRef{r.Bucket, r.Key}
	v.at[ref] = len(v.report.Records)
	v.report.Records = append(v.report.Records, RecordCheck{
		Bucket: r.Bucket, Key: r.Key, KeyHex: keyHex(r.Key), Digest: hex.EncodeToString(sum[:8]), Size: len(r.Value), Findings: []Finding{},
	})
	identity := ""
	switch r.Bucket {
	case BucketLocks:
		v.report.Locks++
		identity = v.lock(r, ref)
	case BucketPulls:
		v.report.Pulls++
		identity = v.pull(r, ref)
	case BucketCommandLocks:
		v.report.CommandLocks++
		if rec, err := compat.ParseCommandLock(r.Value); err == nil {
			identity = rec.Command.String()
		}
	}
	v.report.Records[v.at[ref]].Identity = identity
}

// incompatible is what a present Atlantis cannot use.
func (v *validator) incompatible(ref SourceRef, kind, text, repair string, repairable bool) {
	severity := SeverityWarning
	if v.options.CheckCompatibility {
		severity = SeverityError
	}
	v.find(ref, Finding{severity, kind, text, repair, repairable})
}

// lock checks a lock that can be read; the plan tells why another cannot.
func (v *validator) lock(r SourceRecord, ref SourceRef) string {
	rec, err := compat.ParseLock(r.Value)
	if err != nil {
		return ""
	}
	text := rec.Key.Text()
	switch compat.CheckKey(r.Key, rec.Key) {
	case compat.KeyPresent:
	case compat.KeyOld:
		v.find(ref, Finding{SeverityWarning, FindOldKey, oldKeyText, "re-key to " + text, true})
	case compat.KeyDisagrees:
		v.find(ref, Finding{SeverityWarning, FindWrongKey, disagreeingText, "re-key to " + text, true})
	}
	if !keptByStock(text) {
		v.incompatible(ref, FindDropped, stockDropsText, "rename the project's path or repository, or free the lock", false)
	}
	if about := stockLock(r.Value, rec.Key, rec.Owner); about != "" {
		repair := "write the value anew with the same facts"
		if slices.Contains(rec.Uncertain, compat.UncertainWorkspace) {
			repair = "fill Workspace from Env"
		}
		v.incompatible(ref, FindIncompatible, about, repair, true)
	} else if lacksRepo(r.Value) {
		v.find(ref, Finding{SeverityNote, FindMissing, "its pull request names no repository", "fill Pull.BaseRepo from Project", true})
	}
	v.uncertain(ref, rec.Uncertain)
	return text
}

// lacksRepo reports whether a readable lock value's pull request names no
// repository.
func lacksRepo(value []byte) bool {
	var l compat.ProjectLock
	return json.Unmarshal(value, &l) == nil && l.Pull.BaseRepo.FullName == ""
}

func (v *validator) uncertain(ref SourceRef, all []compat.Uncertain) {
	for _, u := range all {
		if u != compat.UncertainApprovals { // told as incompatible
			v.find(ref, Finding{Severity: SeverityNote, Kind: FindUncertain, Text: uncertainTexts[u]})
		}
	}
}

func (v *validator) pull(r SourceRecord, ref SourceRef) string {
	rec, err := compat.ParsePullStatus(r.Value)
	if err != nil {
		return ""
	}
	key, err := rec.Key()
	if err != nil {
		return ""
	}
	if key != r.Key {
		v.find(ref, Finding{SeverityWarning, FindWrongKey, disagreeingText, "re-key to " + key, true})
	}
	if !stockReadsPull(r.Value) {
		text, repair := "Atlantis cannot read this pull status until its next plan replaces it", "write the value anew with the same facts"
		if slices.Contains(rec.Uncertain, compat.UncertainApprovals) {
			text, repair = uncertainTexts[compat.UncertainApprovals], "int approvals -> list (empty: a number names nobody)"
		}
		v.find(ref, Finding{SeverityWarning, FindIncompatible, text, repair, true})
	}
	v.uncertain(ref, rec.Uncertain)
	return key
}

// settled adds what only the plan of all records knows.
func (v *validator) settled(plan *Plan) {
	for _, q := range plan.Quarantined {
		kind, repair := FindUnreadable, "leave it out"
		if q.Bucket == BucketCommandLocks && v.identified(q) {
			kind, repair = FindWrongKey, "free the command's lock and lock it again"
		}
		v.find(SourceRef{q.Bucket, q.Key}, Finding{SeverityError, kind, q.Reason, repair, kind == FindUnreadable})
	}
	for _, c := range plan.Conflicts {
		for _, holder := range c.Candidates {
			v.find(SourceRef{holder.Bucket, holder.Key}, Finding{SeverityError, FindConflict, c.Reason, "decide which pull request holds " + c.Identity + " and free the other's lock", false})
		}
	}
	for _, d := range plan.Duplicates {
		for _, key := range d.Dropped {
			v.find(SourceRef{d.Bucket, key}, Finding{SeverityWarning, FindDuplicate, "it is stored twice, also under " + d.Kept, "keep the one under " + d.Kept, true})
		}
	}
}

func (v *validator) identified(q Quarantined) bool {
	i, ok := v.at[SourceRef{q.Bucket, q.Key}]
	return ok && v.report.Records[i].Identity != ""
}

// count fills the totals.
func (r *ValidationReport) count() {
	r.Errors, r.Warnings, r.Notes, r.Repairable, r.Compatible = 0, 0, 0, 0, true
	for _, rec := range r.Records {
		for _, f := range rec.Findings {
			switch f.Severity {
			case SeverityError:
				r.Errors++
			case SeverityWarning:
				r.Warnings++
			case SeverityNote:
				r.Notes++
			}
			if f.Severity != SeverityNote && f.Repairable {
				r.Repairable++
			}
			switch f.Kind {
			case FindIncompatible, FindDropped, FindUnreadable:
				r.Compatible = false
			}
		}
	}
	r.Sound = r.Errors == 0 && r.Invariants == ""
}
