package resp

import (
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// unlockIfOwnedByPull is the script of Atlantis v0.47.1, byte for byte
// (server/core/redis/redis.go).
const unlockIfOwnedByPull = "" +
	"local value = redis.call(\"GET\", KEYS[1])\n" +
	"if not value then\n" +
	"  return nil\n" +
	"end\n" +
	"\n" +
	"local ok, lock = pcall(cjson.decode, value)\n" +
	"if not ok then\n" +
	"  return redis.error_reply(\"failed to deserialize current lock\")\n" +
	"end\n" +
	"\n" +
	"if not lock[\"Pull\"] or tonumber(lock[\"Pull\"][\"Num\"]) ~= tonumber(ARGV[1]) then\n" +
	"  return nil\n" +
	"end\n" +
	"\n" +
	"redis.call(\"DEL\", KEYS[1])\n" +
	"return value\n"

// A lock is taken by one pull request, refused to the next with the holder's
// name, given again to the same, and comes back byte for byte.
func TestSetOfLockIsCreate(t *testing.T) {
	c := newClient(t, mustOpen(t, newSystem(t)))
	ctx := t.Context()
	key, first := testLock("acme/app", "d1", 4)
	_, second := testLock("acme/app", "d1", 5)
	if err := c.Get(ctx, key).Err(); !errors.Is(err, redis.Nil) {
		t.Fatalf("a free lock gave %v", err)
	}
	if err := c.Set(ctx, key, first, 0).Err(); err != nil {
		t.Fatal(err)
	}
	err := c.Set(ctx, key, second, 0).Err()
	if err == nil || err.Error() != "LOCKED held by pull request #4 of acme/app since 2026-11-23T12:00:00Z" {
		t.Fatalf("the second pull was told %v", err)
	}
	again := strings.Replace(first, "jane", "joe", 1)
	if err := c.Set(ctx, key, again, 0).Err(); err != nil {
		t.Fatalf("the same pull was told %v", err)
	}
	if got := c.Get(ctx, key).Val(); got != first {
		t.Fatalf("got  %s\nwant %s", got, first)
	}
}

// Atlantis's script deletes a lock of its own pull request and no other.
func TestUnlockIfOwnedByPullScript(t *testing.T) {
	c := newClient(t, mustOpen(t, newSystem(t)))
	ctx := t.Context()
	key, value := testLock("acme/app", "d1", 4)
	if err := c.Eval(ctx, unlockIfOwnedByPull, []string{key}, 4).Err(); !errors.Is(err, redis.Nil) {
		t.Fatalf("a free lock gave %v", err)
	}
	if err := c.Set(ctx, key, value, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.Eval(ctx, unlockIfOwnedByPull, []string{key}, 5).Err(); !errors.Is(err, redis.Nil) {
		t.Fatalf("another pull's lock gave %v", err)
	}
	got, err := c.Eval(ctx, unlockIfOwnedByPull, []string{key}, 4).Result()
	if err != nil || got != value {
		t.Fatalf("got %v, %v", got, err)
	}
	if n := c.Exists(ctx, key).Val(); n != 0 {
		t.Error("the lock is still there")
	}
	// Not JSON: only a document can hold that.
	if err := c.Set(ctx, "doc", "{", 0).Err(); err != nil {
		t.Fatal(err)
	}
	err = c.Eval(ctx, unlockIfOwnedByPull, []string{"doc"}, 4).Err()
	if err == nil || !strings.Contains(err.Error(), "failed to deserialize current lock") {
		t.Errorf("got %v", err)
	}
}
