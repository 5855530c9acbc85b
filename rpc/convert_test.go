package rpc

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/lockcluster/lockcluster"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

var (
	genText = rapid.StringMatching(`[a-z*?\[ü/.:]{1,12}`)
	genTTL  = rapid.Map(rapid.Int64Range(0, int64(time.Hour)), func(n int64) time.Duration { return time.Duration(n) })
	genTime = rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "unset") {
			return time.Time{}
		}
		at := time.Unix(rapid.Int64Range(-1e9, 4e9).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
		if offset := rapid.SampledFrom([]int{0, 3600, -16200, 50400}).Draw(t, "zone"); offset != 0 {
			at = at.In(time.FixedZone("", offset))
		}
		return at
	})
	genValue = rapid.Custom(func(t *rapid.T) []byte {
		return []byte(rapid.SampledFrom([]string{"", "{}", `{"a":1}`, "\xff\x00"}).Draw(t, "value"))
	})
	genToken = rapid.Custom(func(t *rapid.T) lockcluster.Token {
		return lockcluster.Token{Epoch: rapid.Uint64Range(0, 3).Draw(t, "epoch"), Counter: rapid.Uint64().Draw(t, "counter")}
	})
)

func genOwner(t *rapid.T) lockcluster.Owner {
	if rapid.Bool().Draw(t, "id") {
		return lockcluster.Owner{ID: genText.Draw(t, "id")}
	}
	return lockcluster.Owner{Host: genText.Draw(t, "host"), Repo: genText.Draw(t, "repo"), Pull: rapid.IntRange(1, 1<<40).Draw(t, "pull")}
}

func genKey(t *rapid.T, ns string) lockcluster.Key {
	return lockcluster.Key{
		Namespace: ns, Repo: genText.Draw(t, "repo"), Path: genText.Draw(t, "path"), Workspace: genText.Draw(t, "ws"),
		Project: rapid.SampledFrom([]string{"", "p"}).Draw(t, "project"),
	}
}

func genAcquire(t *rapid.T, ns string) lockcluster.Acquire {
	return lockcluster.Acquire{
		Key: genKey(t, ns), Owner: genOwner(t), User: genText.Draw(t, "user"), Priority: lockcluster.Priority(rapid.IntRange(0, 4).Draw(t, "priority")),
		TTL: genTTL.Draw(t, "ttl"), AcquiredAt: genTime.Draw(t, "at"), Value: genValue.Draw(t, "value"),
	}
}

func genLockCommand(t *rapid.T, ns string) lockcluster.LockCommand {
	return lockcluster.LockCommand{Namespace: ns, Name: genText.Draw(t, "name"), LockedAt: genTime.Draw(t, "at"), Value: genValue.Draw(t, "value")}
}

func genPut(t *rapid.T, ns string) lockcluster.PutDocument {
	return lockcluster.PutDocument{
		Namespace: ns, Key: genText.Draw(t, "key"), Value: genValue.Draw(t, "value"), Condition: lockcluster.PutCondition(rapid.IntRange(0, 2).Draw(t, "condition")),
		TTL: genTTL.Draw(t, "ttl"), KeepTTL: rapid.Bool().Draw(t, "keep"),
	}
}

// genOperation draws a request that a transaction may hold.
func genOperation(t *rapid.T, ns string) lockcluster.Request {
	switch rapid.IntRange(0, 7).Draw(t, "type") {
	case 0:
		return genAcquire(t, ns)
	case 1:
		r := lockcluster.Release{Namespace: ns, Text: genText.Draw(t, "text")}
		if rapid.Bool().Draw(t, "guarded") {
			r.Guard = lockcluster.Guard{Pull: rapid.IntRange(0, 9).Draw(t, "pull"), Token: genToken.Draw(t, "token"), Revision: rapid.Uint64().Draw(t, "revision")}
			if rapid.Bool().Draw(t, "owned") {
				owner := genOwner(t)
				r.Guard.Owner = &owner
			}
		}
		return r
	case 2:
		return lockcluster.ReleaseByPull{Namespace: ns, Repo: genText.Draw(t, "repo"), Pull: 3, Host: genText.Draw(t, "host")}
	case 3:
		return genLockCommand(t, ns)
	case 4:
		return lockcluster.UnlockCommand{
			Namespace: ns, Name: genText.Draw(t, "name"), Revision: rapid.Uint64().Draw(t, "revision"),
			Token: lockcluster.Token{Epoch: rapid.Uint64().Draw(t, "epoch"), Counter: rapid.Uint64().Draw(t, "counter")},
		}
	case 5:
		return genPut(t, ns)
	case 6:
		return lockcluster.DeleteDocument{Namespace: ns, Key: genText.Draw(t, "key"), Revision: rapid.Uint64().Draw(t, "revision")}
	default:
		return lockcluster.SetTTL{Namespace: ns, Key: genText.Draw(t, "key"), TTL: genTTL.Draw(t, "ttl")}
	}
}

func genRequest(t *rapid.T) lockcluster.Request {
	ns := rapid.SampledFrom([]string{"default", "db3"}).Draw(t, "ns")
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		txn := lockcluster.Txn{Namespace: ns}
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			space := lockcluster.Space(rapid.IntRange(1, 3).Draw(t, "space"))
			txn.Conditions = append(txn.Conditions, lockcluster.Condition{Space: space, Key: genText.Draw(t, "key"), Revision: rapid.Uint64().Draw(t, "revision")})
			txn.Ranges = append(txn.Ranges, lockcluster.RangeCondition{Space: space, Prefix: genText.Draw(t, "prefix"), Digest: []byte("digest")})
			txn.Requests = append(txn.Requests, genOperation(t, ns))
		}
		return txn
	case 1:
		imp := lockcluster.Import{Namespace: ns}
		for range rapid.IntRange(0, 2).Draw(t, "n") {
			imp.Locks = append(imp.Locks, genAcquire(t, ns))
			imp.CommandLocks = append(imp.CommandLocks, genLockCommand(t, ns))
			imp.Documents = append(imp.Documents, genPut(t, ns))
		}
		return imp
	default:
		return genOperation(t, ns)
	}
}

// decodeAny is what the server's handlers do with a message.
func decodeAny(m proto.Message) (lockcluster.Request, error) {
	switch r := m.(type) {
	case *pb.AcquireRequest:
		return acquireFromPB(r)
	case *pb.ReleaseRequest:
		return releaseFromPB(r), nil
	case *pb.ReleaseByPullRequest:
		return releaseByPullFromPB(r), nil
	case *pb.LockCommandRequest:
		return lockCommandFromPB(r)
	case *pb.UnlockCommandRequest:
		return unlockCommandFromPB(r), nil
	case *pb.PutDocumentRequest:
		return putFromPB(r)
	case *pb.DeleteDocumentRequest:
		return deleteFromPB(r), nil
	case *pb.SetTTLRequest:
		return setTTLFromPB(r)
	case *pb.TxnRequest:
		return txnFromPB(r)
	case *pb.ImportRequest:
		return importFromPB(r)
	}
	return nil, fmt.Errorf("no handler takes %T", m)
}

// canonical drops differences that mean nothing: nil and empty bytes.
func canonical(v any) string { return fmt.Sprintf("%#v", normal(reflect.ValueOf(v))) }

func normal(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return normal(v.Elem())
	case reflect.Struct:
		if at, ok := v.Interface().(time.Time); ok {
			return at.Format(time.RFC3339Nano)
		}
		out := []any{v.Type().String()}
		for i := range v.NumField() {
			out = append(out, v.Type().Field(i).Name, normal(v.Field(i)))
		}
		return out
	case reflect.Slice:
		out := []any{}
		for i := range v.Len() {
			out = append(out, normal(v.Index(i)))
		}
		return out
	default:
		return v.Interface()
	}
}

// Every request means the same on the server as it did to the client's caller,
// through the bytes on the wire.
func TestRequestsBothWays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req := genRequest(t)
		id := lockcluster.RequestID{ClientID: "c", Sequence: 3, AckedBelow: 2}
		m, err := newMutation(id, req, true)
		if err != nil {
			t.Fatal(err)
		}
		b, err := proto.Marshal(m.in)
		if err != nil {
			t.Fatal(err)
		}
		wire := m.in.ProtoReflect().New().Interface()
		if err := proto.Unmarshal(b, wire); err != nil {
			t.Fatal(err)
		}
		got, err := decodeAny(wire)
		if err != nil || canonical(got) != canonical(req) {
			t.Fatalf("got\n%s\nwant\n%s\n%v", canonical(got), canonical(req), err)
		}
		if identity(wire) != id {
			t.Fatalf("identity %+v, want %+v", identity(wire), id)
		}
	})
}

// Every result means the same to the client's caller as it did on the server,
// values apart.
func TestResultsBothWays(t *testing.T) {
	genLock := rapid.Custom(func(t *rapid.T) lockcluster.Lock {
		return lockcluster.Lock{
			Key: genKey(t, "default"), Kind: lockcluster.Kind(rapid.IntRange(1, 3).Draw(t, "kind")), Owner: genOwner(t), User: genText.Draw(t, "user"),
			Priority: 2, Token: genToken.Draw(t, "token"), AcquiredAt: genTime.Draw(t, "at"), RenewedAt: genTime.Draw(t, "renewed").UTC(),
			TTL: genTTL.Draw(t, "ttl"), LeaseEpoch: 4, Revision: 5,
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		lock := genLock.Draw(t, "lock")
		res := lockcluster.Result{
			Status: lockcluster.Status(rapid.IntRange(1, 16).Draw(t, "status")), Index: rapid.Uint64().Draw(t, "index"), Lock: &lock,
			Locks:       []lockcluster.Lock{genLock.Draw(t, "lock2")},
			CommandLock: &lockcluster.CommandLock{Namespace: "default", Name: "apply", LockedAt: genTime.Draw(t, "locked"), Token: genToken.Draw(t, "t2"), Revision: 6},
			Document:    &lockcluster.Document{Namespace: "default", Key: "k", TTL: genTTL.Draw(t, "ttl2"), LeaseEpoch: 1, ArmedAt: genTime.Draw(t, "armed").UTC(), Revision: 9},
			Token:       genToken.Draw(t, "t3"), Text: "why",
		}
		res.Results = []lockcluster.Result{res}
		b, err := proto.Marshal(resultToPB(&res, false))
		if err != nil {
			t.Fatal(err)
		}
		var wire pb.Result
		if err := proto.Unmarshal(b, &wire); err != nil {
			t.Fatal(err)
		}
		if got := resultFromPB(&wire); canonical(got) != canonical(res) {
			t.Fatalf("got\n%s\nwant\n%s", canonical(got), canonical(res))
		}
	})
}

// Times and durations that no record can keep are refused, and numbers that
// one byte cannot hold do not become other ones.
func TestBadFields(t *testing.T) {
	for name, m := range map[string]proto.Message{
		"year 9999":     &pb.AcquireRequest{AcquiredAt: &timestamppb.Timestamp{Seconds: 253402300799}},
		"nanoseconds":   &pb.LockCommandRequest{LockedAt: &timestamppb.Timestamp{Nanos: -1}},
		"zone":          &pb.AcquireRequest{AcquiredAt: timestamppb.New(time.Unix(1, 0)), AcquiredAtOffsetSeconds: 86400},
		"duration":      &pb.PutDocumentRequest{Ttl: &durationpb.Duration{Seconds: 1, Nanos: -1}},
		"in an import":  &pb.ImportRequest{Documents: []*pb.PutDocumentRequest{{Ttl: &durationpb.Duration{Seconds: 1, Nanos: -1}}}},
		"empty in txn":  &pb.TxnRequest{Operations: []*pb.Operation{{}}},
		"a TTL in txn":  &pb.TxnRequest{Operations: []*pb.Operation{{Request: &pb.Operation_SetTtl{SetTtl: &pb.SetTTLRequest{Ttl: &durationpb.Duration{Nanos: -1, Seconds: 1}}}}}},
		"a time to ttl": &pb.SetTTLRequest{Ttl: &durationpb.Duration{Seconds: 1 << 60}},
	} {
		if _, err := decodeAny(m); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if got := small(258); got != 255 {
		t.Errorf("258 became %d", got)
	}
	if got := small(-1); got != 255 {
		t.Errorf("-1 became %d", got)
	}
}
