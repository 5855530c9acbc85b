package migration

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/lockcluster/lockcluster"
)

const (
	// A batch is one log entry. The size keeps it well below the 256 KiB that
	// a group of requests may have.
	batchRecordsMax = 200
	batchSizeMax    = 192 << 10
	// recordOverhead is what a record takes beside its strings.
	recordOverhead = 128

	// RetryFor is how long one batch is retried while there is no leader.
	RetryFor = time.Minute
	retryMin = 100 * time.Millisecond
	retryMax = 2 * time.Second
)

// Doer asks the cluster for a change: a node, or a client of one.
type Doer interface {
	Do(ctx context.Context, id lockcluster.RequestID, req lockcluster.Request) (lockcluster.Result, error)
}

// Importer sends a plan to a cluster.
type Importer struct {
	Cluster Doer
	// Progress is told how many of all records are decided; may be nil. It is
	// called on the importing goroutine, first with 0.
	Progress func(done, total int)
}

// Import sends the plan in batches, each exactly once, and reports what became
// of it. Nothing in the cluster is overwritten: what is there with the same
// owner or content counts as unchanged, anything else is a conflict.
//
// On an error the report tells how far it came. Records of a batch whose
// outcome is not known are in no count; importing again finds out.
func (im Importer) Import(ctx context.Context, p *Plan) (*Report, error) {
	r := newReport(p)
	client, err := newClientID()
	if err != nil {
		return r, err
	}
	total := len(p.Records)
	im.progress(0, total)
	for done, seq := 0, uint64(1); done < total; seq++ {
		batch := p.Records[done : done+batchLen(p.Records[done:])]
		id := lockcluster.RequestID{ClientID: client, Sequence: seq, AckedBelow: seq}
		res, err := im.send(ctx, id, requestOf(p.Namespace, batch))
		if err == nil {
			err = r.record(batch, res)
		}
		if err != nil {
			r.finish()
			return r, fmt.Errorf("import records %d to %d of %d: %w; import again to go on from there", done+1, done+len(batch), total, err)
		}
		done += len(batch)
		im.progress(done, total)
	}
	r.finish()
	return r, nil
}

// DryRun reports what an import into an empty cluster would do. It asks
// nothing of any cluster.
func (p *Plan) DryRun() *Report {
	r := newReport(p)
	r.DryRun = true
	for _, rec := range p.Records {
		r.take(rec, true)
	}
	r.finish()
	return r
}

func (im Importer) progress(done, total int) {
	if im.Progress != nil {
		im.Progress(done, total)
	}
}

// send proposes a batch, again and again under one id while nobody can say
// what became of it.
func (im Importer) send(ctx context.Context, id lockcluster.RequestID, req lockcluster.Import) (lockcluster.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, RetryFor)
	defer cancel()
	for wait := retryMin; ; wait = min(2*wait, retryMax) {
		res, err := im.Cluster.Do(ctx, id, req)
		if err == nil || !retryable(err) {
			return res, err
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return res, err
		case <-t.C:
		}
	}
}

func retryable(err error) bool {
	return errors.Is(err, lockcluster.ErrNoLeader) || errors.Is(err, lockcluster.ErrOverloaded) ||
		errors.Is(err, lockcluster.ErrOutcomeUnknown)
}

func newClientID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("draw a client id: %w", err)
	}
	return "import-" + hex.EncodeToString(b[:]), nil
}

// batchLen returns how many of the records make up the next batch: at least
// one, whatever its size, and of one kind only as they come.
func batchLen(records []PlanRecord) int {
	size := 0
	for i, rec := range records {
		size += recordSize(rec)
		if i > 0 && (size > batchSizeMax || i == batchRecordsMax) {
			return i
		}
	}
	return len(records)
}

func recordSize(rec PlanRecord) int {
	size := len(rec.Identity) + recordOverhead
	switch q := rec.Request.(type) {
	case lockcluster.Acquire:
		size += len(q.Value) + len(q.User) + len(q.Owner.Host) + len(q.Owner.Repo)
	case lockcluster.LockCommand:
		size += len(q.Value)
	case lockcluster.PutDocument:
		size += len(q.Value)
	}
	return size
}

func requestOf(namespace string, batch []PlanRecord) lockcluster.Import {
	req := lockcluster.Import{Namespace: namespace}
	for _, rec := range batch {
		switch q := rec.Request.(type) {
		case lockcluster.Acquire:
			req.Locks = append(req.Locks, q)
		case lockcluster.LockCommand:
			req.CommandLocks = append(req.CommandLocks, q)
		case lockcluster.PutDocument:
			req.Documents = append(req.Documents, q)
		default:
			panic(fmt.Sprintf("a plan holds a %T", q))
		}
	}
	return req
}

// inAnswerOrder returns the records of a batch in the order in which an Import
// answers: locks, command locks, documents.
func inAnswerOrder(batch []PlanRecord) []PlanRecord {
	var locks, commands, documents []PlanRecord
	for _, rec := range batch {
		switch rec.Request.(type) {
		case lockcluster.Acquire:
			locks = append(locks, rec)
		case lockcluster.LockCommand:
			commands = append(commands, rec)
		default:
			documents = append(documents, rec)
		}
	}
	return append(append(locks, commands...), documents...)
}

// record notes what became of a batch.
func (r *Report) record(batch []PlanRecord, res lockcluster.Result) error {
	if res.Status != lockcluster.StatusApplied {
		return fmt.Errorf("the cluster refused the batch: %s %s", res.Status, res.Text)
	}
	if len(res.Results) != len(batch) {
		return fmt.Errorf("the cluster answered for %d of %d records", len(res.Results), len(batch))
	}
	for i, rec := range inAnswerOrder(batch) {
		one := res.Results[i]
		switch one.Status {
		case lockcluster.StatusGranted, lockcluster.StatusStored:
			r.take(rec, true)
		case lockcluster.StatusAlreadyHeld:
			r.take(rec, false)
		case lockcluster.StatusHeld, lockcluster.StatusNotStored, lockcluster.StatusHostConflict:
			if rec.Bucket == BucketCommandLocks {
				// A command lock has no owner: locked is locked, whenever.
				r.take(rec, false)
				continue
			}
			r.Conflicts = append(r.Conflicts, clusterConflict(rec, one))
		default:
			return fmt.Errorf("the cluster answered %q for %s", one.Status, rec.Identity)
		}
	}
	return nil
}

// clusterConflict describes a record that the cluster has in another form.
func clusterConflict(rec PlanRecord, res lockcluster.Result) Conflict {
	mine := Candidate{In: InSource, Bucket: rec.Bucket, Key: rec.SourceKey, KeyHex: keyHex(rec.SourceKey)}
	c := Conflict{Identity: rec.Identity, Reason: "the cluster holds another pull status under this key; it stays as it is"}
	if q, ok := rec.Request.(lockcluster.Acquire); ok {
		mine.Host, mine.Repo, mine.Pull = q.Owner.Host, q.Owner.Repo, q.Owner.Pull
		mine.User, mine.Time = q.User, timeText(q.AcquiredAt)
		c.Reason = "the cluster has granted this lock to another owner; it stays as it is"
	}
	if res.Status == lockcluster.StatusHostConflict {
		c.Reason = res.Text
	}
	c.Candidates = []Candidate{mine}
	switch {
	case res.Lock != nil:
		l := res.Lock
		c.Candidates = append(c.Candidates, Candidate{
			In: InCluster, Key: l.Key.Text(), Host: l.Owner.Host, Repo: l.Owner.Repo, Pull: l.Owner.Pull,
			Owner: l.Owner.ID, User: l.User, Time: timeText(l.AcquiredAt),
		})
	case res.Document != nil:
		c.Candidates = append(c.Candidates, Candidate{In: InCluster, Key: res.Document.Key})
	}
	return c
}
