package migration

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster/compat"
)

const (
	redisScanCount = 1000
	redisPipeline  = 200
	// redisReadings is how often a Redis is read until two readings agree.
	redisReadings = 6
	redisPause    = 50 * time.Millisecond
	redisSlots    = 16384
)

// ErrRedis means that the Redis cannot be read.
var ErrRedis = errors.New("the Redis cannot be read")

// RedisContent is what a Redis held.
type RedisContent struct {
	Source *Source
	// Changed are the keys that differed between the last two of all readings:
	// empty if those agreed.
	Changed []SourceRef
	// Expiring are Atlantis's keys with a time to live, which Atlantis never sets.
	Expiring []SourceRef
	// OtherKeys counts keys that are not Atlantis's.
	OtherKeys int
	Readings  int
	Digest    string // of all records; depends on nothing else
}

// SourceRef names a record of a source.
type SourceRef struct {
	Bucket string
	Key    string
}

// redisReader reads all that an Atlantis stores in a Redis. It sends SCAN, GET,
// PTTL, TYPE and CLUSTER SLOTS, none of which changes anything.
type redisReader struct {
	client redis.UniversalClient
}

// newRedisReader returns a reader, which connects when it reads.
func newRedisReader(u *RedisURL) *redisReader { return &redisReader{client: u.open()} }

// redisError says that a Redis cannot be read, and whether it does not answer, or
// not yet.
func redisError(err error) error {
	var slow net.Error
	silent := errors.As(err, &slow) && slow.Timeout() || errors.Is(err, redis.ErrPoolTimeout)
	for _, notYet := range []string{"LOADING ", "BUSY ", "CLUSTERDOWN ", "MASTERDOWN ", "TRYAGAIN "} {
		silent = silent || redis.HasErrorPrefix(err, notYet)
	}
	if silent {
		return fmt.Errorf("%w: %w (%w); see whether it is up and can be reached from here", ErrRedis, ErrSilent, err)
	}
	return fmt.Errorf("%w: %w", ErrRedis, err)
}

func (r *redisReader) close() error { return r.client.Close() }

// checkSlots refuses a Redis Cluster that has lost a part of its keys.
func (r *redisReader) checkSlots(ctx context.Context) error {
	c, ok := r.client.(*redis.ClusterClient)
	if !ok {
		return nil
	}
	ranges, err := c.ClusterSlots(ctx).Result() //nolint:staticcheck // CLUSTER SHARDS is there since Redis 7 only
	if err != nil {
		return err
	}
	served := 0
	for _, s := range ranges {
		served += s.End - s.Start + 1
	}
	if served != redisSlots {
		return fmt.Errorf("the Redis Cluster serves %d of %d slots: a part of the locks is out of reach", served, redisSlots)
	}
	return nil
}

// redisValue is one reading of one key.
type redisValue struct {
	value    string
	problem  string
	expiring bool
}

// read reads everything until two readings in a row agree, or often enough.
// Redis has no picture of one moment; two equal readings are one.
func (r *redisReader) read(ctx context.Context) (*RedisContent, error) {
	var last map[SourceRef]redisValue
	for reading := 1; ; reading++ {
		now, others, err := r.readOnce(ctx)
		if err != nil {
			return nil, redisError(err)
		}
		if reading > 1 {
			changed := differing(last, now)
			if len(changed) == 0 || reading == redisReadings {
				return contentOf(now, others, changed, reading), nil
			}
		}
		last = now
		if err := sleep(ctx, redisPause); err != nil {
			return nil, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func compareRefs(a, b SourceRef) int {
	return compareRecords(SourceRecord{Bucket: a.Bucket, Key: a.Key}, SourceRecord{Bucket: b.Bucket, Key: b.Key})
}

// differing returns the keys that two readings do not agree on, in order.
func differing(a, b map[SourceRef]redisValue) []SourceRef {
	var out []SourceRef
	for ref, v := range a {
		if w, ok := b[ref]; !ok || w.value != v.value || w.problem != v.problem {
			out = append(out, ref)
		}
	}
	for ref := range b {
		if _, ok := a[ref]; !ok {
			out = append(out, ref)
		}
	}
	slices.SortFunc(out, compareRefs)
	return out
}

func contentOf(values map[SourceRef]redisValue, others int, changed []SourceRef, readings int) *RedisContent {
	c := &RedisContent{Source: &Source{}, Changed: changed, OtherKeys: others, Readings: readings}
	h := sha256.New()
	for _, ref := range slices.SortedFunc(maps.Keys(values), compareRefs) {
		v := values[ref]
		rec := SourceRecord{Bucket: ref.Bucket, Key: ref.Key, Problem: v.problem}
		if v.problem == "" {
			rec.Value = []byte(v.value)
		}
		c.Source.Records = append(c.Source.Records, rec)
		if v.expiring {
			c.Expiring = append(c.Expiring, ref)
		}
		for _, part := range []string{ref.Bucket, ref.Key, v.value, v.problem} {
			_, _ = h.Write(binary.AppendUvarint(nil, uint64(len(part)))) // a hash's Write never fails
			_, _ = h.Write([]byte(part))
		}
	}
	c.Digest = hex.EncodeToString(h.Sum(nil))
	return c
}

// readOnce scans every master and gets what is Atlantis's.
func (r *redisReader) readOnce(ctx context.Context) (map[SourceRef]redisValue, int, error) {
	if err := r.checkSlots(ctx); err != nil {
		return nil, 0, err
	}
	keys := map[string]SourceRef{}
	others := map[string]bool{}
	var mu sync.Mutex
	note := func(found []string) {
		mu.Lock()
		defer mu.Unlock()
		for _, k := range found {
			if ref, ok := redisRef(k); ok {
				keys[k] = ref
			} else {
				others[k] = true
			}
		}
	}
	var err error
	if c, ok := r.client.(*redis.ClusterClient); ok {
		err = c.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error { return scan(ctx, master, note) })
	} else {
		err = scan(ctx, r.client, note)
	}
	if err != nil {
		return nil, 0, err
	}
	values := make(map[SourceRef]redisValue, len(keys))
	for batch := range slices.Chunk(slices.Sorted(maps.Keys(keys)), redisPipeline) {
		if err := r.get(ctx, batch, keys, values); err != nil {
			return nil, 0, err
		}
	}
	return values, len(others), nil
}

func scan(ctx context.Context, c redis.Cmdable, note func([]string)) error {
	for cursor := uint64(0); ; {
		found, next, err := c.Scan(ctx, cursor, "", redisScanCount).Result()
		if err != nil {
			return err
		}
		note(found)
		if next == 0 {
			return nil
		}
		cursor = next
	}
}

// redisRef returns what a Redis key is as a record of an atlantis.db; ok is
// false when it is not Atlantis's.
func redisRef(key string) (ref SourceRef, ok bool) {
	if text, ok := strings.CutPrefix(key, compat.LockKeyPrefix); ok {
		return SourceRef{BucketLocks, text}, true
	}
	if name, ok := compat.ParseCommandLockKey(key); ok {
		return SourceRef{BucketCommandLocks, compat.CommandLockBoltKey(name)}, true
	}
	_, _, _, err := compat.ParsePullStatusKey(key)
	return SourceRef{BucketPulls, key}, err == nil
}

// get reads the values of a batch of keys into values. Keys that are gone are
// left out: another reading will tell.
func (r *redisReader) get(ctx context.Context, batch []string, refs map[string]SourceRef, values map[SourceRef]redisValue) error {
	gets := make([]*redis.StringCmd, len(batch))
	ttls := make([]*redis.DurationCmd, len(batch))
	// A cluster's client sends each command to the master of its key.
	_, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, k := range batch {
			gets[i], ttls[i] = p.Get(ctx, k), p.PTTL(ctx, k)
		}
		return nil
	})
	var answered redis.Error
	if err != nil && !errors.As(err, &answered) {
		return err
	}
	for i, k := range batch {
		value, err := gets[i].Result()
		switch {
		case errors.Is(err, redis.Nil):
			continue
		case err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE"):
			kind, err := r.client.Type(ctx, k).Result()
			if err != nil {
				return err
			}
			values[refs[k]] = redisValue{problem: "it is a " + kind + ", not a string"}
			continue
		case err != nil:
			return err
		}
		ttl, err := ttls[i].Result()
		if err != nil {
			return err
		}
		values[refs[k]] = redisValue{value: value, expiring: ttl >= 0}
	}
	return nil
}
