package rpc

import (
	"errors"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/internal/testutil"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// decoded returns what the decoder makes of a message.
func decoded(d *listDecoder, b []byte) (locks []*lockcluster.Lock, err error) {
	err = d.chunk(b, func(l *lockcluster.Lock) error {
		locks = append(locks, l)
		return nil
	})
	return locks, err
}

// asProtobuf returns what protobuf and lockFromPB make of it.
func asProtobuf(m *pb.ListResponse) (locks []*lockcluster.Lock) {
	for _, l := range m.GetLocks() {
		locks = append(locks, lockFromPB(l))
	}
	return locks
}

func sameLocks(t *testing.T, got, want []*lockcluster.Lock) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d locks, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := *got[i], *want[i]
		if !g.AcquiredAt.Equal(w.AcquiredAt) || offsetOf(g.AcquiredAt) != offsetOf(w.AcquiredAt) || !g.RenewedAt.Equal(w.RenewedAt) || string(g.Value) != string(w.Value) {
			t.Errorf("lock %d: got %+v, want %+v", i, g, w)
		}
		g.AcquiredAt, g.RenewedAt, g.Value = w.AcquiredAt, w.RenewedAt, w.Value
		if !reflect.DeepEqual(g, w) {
			t.Errorf("lock %d: got %+v, want %+v", i, g, w)
		}
	}
}

// The decoder makes the same locks of a listing as protobuf.
func TestListDecoder(t *testing.T) {
	rng := testutil.Rand(t)
	m := &pb.ListResponse{Read: &pb.ReadInfo{Index: 42}}
	for range 300 {
		m.Locks = append(m.Locks, lockToPB(someLock(rng), true))
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var d listDecoder
	got, err := decoded(&d, b)
	if err != nil {
		t.Fatal(err)
	}
	sameLocks(t, got, asProtobuf(m))
	if d.info.GetIndex() != 42 {
		t.Errorf("index %d, want 42", d.info.GetIndex())
	}
	enough := errors.New("enough")
	if err := d.chunk(b, func(*lockcluster.Lock) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("the caller's error became %v", err)
	}
	for end := range 200 { // cut anywhere, it never panics
		_, _ = decoded(&d, b[:end])
	}
}

// FuzzListDecoder looks for a message that protobuf reads otherwise.
func FuzzListDecoder(f *testing.F) {
	m := &pb.ListResponse{Read: &pb.ReadInfo{Index: 1}, Locks: []*pb.Lock{
		{Key: &pb.Key{Repo: "a", Path: "b"}, Owner: &pb.Owner{Pull: -1}, Kind: 300, AcquiredAtOffsetSeconds: -5, Value: []byte("x")}, {},
	}}
	b, err := proto.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decoded(&listDecoder{}, b)
		var m pb.ListResponse
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		// What protobuf itself writes: it merges fields that come twice.
		again, err := proto.Marshal(&m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decoded(&listDecoder{}, again)
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		sameLocks(t, got, asProtobuf(&m))
	})
}
