package backends

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/compat"
)

const (
	kindRedis = "redis"
	// Ours beside Atlantis's keys; in a cluster with a {tag} of each slot.
	redisFenceKey = "lockcluster:fence"
	redisSideKey  = "lockcluster:side"
	redisOurs     = "lockcluster:"
	redisIDField  = "id" // of the side hash; the fields of records begin otherwise
)

// redisStore is a Redis that others may write to.
type redisStore struct {
	client  redis.UniversalClient
	cluster bool
	timeout time.Duration
	// tokens is the greatest that any fence key has told of.
	tokens lockcluster.Token
	// handles says as whom this store commits; by slot, one entry if it is no
	// cluster.
	handles map[uint16]handle
	// had is in which slots of a cluster there were records, by the last look at
	// all and the commits since.
	had map[uint16]bool
}

// handle is this store as a writer to one slot.
type handle struct {
	id   string
	seq  uint64 // how many commits it has made
	last commitID
}

// commitID is the last commit that a slot has seen.
type commitID struct {
	id  string
	seq uint64
}

func newHandle() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func openRedis(ctx context.Context, o Options) (Backend, error) {
	address, err := parseRedisURL(o.URL)
	if err != nil {
		return nil, err
	}
	ns := o.Namespace
	if ns == "" {
		ns = lockcluster.NamespaceOfDatabase(address.database)
	}
	s := &redisStore{client: address.client(o), cluster: address.cluster, timeout: o.Timeout, handles: map[uint16]handle{}, had: map[uint16]bool{}}
	b := newLegacy(kindRedis, ns, s, o.Timeout)
	b.shared = true
	b.img.usable = func(p place) bool {
		q, ok := redisPlace(redisKey(p))
		return ok && p == q
	}
	if s.cluster {
		b.slot = s.slot
	}
	if err := b.start(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return b, nil
}

// redisKey returns the key of a place.
func redisKey(p place) string {
	switch p.space {
	case lockcluster.SpaceLock:
		return compat.LockKeyPrefix + p.key
	case lockcluster.SpaceCommand:
		return compat.CommandLockKey(p.key)
	default:
		return p.key
	}
}

// redisPlace undoes redisKey; ok is false for our own keys.
func redisPlace(key string) (p place, ok bool) {
	if text, is := strings.CutPrefix(key, compat.LockKeyPrefix); is && text != "" {
		return place{lockcluster.SpaceLock, text}, true
	}
	if name, is := compat.ParseCommandLockKey(key); is {
		return place{lockcluster.SpaceCommand, name}, true
	}
	return place{lockcluster.SpaceDocument, key}, !strings.HasPrefix(key, redisOurs)
}

func (s *redisStore) slot(p place) uint16 {
	if !s.cluster {
		return 0
	}
	return slotOfKey(redisKey(p))
}

// slots returns how many slots there are.
func (s *redisStore) slots() int {
	if s.cluster {
		return redisSlots
	}
	return 1
}

// slotKey returns one of our keys for a slot.
func (s *redisStore) slotKey(key string, slot uint16) string {
	if !s.cluster {
		return key
	}
	return key + ":{" + slotTags()[slot] + "}"
}

func (s *redisStore) raise(ctx context.Context, f Fence, c Claim) error {
	id := newHandle()
	load, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := s.eachMaster(load, func(ctx context.Context, node redis.Cmdable) error { return raiseScript.Load(ctx, node).Err() })
	if err != nil {
		return unavailable(fmt.Errorf("raise the fence: %w", err))
	}
	slots := s.slots()
	const chunk = 2048
	for first := 0; first < slots; first += chunk {
		if err := s.raiseSlots(ctx, f, c, id, first, min(first+chunk, slots)); err != nil {
			return err
		}
	}
	return nil
}

// raiseSlots raises the fences of some slots, in one exchange with each node.
func (s *redisStore) raiseSlots(ctx context.Context, f Fence, c Claim, id string, first, end int) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	cmds, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for slot := first; slot < end; slot++ {
			keys, args := s.raiseArgs(f, c, id, uint16(slot)) //nolint:gosec // below 16384
			raiseScript.EvalSha(ctx, p, keys, args...)
		}
		return nil
	})
	if err != nil {
		return unavailable(fmt.Errorf("raise the fence: %w", err))
	}
	for i, cmd := range cmds {
		if _, err := s.raised(f, uint16(first+i), id, cmd.(*redis.Cmd)); err != nil {
			return err
		}
	}
	return nil
}

func (s *redisStore) raiseArgs(f Fence, c Claim, id string, slot uint16) (keys []string, args []any) {
	args = []any{f.Term, f.Epoch, s.tokens.Epoch, s.tokens.Counter, id, c.ID}
	for _, over := range c.Over {
		args = append(args, over)
	}
	return []string{s.slotKey(redisFenceKey, slot), s.slotKey(redisSideKey, slot)}, args
}

// raised reads the answer of raiseScript for a slot, which id commits to from
// now on, and returns whose commit was the last one.
func (s *redisStore) raised(f Fence, slot uint16, id string, cmd *redis.Cmd) (commitID, error) {
	reply, err := cmd.StringSlice()
	switch {
	case err != nil:
		return commitID{}, unavailable(fmt.Errorf("raise the fence: %w", err))
	case len(reply) == 2 && reply[0] == "OTHER":
		return commitID{}, otherStore(reply[1])
	case len(reply) == 4 && reply[0] == "FENCED":
		last, err := parseCommitID(reply[2:])
		return last, errors.Join(fenced(f, reply[1]), err)
	case len(reply) != 5:
		return commitID{}, unavailable(errors.New("raise the fence: the answer has not its five parts"))
	}
	var n [2]uint64
	for i := range n {
		if n[i], err = strconv.ParseUint(reply[1+i], 10, 64); err != nil {
			return commitID{}, unavailable(errors.New("raise the fence: a part of the answer is no number"))
		}
	}
	last, err := parseCommitID(reply[3:])
	if err != nil {
		return commitID{}, err
	}
	s.tokens = lockcluster.Token{Epoch: max(s.tokens.Epoch, n[0]), Counter: max(s.tokens.Counter, n[1])}
	s.handles[slot] = handle{id: id, last: last}
	return last, nil
}

// parseCommitID reads what a script says of the last commit.
func parseCommitID(parts []string) (commitID, error) {
	if len(parts) < 2 {
		return commitID{}, unavailable(errors.New("the answer of a script does not name the last commit"))
	}
	seq, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return commitID{}, unavailable(errors.New("the answer of a script does not number the last commit"))
	}
	return commitID{parts[0], seq}, nil
}

// commitTries is how often a commit is sent whose answer was lost, when it is
// certain that it was not carried out.
const commitTries = 3

func (s *redisStore) commit(ctx context.Context, f Fence, id string, tokens lockcluster.Token, changes []change) error {
	slot := uint16(0)
	if len(changes) > 0 {
		slot = s.slot(changes[0].place)
	}
	for try := 1; ; try++ {
		h := s.handles[slot]
		h.seq++
		s.had[slot] = true
		err := s.send(ctx, f, id, tokens, slot, h, changes)
		if err == nil {
			h.last = commitID{h.id, h.seq}
			s.handles[slot] = h
			return nil
		}
		if !isLost(err) {
			return err
		}
		done, serr := s.settle(ctx, f, id, slot, h)
		switch {
		case serr != nil:
			return serr
		case done:
			return nil
		case try == commitTries || ctx.Err() != nil:
			return unavailable(err)
		}
	}
}

// lostError is an exchange whose answer did not arrive.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

func isLost(err error) bool {
	var lost *lostError
	return errors.As(err, &lost)
}

// send runs the commit script once.
func (s *redisStore) send(ctx context.Context, f Fence, id string, tokens lockcluster.Token, slot uint16, h handle, changes []change) error {
	keys := make([]string, 0, 2+len(changes))
	keys = append(keys, s.slotKey(redisFenceKey, slot), s.slotKey(redisSideKey, slot))
	args := make([]any, 0, 7+8*len(changes))
	args = append(args, f.Term, f.Epoch, tokens.Epoch, tokens.Counter, h.id, h.seq, id)
	for _, c := range changes {
		keys = append(keys, redisKey(c.place))
		soft := "0"
		if c.soft {
			soft = "1"
		}
		args = append(args, sideKey(c.place), soft)
		args = pair(pair(pair(args, c.old), c.new.value), c.new.side)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	reply, err := commitScript.Run(ctx, s.client, keys, args...).StringSlice()
	switch {
	case err != nil: // a refusal, too, may be that of a second try by the client
		return &lostError{err}
	case len(reply) == 0:
		return unavailable(errors.New("the answer to a commit is empty"))
	}
	switch reply[0] {
	case "OK":
		return nil
	case "CHANGED":
		return errChanged
	case "OTHER": // the client may have sent it before, to the store that it was
		return unknown(anotherIs(strings.Join(reply[1:], "")))
	case "TAKEN", "FENCED":
		return refusedCommit(f, h, reply)
	}
	return unavailable(errors.New("the answer to a commit is not known"))
}

// refusedCommit says what a refusal means for a commit of h: nothing was done
// only if the last commit is still the one that h knows of. Otherwise the
// client may have sent it before, and others have committed since.
func refusedCommit(f Fence, h handle, reply []string) error {
	if len(reply) < 4 { // there is no fence, so there was no commit
		return errTaken
	}
	last, err := parseCommitID(reply[2:])
	switch {
	case err != nil:
		return err
	case last != h.last:
		return unknown(errors.New("another leader has taken over meanwhile"))
	case reply[0] == "FENCED":
		return fenced(f, reply[1])
	}
	return errTaken
}

// settle finds out what became of a commit whose answer was lost: it takes the
// fence under a new handle, so that the commit cannot be carried out any more,
// and learns whether it was.
func (s *redisStore) settle(ctx context.Context, f Fence, storeID string, slot uint16, lost handle) (done bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
	defer cancel()
	id := newHandle()
	keys, args := s.raiseArgs(f, Claim{ID: storeID}, id, slot)
	cmd := raiseScript.Run(ctx, s.client, keys, args...)
	last, err := s.raised(f, slot, id, cmd)
	mine := commitID{lost.id, lost.seq}
	asked := err == nil || errors.Is(err, ErrFenced)
	switch {
	case asked && last == mine:
		return true, nil
	case asked && last == lost.last:
		return false, err
	case asked:
		return false, unknown(errors.New("the answer to a commit was lost, and others have committed since"))
	case errors.Is(err, ErrOtherStore):
		return false, unknown(fmt.Errorf("the answer to a commit was lost: %w", ErrOtherStore))
	}
	return false, unknown(fmt.Errorf("the answer to a commit was lost, and what became of it cannot be asked: %s", err))
}

func (s *redisStore) check(ctx context.Context) (id string, err error) {
	limited, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := s.eachMaster(limited, checkNode); err != nil {
		return "", unavailable(err)
	}
	if StoreOf(ctx) == "" {
		return "", nil // nobody asks which one it is
	}
	return s.glance(ctx, nil)
}

// eachMaster calls f for every node that has keys, perhaps side by side.
func (s *redisStore) eachMaster(ctx context.Context, f func(ctx context.Context, node redis.Cmdable) error) error {
	if c, ok := s.client.(*redis.ClusterClient); ok {
		return c.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return f(ctx, node) })
	}
	return f(ctx, s.client)
}

// checkNode finds a node that cannot write, or that may throw locks away.
func checkNode(ctx context.Context, node redis.Cmdable) error {
	info, err := node.Info(ctx, "memory", "replication").Result()
	if err != nil {
		return err
	}
	fields := map[string]string{}
	for line := range strings.Lines(info) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[k] = v
		}
	}
	switch {
	case fields["role"] == "slave":
		return errors.New("this Redis is a replica: name the master")
	case fields["maxmemory"] != "0" && strings.HasPrefix(fields["maxmemory_policy"], "allkeys-"):
		return fmt.Errorf("this Redis throws keys away when memory is short (maxmemory-policy %s), held locks too: set it to noeviction", fields["maxmemory_policy"])
	}
	return nil
}

func (s *redisStore) close() error { return s.client.Close() }
