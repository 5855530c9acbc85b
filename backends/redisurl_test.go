package backends

import (
	"errors"
	"reflect"
	"testing"

	"github.com/lockcluster/lockcluster"
)

// A URL is read as [Options] says, and what it does not say is refused.
func TestParseRedisURL(t *testing.T) {
	for raw, want := range map[string]redisAddress{
		"redis://h":                                  {hosts: []string{"h:6379"}},
		"redis://h:1/2":                              {hosts: []string{"h:1"}, database: 2},
		"rediss://u:p%40%2F@h:1":                     {hosts: []string{"h:1"}, user: "u", password: "p@/", tls: true},
		"redis://:a@b@h:1/":                          {hosts: []string{"h:1"}, password: "a@b"},
		"redis://[::1]:7":                            {hosts: []string{"[::1]:7"}},
		"redis://[::1]":                              {hosts: []string{"[::1]:6379"}},
		"redis+cluster://a:1,b:2":                    {hosts: []string{"a:1", "b:2"}, cluster: true},
		"rediss+cluster://u:p@a:1,b/0":               {hosts: []string{"a:1", "b:6379"}, user: "u", password: "p", cluster: true, tls: true},
		"redis://a:1?cluster=true&addr=b:2&addr=c:3": {hosts: []string{"a:1", "b:2", "c:3"}, cluster: true},
		"redis+sentinel://a:1,b:2/mymaster":          {hosts: []string{"a:1", "b:2"}, master: "mymaster"},
		"rediss+sentinel://u:p@a:1/my%2Fmaster/4":    {hosts: []string{"a:1"}, user: "u", password: "p", master: "my/master", database: 4, tls: true},
	} {
		if got, err := parseRedisURL(raw); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", raw, got, err, want)
		}
	}
	for _, raw := range []string{
		"", "redis", "h:1", "http://h", "redis://", "redis:///1", "redis://h/x", "redis://h/-1", "redis://h:0", "redis://h:x", "redis://a,b",
		"redis+cluster://a/1", "redis+sentinel://a", "redis+sentinel://a/m/x", "redis://h?x=1", "redis://h?cluster=2", "redis://p@h", "redis://h?addr=a:x",
	} {
		if got, err := parseRedisURL(raw); !errors.Is(err, lockcluster.ErrInvalid) {
			t.Errorf("%s: %+v, %v, want ErrInvalid", raw, got, err)
		}
	}
}

// Slots are those of Redis, by the examples of its documentation, and each has
// a tag.
func TestSlots(t *testing.T) {
	for key, want := range map[string]uint16{
		"123456789": 0x31c3 % redisSlots, "foo": 12182, "{foo}bar": 12182, "x{foo}{bar}": 12182, "{}foo": crc16("{}foo") % redisSlots, "foo{": crc16("foo{") % redisSlots,
	} {
		if got := slotOfKey(key); got != want {
			t.Errorf("%q is in slot %d, want %d", key, got, want)
		}
	}
	for slot, tag := range slotTags() {
		if got := slotOfKey(redisFenceKey + ":{" + tag + "}"); int(got) != slot {
			t.Fatalf("the tag of slot %d lies in %d", slot, got)
		}
	}
}
