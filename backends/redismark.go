package backends

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster"
)

// mark is the question for what a slot says of its store: fence, tokens and id.
type mark struct{ fence, id *redis.StringCmd }

func (s *redisStore) askMark(ctx context.Context, p redis.Pipeliner, slot uint16) mark {
	return mark{p.Get(ctx, s.slotKey(redisFenceKey, slot)), p.HGet(ctx, s.slotKey(redisSideKey, slot), redisIDField)}
}

// read returns the answer; without a fence there is no id.
func (m mark) read() (id string, f Fence, t lockcluster.Token, err error) {
	b, err := bytesOf(m.fence)
	if err != nil || b == nil {
		return NoStore, f, t, err
	}
	if n, _ := fmt.Sscanf(string(b), "%d %d %d %d", &f.Term, &f.Epoch, &t.Epoch, &t.Counter); n != 4 { // see redisscript.go
		return NoStore, f, t, errors.New("the fence of lockcluster is not readable")
	}
	b, err = bytesOf(m.id)
	return string(b), f, t, err
}

// identity reads the marks of all slots.
func (s *redisStore) identity(ctx context.Context) (Identity, error) {
	all := make([]uint16, s.slots())
	for i := range all {
		all[i] = uint16(i) //nolint:gosec // below 16384
	}
	return s.marks(ctx, all)
}

// marks reads the marks of slots.
func (s *redisStore) marks(ctx context.Context, slots []uint16) (Identity, error) {
	ids := map[string]bool{}
	var id Identity
	const chunk = 2048
	for some := range slices.Chunk(slots, chunk) {
		step, cancel := context.WithTimeout(ctx, s.timeout)
		var marks []mark
		_, err := s.client.Pipelined(step, func(p redis.Pipeliner) error {
			for _, slot := range some {
				marks = append(marks, s.askMark(step, p, slot))
			}
			return nil
		})
		cancel()
		if err != nil && !errors.Is(err, redis.Nil) && !isWrongType(err) {
			return Identity{}, unavailable(fmt.Errorf("read the marks of the legacy redis: %w", err))
		}
		for _, m := range marks {
			one, f, _, err := m.read()
			if err != nil {
				return Identity{}, unavailable(err)
			}
			if ids[one] = true; id.Fence.Less(f) {
				id.Fence = f
			}
		}
	}
	id.IDs = slices.Sorted(maps.Keys(ids))
	return id, nil
}

// glance returns the id that the store has by the marks of one slot of each
// master, and of those in more. A master is emptied or replaced as a whole, and to
// read the marks of all slots takes a tenth of a second.
func (s *redisStore) glance(ctx context.Context, more map[uint16]bool) (string, error) {
	if !s.cluster {
		id, err := s.identity(ctx)
		return oneID(id.IDs), err
	}
	step, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	ranges, err := s.client.ClusterSlots(step).Result()
	if err != nil {
		return "", unavailable(fmt.Errorf("ask the legacy redis for its slots: %w", err))
	}
	slots := maps.Clone(more)
	if slots == nil {
		slots = map[uint16]bool{}
	}
	masters, served := map[string]bool{}, 0
	for _, r := range ranges {
		if len(r.Nodes) == 0 || r.Start < 0 || r.End >= redisSlots || r.Start > r.End {
			continue
		}
		served += r.End - r.Start + 1
		if master := cmp.Or(r.Nodes[0].ID, r.Nodes[0].Addr); !masters[master] {
			masters[master] = true
			slots[uint16(r.Start+rand.IntN(r.End-r.Start+1))] = true //nolint:gosec // below 16384; which one does not matter
		}
	}
	if served < redisSlots {
		return "", unavailable(fmt.Errorf("the legacy redis serves %d of its %d slots", served, redisSlots))
	}
	id, err := s.marks(ctx, slices.Sorted(maps.Keys(slots)))
	return oneID(id.IDs), err
}
