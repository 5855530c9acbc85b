package command

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command/logpb"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// fill sets every field of v at random, fields of later versions too: a field
// that wire.go does not know makes its bytes differ from package proto's.
func fill(r *rand.Rand, v reflect.Value) {
	if t, ok := v.Addr().Interface().(*time.Time); ok {
		if r.IntN(3) > 0 {
			*t = time.Unix(r.Int64N(1<<33)-1<<32, r.Int64N(1e9)).In(time.FixedZone("", r.IntN(2)*(r.IntN(100_000)-50_000)))
		}
		return
	}
	if r.IntN(4) == 0 {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(r, v.Elem())
	case reflect.String:
		v.SetString(strings.Repeat("abcé", r.IntN(60)))
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(bytes.Repeat([]byte{'{', 0xff}, []int{0, 5, 63, 64, 600, 9000}[r.IntN(6)]))
		}
	case reflect.Int, reflect.Int64:
		v.SetInt(r.Int64() >> r.IntN(64) * int64(1-2*(r.IntN(8)/7)))
	case reflect.Uint64:
		v.SetUint(r.Uint64() >> r.IntN(64))
	case reflect.Uint8:
		v.SetUint(r.Uint64N(256))
	case reflect.Uint32:
		v.SetUint(r.Uint64N(1 << 32))
	}
}

func random[T any](r *rand.Rand) T {
	var x T
	fill(r, reflect.ValueOf(&x).Elem())
	return x
}

func randomRequest(r *rand.Rand) lockcluster.Request {
	if r.IntN(2) == 0 {
		return random[lockcluster.Acquire](r)
	}
	return random[lockcluster.Release](r)
}

// What is written by hand has the bytes of package proto, and is read by hand
// to what package proto reads.
func TestWireEqualsProto(t *testing.T) {
	r := testutil.Rand(t)
	read := 0
	for range 20_000 {
		id, req := random[lockcluster.RequestID](r), randomRequest(r)
		want, err := encodeCommand(id, req)
		if err != nil {
			t.Fatal(err)
		}
		size := commandSize(id, req)
		got, ok := appendCommand(make([]byte, 0, size), id, req)
		if !ok || !bytes.Equal(got, want) {
			t.Fatalf("%+v\n got %x\nwant %x", req, got, want)
		}
		if len(got) > size {
			t.Fatalf("%d bytes, %d were expected", len(got), size)
		}
		read += sameCommand(t, got)
	}
	if read < 10_000 {
		t.Errorf("only %d of 20000 were read by hand", read)
	}
}

// sameCommand compares both ways to read b, and returns 1 if it could be read
// by hand.
func sameCommand(t *testing.T, b []byte) int {
	t.Helper()
	got, ok := readCommand(b)
	if !ok {
		return 0
	}
	want, err := decodeCommand(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%x\n got %+v\nwant %+v, %v", b, got, want, err)
	}
	return 1
}

// The same for answers, and the size that is set aside for them is enough.
func TestResultWireEqualsProto(t *testing.T) {
	r := testutil.Rand(t)
	byHand := 0
	for range 20_000 {
		res := random[lockcluster.Result](r)
		if r.IntN(4) > 0 {
			res.CommandLock, res.Document = nil, nil
		}
		want, err := encodeResult(res)
		if err != nil {
			t.Fatal(err)
		}
		if b, ok := appendResult(nil, &res); ok {
			byHand++
			if !bytes.Equal(b, want) {
				t.Fatalf("%+v\n got %x\nwant %x", res, b, want)
			}
			if size := resultSize(&res); len(b) > size {
				t.Fatalf("%d bytes, %d were expected", len(b), size)
			}
		}
		if b, err := AppendResult([]byte("x"), &res); err != nil || !bytes.Equal(b, append([]byte("x"), want...)) {
			t.Fatalf("appended: %x, %v", b, err)
		}
	}
	if byHand < 10_000 {
		t.Errorf("only %d of 20000 were written by hand", byHand)
	}
}

// What is damaged in any way is read by hand only to what package proto reads
// too.
func TestDamagedCommandsAreReadAlike(t *testing.T) {
	r := testutil.Rand(t)
	read := 0
	for range 30_000 {
		req := randomRequest(r)
		if a, ok := req.(lockcluster.Acquire); ok && len(a.Value) > 100 {
			a.Value = a.Value[:100]
			req = a
		}
		b, err := encodeCommand(random[lockcluster.RequestID](r), req)
		if err != nil || len(b) == 0 {
			t.Fatal(err)
		}
		switch r.IntN(4) {
		case 0:
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		case 1:
			b = b[:r.IntN(len(b))]
		case 2: // a field of any kind and number behind it
			b = protowire.AppendTag(b, protowire.Number(r.IntN(30)+1), protowire.Type(r.IntN(6)))
			b = protowire.AppendVarint(b, r.Uint64N(3))
		default:
			at := r.IntN(len(b))
			b = append(b[:at:at], append([]byte{byte(r.Uint32())}, b[at:]...)...)
		}
		read += sameCommand(t, b)
	}
	if read < 1000 {
		t.Errorf("only %d of 30000 were read by hand", read)
	}
}

// A payload that is read field by field holds what package proto finds in it.
func TestEntryEqualsProto(t *testing.T) {
	r := testutil.Rand(t)
	for range 500 {
		var commands [][]byte
		for range r.IntN(40) {
			b, err := EncodeCommand(random[lockcluster.RequestID](r), randomRequest(r))
			if err != nil {
				t.Fatal(err)
			}
			commands = append(commands, b)
		}
		at := time.UnixMilli(r.Int64N(1 << 42)).UTC()
		b, err := EncodeEntry(at, commands)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeEntry(b)
		if err != nil {
			t.Fatal(err)
		}
		var pb logpb.Entry
		if err := proto.Unmarshal(b[envelopeSize:], &pb); err != nil {
			t.Fatal(err)
		}
		if !got.Time.Equal(at) || len(got.Commands) != len(pb.GetCommands()) {
			t.Fatalf("%d commands at %s, want %d at %s", len(got.Commands), got.Time, len(pb.GetCommands()), at)
		}
		for i, c := range got.Commands {
			want, err := commandFromPB(pb.GetCommands()[i])
			want.Digest = digest(commands[i])
			if err != nil || !reflect.DeepEqual(c, want) {
				t.Fatalf("command %d: %+v, want %+v, %v", i, c, want, err)
			}
		}
	}
}
