package migration

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lockcluster/lockcluster"
)

// SourceBolt is the scheme of a BoltDB file in "boltdb:FILE".
const SourceBolt = "boltdb"

// ParseSource takes apart what --from names: "boltdb:FILE".
func ParseSource(from string) (scheme, path string, err error) {
	scheme, path, ok := strings.Cut(from, ":")
	if !ok || scheme != SourceBolt || path == "" {
		return "", "", fmt.Errorf("%w: the source to import from is written boltdb:FILE, e.g. boltdb:/var/lib/atlantis/atlantis.db", lockcluster.ErrInvalid)
	}
	return scheme, path, nil
}

// Origin is what --from names: a BoltDB file or a Redis.
type Origin struct {
	File  string // of a BoltDB file, else empty
	Redis *RedisURL
}

// ParseOrigin reads what --from names: "boltdb:FILE" or the URL of a Redis. Its
// errors quote nothing, because a URL may hold a password.
func ParseOrigin(from string) (Origin, error) {
	if IsRedisURL(from) {
		u, err := ParseRedisURL(from)
		return Origin{Redis: u}, err
	}
	_, file, err := ParseSource(from)
	if err != nil {
		return Origin{}, fmt.Errorf("%w: a source is written boltdb:FILE, redis://HOST, redis+cluster://HOST,HOST or redis+sentinel://HOST/MASTER", lockcluster.ErrInvalid)
	}
	return Origin{File: file}, nil
}

// String names the origin, without credentials.
func (o Origin) String() string {
	if o.Redis != nil {
		return o.Redis.String()
	}
	return SourceBolt + ":" + o.File
}

// BoltImport says what to import from a BoltDB file, and how.
type BoltImport struct {
	File string
	PlanOptions
	// DryRun only reads the file and reports what it holds. It asks nothing of
	// the cluster and writes no quarantine.
	DryRun bool
	// QuarantineDir is where the bytes of records that are not imported are
	// kept, readable by this user only. Empty: they are kept nowhere but in
	// the source.
	QuarantineDir string
	// TempDir is where the copy is made, which holds secrets and is removed at
	// the end. Empty: the system's directory for temporary files.
	TempDir string
	// Before is called with what was read, its hash and what will be imported,
	// before anything is; its error ends the import. It may be nil.
	Before func(ctx context.Context, src *Source, sha256 string, plan *Plan) error
	// Progress: see [Importer.Progress].
	Progress func(done, total int)
}

// ImportBolt imports an atlantis.db, which Atlantis may have open, into a
// cluster (nil for a dry run). The source is only ever read.
//
// The report is nil when nothing could be read. [Report.Complete] tells
// whether a person has to look at it.
func ImportBolt(ctx context.Context, cluster Doer, o BoltImport) (*Report, error) {
	src, plan, c, err := planBolt(ctx, o)
	if err == nil && o.Before != nil && !o.DryRun {
		err = o.Before(ctx, src, c.SHA256, plan)
	}
	if err != nil {
		return nil, err
	}
	r, err := plan.carryOut(ctx, cluster, o.DryRun, o.QuarantineDir, o.Progress)
	if r == nil {
		return nil, err
	}
	r.Source = SourceBolt + ":" + o.File
	r.SourceSHA256, r.SourceTxid = c.SHA256, c.Txid
	if err != nil {
		return r, err
	}
	if r.SourceSHA256After, err = hashFile(o.File); err != nil {
		return r, fmt.Errorf("everything is imported, but the source cannot be read any more: %w", err)
	}
	return r, nil
}

// planBolt copies, reads and plans. The copy that it returns tells what was
// copied; its file is gone.
func planBolt(ctx context.Context, o BoltImport) (*Source, *Plan, *Copy, error) {
	c, err := CopyBolt(ctx, o.File, o.TempDir)
	if err != nil {
		return nil, nil, nil, err
	}
	src, err := ReadBolt(c)
	if rm := c.Close(); rm != nil {
		err = errors.Join(err, fmt.Errorf("remove the copy, which holds secrets: %w", rm))
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%s: %w", o.File, err)
	}
	plan, err := BuildPlan(src, o.PlanOptions)
	return src, plan, c, err
}

// ReadOrigin reads everything that a legacy system stores. others counts the
// keys of a Redis that are not Atlantis's.
func ReadOrigin(ctx context.Context, from Origin) (src *Source, others int, err error) {
	if from.Redis != nil {
		r := newRedisReader(from.Redis)
		content, err := r.read(ctx)
		if err := errors.Join(err, r.close()); err != nil {
			return nil, 0, fmt.Errorf("%s: %w", from.Redis, err)
		}
		return content.Source, content.OtherKeys, nil
	}
	c, err := CopyBolt(ctx, from.File, "")
	if err != nil {
		return nil, 0, err
	}
	src, err = ReadBolt(c)
	if err := errors.Join(err, c.Close()); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", from.File, err)
	}
	return src, 0, nil
}
