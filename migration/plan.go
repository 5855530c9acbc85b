package migration

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// Plan is what an import will ask of the cluster, and what it will not.
type Plan struct {
	Namespace   string
	Records     []PlanRecord // in the order they are sent: command locks first
	Quarantined []Quarantined
	Conflicts   []Conflict
	Duplicates  []Duplicate
	Notes       []Note
	Ignored     []string // buckets that are not Atlantis's
}

// PlanRecord is one record that will be imported.
type PlanRecord struct {
	Bucket    string
	SourceKey string
	Identity  string // lock key text, pull status key or command name
	Request   lockcluster.Request
}

// Quarantined is a record that cannot be imported.
type Quarantined struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
	// KeyHex is the key's bytes when they are not UTF-8.
	KeyHex string `json:"key_hex,omitempty"`
	Reason string `json:"reason"`

	raw []byte
}

// Duplicate tells which of several records of one lock and one pull request
// was taken over.
type Duplicate struct {
	Identity string   `json:"identity"`
	Bucket   string   `json:"bucket"`
	Kept     string   `json:"kept"`    // stored key
	Dropped  []string `json:"dropped"` // stored keys
}

// PlanOptions decides what a plan leaves to no chance.
type PlanOptions struct {
	Namespace  string // default: [lockcluster.DefaultNamespace]
	OnConflict ConflictPolicy
	// RedactCredentials strips the user-info of URLs from values, so that no
	// VCS token reaches the log.
	RedactCredentials bool
}

// BuildPlan decides what each record of a source is. It depends on its
// arguments alone. An error means that the options are wrong; a bad record
// goes into quarantine.
func BuildPlan(src *Source, o PlanOptions) (*Plan, error) { return buildPlan(src, o, nil) }

// buildPlan is BuildPlan with what an earlier plan has read; memo may be nil.
func buildPlan(src *Source, o PlanOptions, memo *planMemo) (*Plan, error) {
	if o.Namespace == "" {
		o.Namespace = lockcluster.DefaultNamespace
	}
	if err := lockcluster.ValidateNamespace(o.Namespace); err != nil {
		return nil, err
	}
	if _, err := ParseConflictPolicy(o.OnConflict.String()); err != nil {
		return nil, err
	}
	p := &planner{plan: &Plan{Namespace: o.Namespace, Ignored: src.Ignored}, options: o, memo: memo}
	defer memo.turn()
	for _, bucket := range []string{BucketCommandLocks, BucketLocks, BucketPulls} {
		records := src.of(bucket)
		slices.SortFunc(records, func(a, b SourceRecord) int { return strings.Compare(a.Key, b.Key) })
		switch bucket {
		case BucketCommandLocks:
			p.commandLocks(records)
		case BucketLocks:
			p.locks(records)
		case BucketPulls:
			p.pulls(records)
		}
	}
	return p.plan, nil
}

func (s *Source) of(bucket string) []SourceRecord {
	var out []SourceRecord
	for _, r := range s.Records {
		if r.Bucket == bucket {
			out = append(out, r)
		}
	}
	return out
}

type planner struct {
	plan    *Plan
	options PlanOptions
	memo    *planMemo
}

// value is what is stored in the cluster for a record.
func (p *planner) value(r SourceRecord) []byte {
	if p.options.RedactCredentials {
		return compat.RedactCredentials(r.Value)
	}
	return r.Value
}

// add plans a request that must be one that the cluster can decide.
func (p *planner) add(r SourceRecord, identity string, req lockcluster.Request, about []string) {
	if err := state.Validate(req); err != nil {
		p.quarantine(r, reasonOf(err))
		return
	}
	p.plan.Records = append(p.plan.Records, PlanRecord{Bucket: r.Bucket, SourceKey: r.Key, Identity: identity, Request: req})
	if len(about) > 0 {
		p.plan.Notes = append(p.plan.Notes, Note{Bucket: r.Bucket, Key: r.Key, Identity: identity, About: about})
	}
}

func (p *planner) quarantine(r SourceRecord, reason string) {
	q := Quarantined{Bucket: r.Bucket, Key: r.Key, Reason: reason, raw: r.Value}
	q.KeyHex = keyHex(r.Key)
	p.plan.Quarantined = append(p.plan.Quarantined, q)
}

// reasonOf returns why a record is refused; such errors quote no value.
func reasonOf(err error) string {
	var re *compat.RecordError
	if errors.As(err, &re) {
		return re.Reason
	}
	return strings.TrimPrefix(err.Error(), lockcluster.ErrInvalid.Error()+": ")
}

func (p *planner) commandLocks(records []SourceRecord) {
	for _, r := range records {
		if r.Problem != "" {
			p.quarantine(r, r.Problem)
			continue
		}
		rec, err := compat.ParseCommandLock(r.Value)
		if err != nil {
			p.quarantine(r, reasonOf(err))
			continue
		}
		name := rec.Command.String()
		// Atlantis goes by the key here, and the key cannot stand for two
		// commands; which of the two is locked is for a person to say.
		if stored, ok := compat.ParseCommandLockBoltKey(r.Key); !ok || stored != name {
			p.quarantine(r, fmt.Sprintf("its key and its value name different commands; the value says %s", name))
			continue
		}
		p.add(r, name, rec.Request(p.plan.Namespace, p.value(r)), nil)
	}
}

func (p *planner) locks(records []SourceRecord) {
	var order []string
	groups := map[string][]candidate{}
	for _, r := range records {
		if r.Problem != "" {
			p.quarantine(r, r.Problem)
			continue
		}
		rec, err := p.memo.lock(r)
		if err != nil {
			p.quarantine(r, reasonOf(err))
			continue
		}
		identity := rec.Key.Text()
		if groups[identity] == nil {
			order = append(order, identity)
		}
		groups[identity] = append(groups[identity], candidate{source: r, lock: rec, form: compat.CheckKey(r.Key, rec.Key)})
	}
	slices.Sort(order)
	for _, identity := range order {
		if c := p.settle(identity, groups[identity]); c != nil {
			p.lock(identity, *c)
		}
	}
}

func (p *planner) lock(identity string, c candidate) {
	req, err := c.lock.Acquire(p.plan.Namespace, p.value(c.source))
	if err != nil {
		p.quarantine(c.source, reasonOf(err))
		return
	}
	p.add(c.source, identity, req, describe(c.form, c.lock.Uncertain))
}

func (p *planner) pulls(records []SourceRecord) {
	taken := map[string]SourceRecord{}
	// A record at its own key comes before one that was put somewhere else.
	for _, misplaced := range []bool{false, true} {
		for _, r := range records {
			p.pull(r, misplaced, taken)
		}
	}
}

// pull plans one pull status, if it is misplaced as asked for.
func (p *planner) pull(r SourceRecord, misplaced bool, taken map[string]SourceRecord) {
	rec, err := p.memo.pull(r)
	var doc lockcluster.PutDocument
	if err == nil {
		doc, err = rec.Document(p.plan.Namespace, p.value(r))
	}
	switch {
	case r.Problem != "" || err != nil:
		if misplaced { // once, in one of the two rounds
			p.quarantine(r, problemOf(r, err))
		}
		return
	case misplaced != (doc.Key != r.Key):
		return
	}
	if kept, ok := taken[doc.Key]; ok {
		if !bytes.Equal(kept.Value, r.Value) {
			p.quarantine(r, "its value is the status of a pull request that another record holds; that one was taken over")
			return
		}
		p.plan.Duplicates = append(p.plan.Duplicates, Duplicate{
			Identity: doc.Key, Bucket: r.Bucket, Kept: kept.Key, Dropped: []string{r.Key},
		})
		return
	}
	taken[doc.Key] = r
	form := compat.KeyPresent
	if misplaced {
		form = compat.KeyDisagrees
	}
	p.add(r, doc.Key, doc, describe(form, rec.Uncertain))
}

// problemOf returns why r has no value, or else the reason of err.
func problemOf(r SourceRecord, err error) string {
	if r.Problem != "" {
		return r.Problem
	}
	return reasonOf(err)
}
