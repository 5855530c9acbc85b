package migration

import (
	"context"
	"errors"
	"fmt"
)

// RedisImport says what to import from a Redis, and how.
type RedisImport struct {
	URL *RedisURL
	PlanOptions
	// DryRun, QuarantineDir, Before and Progress: see [BoltImport].
	DryRun        bool
	QuarantineDir string
	Before        func(ctx context.Context, src *Source, sha256 string, plan *Plan) error
	Progress      func(done, total int)
}

const (
	changedText  = "it changed while it was read; import again to take over what is new"
	expiringText = "it had a time to live in Redis, which Atlantis never sets; here it has none"
)

// ImportRedis imports what an Atlantis stores in a Redis into a cluster (nil
// for a dry run). The Redis is only ever read, on all its masters.
//
// The report is nil when nothing could be read. [Report.Complete] tells
// whether a person has to look at it.
func ImportRedis(ctx context.Context, cluster Doer, o RedisImport) (*Report, error) {
	reader := newRedisReader(o.URL)
	r, err := o.run(ctx, cluster, reader)
	return r, errors.Join(err, reader.close())
}

func (o *RedisImport) run(ctx context.Context, cluster Doer, reader *redisReader) (*Report, error) {
	content, err := reader.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.URL, err)
	}
	plan, err := BuildPlan(content.Source, o.PlanOptions)
	if err == nil && o.Before != nil && !o.DryRun {
		err = o.Before(ctx, content.Source, content.Digest, plan)
	}
	if err != nil {
		return nil, err
	}
	plan.Notes = append(plan.Notes, content.notes()...)
	r, err := plan.carryOut(ctx, cluster, o.DryRun, o.QuarantineDir, o.Progress)
	if r == nil {
		return nil, err
	}
	r.Source, r.SourceSHA256, r.OtherKeys = o.URL.String(), content.Digest, content.OtherKeys
	if err != nil {
		return r, err
	}
	after, err := reader.read(ctx)
	if err != nil {
		return r, fmt.Errorf("everything is imported, but the source cannot be read any more: %s: %w", o.URL, err)
	}
	r.SourceSHA256After = after.Digest
	return r, nil
}

// notes tells what is special about records of a Redis.
func (c *RedisContent) notes() []Note {
	var notes []Note
	for _, ref := range c.Changed {
		notes = append(notes, Note{Bucket: ref.Bucket, Key: ref.Key, Identity: ref.Key, About: []string{changedText}})
	}
	for _, ref := range c.Expiring {
		notes = append(notes, Note{Bucket: ref.Bucket, Key: ref.Key, Identity: ref.Key, About: []string{expiringText}})
	}
	return notes
}

// carryOut imports a plan, or says what it would do. The report is nil when
// nothing was done at all.
func (p *Plan) carryOut(ctx context.Context, cluster Doer, dryRun bool, quarantine string, progress func(done, total int)) (*Report, error) {
	if dryRun {
		return p.DryRun(), nil
	}
	if quarantine != "" {
		if err := p.WriteQuarantine(quarantine); err != nil {
			return nil, err
		}
	}
	return Importer{Cluster: cluster, Progress: progress}.Import(ctx, p)
}
