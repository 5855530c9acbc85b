package backends

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	ids := map[string]bool{}
	var id Identity
	const chunk = 2048
	for first := 0; first < s.slots(); first += chunk {
		step, cancel := context.WithTimeout(ctx, s.timeout)
		var marks []mark
		_, err := s.client.Pipelined(step, func(p redis.Pipeliner) error {
			for slot := first; slot < min(first+chunk, s.slots()); slot++ {
				marks = append(marks, s.askMark(step, p, uint16(slot))) //nolint:gosec // below 16384
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
