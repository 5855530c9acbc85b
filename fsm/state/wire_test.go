package state

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state/statepb"
	"github.com/lockcluster/lockcluster/internal/testutil"
)

// fillRecord sets fields of m at random, those of later versions too: one that
// wire.go does not write makes its bytes differ.
func fillRecord(r *rand.Rand, m proto.Message) {
	fields := m.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if r.IntN(4) == 0 {
			continue
		}
		var v protoreflect.Value
		switch f.Kind() {
		case protoreflect.BytesKind:
			v = protoreflect.ValueOfBytes(bytes.Repeat([]byte{'x', 0xff}, []int{0, 1, 63, 64, 2000}[r.IntN(5)]))
		case protoreflect.Int64Kind:
			v = protoreflect.ValueOfInt64(int64(r.Uint64() >> r.IntN(64)))
		case protoreflect.Int32Kind:
			v = protoreflect.ValueOfInt32(int32(r.Uint32()))
		case protoreflect.Uint32Kind:
			v = protoreflect.ValueOfUint32(r.Uint32())
		case protoreflect.BoolKind:
			v = protoreflect.ValueOfBool(true)
		default:
			v = protoreflect.ValueOfUint64(r.Uint64() >> r.IntN(64))
		}
		m.ProtoReflect().Set(f, v)
	}
}

// What is written by hand has the bytes of package proto.
func TestWrittenRecordsEqualProto(t *testing.T) {
	r := testutil.Rand(t)
	check := func(m proto.Message, got []byte) {
		t.Helper()
		if want := encode(m); !bytes.Equal(got, want) || cap(got) > len(got)+len(got)/4+64 {
			t.Fatalf("%T %v:\n got %x (room for %d)\nwant %x", m, m, got, cap(got), want)
		}
	}
	for range 5000 {
		client, repo := &statepb.ClientRecord{}, &statepb.RepoRecord{}
		fillRecord(r, client)
		fillRecord(r, repo)
		check(client, encodeClient(client))
		meta, books := &statepb.MetaRecord{}, &statepb.RequestMetaRecord{}
		fillRecord(r, meta)
		fillRecord(r, books)
		check(meta, exactly(appendMeta(nil, meta)))
		check(books, exactly(appendBooks(nil, books)))
		check(repo, encodeRepo(string(repo.GetHost()), repo.GetHosted()))

		lock := randomLock(r)
		check(lockRecord(&lock), encodeLock(&lock))

		answer := &statepb.AnswerRecord{}
		fillRecord(r, answer)
		res := lockcluster.Result{Status: lockcluster.StatusGranted, Lock: &lock, Token: lock.Token}
		switch r.IntN(4) {
		case 0:
			res = lockcluster.Result{}
		case 1:
			res = lockcluster.Result{Status: lockcluster.StatusReleased, Locks: []lockcluster.Lock{lock, lock}}
		}
		var err error
		if answer.Result, err = command.EncodeResult(res); err != nil {
			t.Fatal(err)
		}
		got, err := encodeAnswer(answer.GetOrder(), answer.GetTimeUnixMs(), &res, answer.GetRequestDigest())
		if err != nil {
			t.Fatal(err)
		}
		check(answer, got)
	}
}

// randomLock sets fields at random, those of later versions too.
func randomLock(r *rand.Rand) (l lockcluster.Lock) {
	fillValue(r, reflect.ValueOf(&l).Elem())
	l.Key.Namespace = "n"
	if l.AcquiredAt.IsZero() {
		l.AcquiredAt = time.Unix(1_700_000_000, 5)
	}
	if r.IntN(2) == 0 {
		l.Owner.Repo = l.Key.Repo
	}
	return l
}

func fillValue(r *rand.Rand, v reflect.Value) {
	if t, ok := v.Addr().Interface().(*time.Time); ok && r.IntN(3) > 0 {
		*t = time.Unix(r.Int64N(1<<32), r.Int64N(1e9)).In(time.FixedZone("", r.IntN(3)*(r.IntN(20_000)-10_000)))
	}
	if _, ok := v.Addr().Interface().(*time.Time); ok || r.IntN(4) == 0 {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillValue(r, v.Field(i))
		}
	case reflect.String:
		v.SetString(strings.Repeat("p\xff/", r.IntN(60)))
	case reflect.Slice:
		v.SetBytes(bytes.Repeat([]byte("v"), r.IntN(3000)))
	case reflect.Uint8:
		v.SetUint(r.Uint64N(256))
	case reflect.Uint64:
		v.SetUint(r.Uint64() >> r.IntN(64))
	default:
		v.SetInt(r.Int64() >> r.IntN(64))
	}
}

// What package proto writes is read by hand to the same record, damaged bytes
// included.
func TestReadRecordsEqualProto(t *testing.T) {
	r := testutil.Rand(t)
	byHand := 0
	check := func(b []byte, got, want proto.Message, ok bool) {
		t.Helper()
		if !ok {
			return
		}
		byHand++
		if err := proto.Unmarshal(b, want); err != nil || !proto.Equal(got, want) {
			t.Fatalf("%x:\n got %v\nwant %v, %v", b, got, want, err)
		}
	}
	damage := func(b []byte) []byte {
		if len(b) > 0 && r.IntN(2) == 0 {
			b = bytes.Clone(b)
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		return b
	}
	for range 5000 {
		answer, client, repo := &statepb.AnswerRecord{}, &statepb.ClientRecord{}, &statepb.RepoRecord{}
		fillRecord(r, answer)
		fillRecord(r, client)
		fillRecord(r, repo)
		meta, books := &statepb.MetaRecord{}, &statepb.RequestMetaRecord{}
		fillRecord(r, meta)
		fillRecord(r, books)
		m, b := damage(encode(meta)), damage(encode(books))
		var gotMeta statepb.MetaRecord
		check(m, &gotMeta, &statepb.MetaRecord{}, scanMeta(m, &gotMeta))
		var gotBooks statepb.RequestMetaRecord
		check(b, &gotBooks, &statepb.RequestMetaRecord{}, scanBooks(b, &gotBooks))
		a, c, h := damage(encode(answer)), damage(encode(client)), damage(encode(repo))
		var gotAnswer statepb.AnswerRecord
		check(a, &gotAnswer, &statepb.AnswerRecord{}, scanAnswer(a, &gotAnswer))
		var gotClient statepb.ClientRecord
		check(c, &gotClient, &statepb.ClientRecord{}, scanClient(c, &gotClient))
		var gotRepo statepb.RepoRecord
		check(h, &gotRepo, &statepb.RepoRecord{}, scanRepo(h, &gotRepo))
	}
	if byHand < 12_500 {
		t.Errorf("only %d of 25000 were read by hand", byHand)
	}
}
