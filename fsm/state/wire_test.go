package state

import (
	"bytes"
	"math/rand/v2"
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
		default:
			v = protoreflect.ValueOfUint64(r.Uint64() >> r.IntN(64))
		}
		m.ProtoReflect().Set(f, v)
	}
}

// lockRecord is what encodeLock writes, as a message.
func lockRecord(l *lockcluster.Lock) *statepb.LockRecord {
	rec := &statepb.LockRecord{
		RepoLen: uint32(len(l.Key.Repo)), PathLen: uint32(len(l.Key.Path)), WorkspaceLen: uint32(len(l.Key.Workspace)),
		Kind: uint32(l.Kind), Host: []byte(l.Owner.Host), Pull: int64(l.Owner.Pull), OwnerId: []byte(l.Owner.ID),
		User: []byte(l.User), Priority: uint32(l.Priority), TokenEpoch: l.Token.Epoch, TokenCounter: l.Token.Counter,
		AcquiredUnixNs: l.AcquiredAt.UnixNano(), AcquiredOffsetSeconds: int32(zoneOffset(l.AcquiredAt)),
		TtlNs: int64(l.TTL), LeaseEpoch: l.LeaseEpoch, Revision: l.Revision, Value: l.Value,
	}
	if l.Owner.Repo != l.Key.Repo {
		rec.OwnerRepo = []byte(l.Owner.Repo)
	}
	if !l.RenewedAt.IsZero() {
		rec.RenewedUnixMs = l.RenewedAt.UnixMilli()
	}
	return rec
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

func randomLock(r *rand.Rand) lockcluster.Lock {
	text := func() string { return strings.Repeat("p\xff/", r.IntN(4)*r.IntN(60)) }
	number := func() uint64 { return r.Uint64() >> r.IntN(64) * uint64(r.IntN(2)) }
	at := func() time.Time {
		return time.Unix(r.Int64N(1<<32), r.Int64N(1e9)).In(time.FixedZone("", r.IntN(3)*(r.IntN(20_000)-10_000)))
	}
	l := lockcluster.Lock{
		Key:  lockcluster.Key{Namespace: "n", Repo: text(), Path: text(), Workspace: text(), Project: text()},
		Kind: lockcluster.Kind(number()), Owner: lockcluster.Owner{Host: text(), Repo: text(), Pull: int(number()), ID: text()},
		User: text(), Priority: lockcluster.Priority(number()), Token: lockcluster.Token{Epoch: number(), Counter: number()},
		AcquiredAt: at(), TTL: time.Duration(number()), LeaseEpoch: number(), Revision: number(),
		Value: bytes.Repeat([]byte("v"), r.IntN(3)*r.IntN(1500)),
	}
	if r.IntN(2) == 0 {
		l.Owner.Repo = l.Key.Repo
	}
	if r.IntN(2) == 0 {
		l.RenewedAt = at()
	}
	return l
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
		a, c, h := damage(encode(answer)), damage(encode(client)), damage(encode(repo))
		var gotAnswer statepb.AnswerRecord
		ok := scanAnswer(a, &gotAnswer)
		check(a, &gotAnswer, &statepb.AnswerRecord{}, ok)
		var gotClient statepb.ClientRecord
		ok = scanClient(c, &gotClient)
		check(c, &gotClient, &statepb.ClientRecord{}, ok)
		var gotRepo statepb.RepoRecord
		ok = scanRepo(h, &gotRepo)
		check(h, &gotRepo, &statepb.RepoRecord{}, ok)
	}
	if byHand < 7500 {
		t.Errorf("only %d of 15000 were read by hand", byHand)
	}
}
