package backends

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster"
)

const (
	scanCount  = 1000 // keys a SCAN step looks at
	fetchChunk = 500  // records fetched in one exchange
)

func (s *redisStore) load(ctx context.Context) (content, error) {
	keys, err := s.scan(ctx)
	if err != nil {
		return content{}, unavailable(fmt.Errorf("list the legacy redis: %w", err))
	}
	places := make([]place, 0, len(keys))
	for _, key := range keys {
		if p, ok := redisPlace(key); ok {
			places = append(places, p)
		}
	}
	c, err := s.fetch(ctx, places)
	if err != nil {
		return content{}, err
	}
	if err := s.orphans(ctx, &c); err != nil {
		return content{}, unavailable(fmt.Errorf("read the legacy redis: %w", err))
	}
	if c.foreign, err = s.foreign(ctx, c.entries); err != nil {
		return content{}, unavailable(err)
	}
	if s.cluster {
		if err := s.missed(ctx, &c); err != nil {
			return content{}, err
		}
	}
	return c, nil
}

// missed looks at the slots of what is not there any more, which has named none.
func (s *redisStore) missed(ctx context.Context, c *content) error {
	there, gone := map[uint16]bool{}, maps.Clone(s.had)
	for p, e := range c.entries {
		if e.value != nil {
			there[s.slot(p)] = true
		}
	}
	for slot := range there {
		delete(gone, slot) // its marks were read with its records
	}
	id, err := s.glance(ctx, gone)
	switch {
	case err != nil:
		return err
	case c.id != id:
		c.id = fmt.Sprintf("%q", []string{c.id, id})
		maps.Copy(s.had, there)
	default:
		s.had = there
	}
	return nil
}

// scan returns every key once.
func (s *redisStore) scan(ctx context.Context) ([]string, error) {
	var mu sync.Mutex
	seen := map[string]bool{}
	err := s.eachMaster(ctx, func(ctx context.Context, node redis.Cmdable) error {
		for cursor := uint64(0); ; {
			step, cancel := context.WithTimeout(ctx, s.timeout)
			keys, next, err := node.Scan(step, cursor, "", scanCount).Result()
			cancel()
			if err != nil {
				return err
			}
			mu.Lock()
			for _, key := range keys {
				seen[key] = true
			}
			mu.Unlock()
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	})
	keys := make([]string, 0, len(seen))
	for key := range seen {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys, err
}

func (s *redisStore) fetch(ctx context.Context, places []place) (content, error) {
	c := content{entries: make(map[place]entry, len(places))}
	ids := map[string]bool{}
	if len(places) == 0 { // the fence alone
		places = []place{{lockcluster.SpaceDocument, redisFenceKey}}
	}
	for some := range slices.Chunk(places, fetchChunk) {
		if err := s.fetchSome(ctx, some, &c, ids); err != nil {
			return content{}, unavailable(fmt.Errorf("read the legacy redis: %w", err))
		}
	}
	c.id = oneID(slices.Sorted(maps.Keys(ids)))
	delete(c.entries, place{lockcluster.SpaceDocument, redisFenceKey})
	c.tokens = s.tokens
	return c, nil
}

// fetchSome reads the marks of the store after the records: if they are still
// there, the records were, too.
func (s *redisStore) fetchSome(ctx context.Context, places []place, c *content, ids map[string]bool) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	cmds := make([]*redis.StringCmd, 0, 2*len(places))
	marks := map[uint16]mark{}
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, at := range places {
			cmds = append(cmds, p.Get(ctx, redisKey(at)),
				p.HGet(ctx, s.slotKey(redisSideKey, s.slot(at)), string(sideKey(at))))
		}
		for _, at := range places {
			slot := s.slot(at)
			if _, asked := marks[slot]; !asked {
				marks[slot] = s.askMark(ctx, p, slot)
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) && !isWrongType(err) {
		return err
	}
	for i, at := range places {
		var e entry
		if e.value, err = bytesOf(cmds[2*i]); err != nil {
			return err
		}
		if e.side, err = bytesOf(cmds[2*i+1]); err != nil {
			return err
		}
		c.entries[at] = e
	}
	for _, m := range marks {
		id, f, t, err := m.read()
		if err != nil {
			return err
		}
		ids[id] = true
		if c.fence.Less(f) {
			c.fence = f
		}
		s.tokens = lockcluster.Token{Epoch: max(s.tokens.Epoch, t.Epoch), Counter: max(s.tokens.Counter, t.Counter)}
	}
	return nil
}

// orphans adds the side records of what somebody else has removed, so that
// they are removed, too. A cluster keeps them until their key comes back.
func (s *redisStore) orphans(ctx context.Context, c *content) error {
	if s.cluster {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	fields, err := s.client.HKeys(ctx, redisSideKey).Result()
	if err != nil {
		return err
	}
	for _, field := range fields {
		if p, ok := placeOfSide(field); ok && c.entries[p].value == nil {
			c.entries[p] = entry{side: []byte{}}
		}
	}
	return nil
}

// bytesOf returns nil for what is not there, or is of another type.
func bytesOf(cmd *redis.StringCmd) ([]byte, error) {
	switch b, err := cmd.Bytes(); {
	case errors.Is(err, redis.Nil), isWrongType(err):
		return nil, nil
	case err != nil:
		return nil, err
	case b == nil:
		return []byte{}, nil
	default:
		return b, nil
	}
}

func isWrongType(err error) bool { return err != nil && redis.HasErrorPrefix(err, "WRONGTYPE") }

// foreign lists the keys that SCAN has shown and GET has not, because they are
// no strings.
func (s *redisStore) foreign(ctx context.Context, entries map[place]entry) ([]foreign, error) {
	var places []place
	for p, e := range entries {
		if e.value == nil {
			places = append(places, p)
		}
	}
	var all []foreign
	for some := range slices.Chunk(places, fetchChunk) {
		step, cancel := context.WithTimeout(ctx, s.timeout)
		cmds, err := s.client.Pipelined(step, func(p redis.Pipeliner) error {
			for _, at := range some {
				p.Type(step, redisKey(at))
			}
			return nil
		})
		cancel()
		if err != nil {
			return nil, err
		}
		for i, at := range some {
			if t := cmds[i].(*redis.StatusCmd).Val(); t != "none" && t != "string" {
				all = append(all, foreign{Bad{Bucket: bucketOf(kindRedis, at), Key: redisKey(at), Reason: "it is a " + t + ", not a string"}, at})
			}
		}
	}
	return all, nil
}

// bucketOf names where a record of the place is stored, for people.
func bucketOf(kind string, p place) string {
	bolt := kind == kindBolt
	switch {
	case p.space == lockcluster.SpaceLock && bolt:
		return bucketLocks
	case p.space == lockcluster.SpaceCommand && bolt:
		return bucketCommands
	case bolt:
		return bucketPulls
	case p.space == lockcluster.SpaceLock:
		return "locks"
	case p.space == lockcluster.SpaceCommand:
		return "command locks"
	default:
		return "documents"
	}
}
