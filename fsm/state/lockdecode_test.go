package state

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/lockcluster/lockcluster/fsm/state/statepb"
)

// FuzzDecodeLock looks for bytes that scanLock reads unlike protobuf: what it
// accepts has to be the same record, and what protobuf writes has to be
// accepted.
func FuzzDecodeLock(f *testing.F) {
	full := &statepb.LockRecord{
		RepoLen: 1, PathLen: 2, WorkspaceLen: 3, Kind: 4, Host: []byte("5"), OwnerRepo: []byte("6"), Pull: -7, OwnerId: []byte("8"),
		User: []byte("9"), Priority: 10, TokenEpoch: 11, TokenCounter: 12, AcquiredUnixNs: -13, AcquiredOffsetSeconds: -14,
		RenewedUnixMs: 15, TtlNs: 16, LeaseEpoch: 17, Revision: 18, Value: []byte("19"), HomeSystem: 20, HomeEpoch: 21,
	}
	f.Add(encode(full))
	f.Add(encode(&statepb.LockRecord{}))
	f.Add(protowire.AppendVarint(protowire.AppendTag(encode(full), 22, protowire.VarintType), 1))
	f.Add([]byte{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Add([]byte{0x08, 0x80, 0x00})
	f.Add([]byte{0x88, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0x01})
	f.Add([]byte{0x00, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		var want, got statepb.LockRecord
		err := proto.Unmarshal(b, &want)
		switch ok := scanLock(b, &got); {
		case ok && err != nil:
			t.Fatalf("accepted %x, protobuf says %v", b, err)
		case ok && !proto.Equal(&want, &got):
			t.Fatalf("%x: got %v, want %v", b, &got, &want)
		case !ok && err == nil && len(want.ProtoReflect().GetUnknown()) == 0:
			// Not wrong, only slow, and only for what protobuf does not write.
			if again := encode(&want); !scanLock(again, &statepb.LockRecord{}) {
				t.Fatalf("refused %x", again)
			}
		}
	})
}

// Every field of the record is one that scanLock knows.
func TestScanLockKnowsAllFields(t *testing.T) {
	fields := (&statepb.LockRecord{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		b := protowire.AppendVarint(protowire.AppendTag(nil, fd.Number(), protowire.VarintType), 1)
		if fd.Kind().String() == "bytes" {
			b = protowire.AppendBytes(protowire.AppendTag(nil, fd.Number(), protowire.BytesType), []byte("x"))
		}
		var want, got statepb.LockRecord
		if err := proto.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		if !scanLock(b, &got) || !proto.Equal(&want, &got) {
			t.Errorf("field %s: got %v, want %v", fd.Name(), &got, &want)
		}
	}
}
