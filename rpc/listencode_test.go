package rpc

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/internal/testutil"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// The encoder writes byte for byte what protobuf makes of the same locks.
func TestLockEncoder(t *testing.T) {
	rng := testutil.Rand(t)
	for _, includeValue := range []bool{false, true} {
		var locks []*lockcluster.Lock
		for range 300 {
			locks = append(locks, someLock(rng))
		}
		locks = append(locks, &lockcluster.Lock{}, &lockcluster.Lock{AcquiredAt: time.Unix(0, 0), TTL: time.Second, RenewedAt: time.Unix(1, 0)})
		info := &pb.ReadInfo{Index: 7}
		want := &pb.ListResponse{}
		var encoded []byte
		e := lockEncoder{includeValue: includeValue}
		for _, l := range locks {
			want.Locks = append(want.Locks, lockToPB(l, includeValue))
			encoded = e.append(encoded, l)
		}
		wantBytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(encoded, wantBytes) {
			t.Errorf("with values %v: %d bytes differ from protobuf's %d", includeValue, len(encoded), len(wantBytes))
		}
		sent, err := appendInfo(encoded, info)
		if err != nil {
			t.Fatal(err)
		}
		got := &pb.ListResponse{}
		if err := proto.Unmarshal(sent, got); err != nil {
			t.Fatal(err)
		}
		if want.Read = info; !proto.Equal(got, want) {
			t.Errorf("with values %v: what arrives is not what was sent", includeValue)
		}
	}
}

// someLock has any of its fields set to something, or not.
func someLock(rng *rand.Rand) *lockcluster.Lock {
	text := func() string { return []string{"", "a", "acme/app", "bad\xff", "\u00e4"}[rng.IntN(5)] }
	instant := func() time.Time {
		if rng.IntN(3) == 0 {
			return time.Time{}
		}
		return time.Unix(rng.Int64N(4e9)-2e9, rng.Int64N(1e9)).In(time.FixedZone("", rng.IntN(100000)-50000))
	}
	number := func() uint64 { return rng.Uint64() >> rng.IntN(65) }
	return &lockcluster.Lock{
		Key:  lockcluster.Key{Namespace: []string{"", "default", "db1"}[rng.IntN(3)], Repo: text(), Path: text(), Workspace: text(), Project: text()},
		Kind: lockcluster.Kind(rng.IntN(4)), Owner: lockcluster.Owner{Host: text(), Repo: text(), Pull: rng.IntN(20) - 10, ID: text()},
		User: text(), Priority: lockcluster.Priority(rng.IntN(5)), Token: lockcluster.Token{Epoch: number(), Counter: number()},
		AcquiredAt: instant(), RenewedAt: instant(), TTL: time.Duration(rng.Int64N(1e12)) * time.Duration(rng.IntN(2)),
		LeaseEpoch: number(), Revision: number(),
		Value: []byte([]string{"", "no JSON", `{"a":1}`, `{"Body":"x","u":"https://u:p@h/"}`}[rng.IntN(4)]),
	}
}
