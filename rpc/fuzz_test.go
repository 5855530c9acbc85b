package rpc

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// Any bytes that protobuf takes for a request become a request that the rules
// can judge, or an error; never a panic.
func FuzzRequest(f *testing.F) {
	messages := []proto.Message{
		&pb.AcquireRequest{}, &pb.ReleaseRequest{}, &pb.ReleaseByPullRequest{}, &pb.LockCommandRequest{}, &pb.UnlockCommandRequest{},
		&pb.PutDocumentRequest{}, &pb.DeleteDocumentRequest{}, &pb.SetTTLRequest{}, &pb.TxnRequest{}, &pb.ImportRequest{},
	}
	for i, req := range []lockcluster.Request{
		lockcluster.Acquire{Key: lockcluster.Key{Repo: "a/b", Path: ".", Workspace: "w"}, Owner: lockcluster.Owner{Repo: "a/b", Pull: 1}, TTL: 1},
		lockcluster.Release{Text: "a/b/./w/", Guard: lockcluster.Guard{Owner: &lockcluster.Owner{ID: "x"}}},
	} {
		m, err := newMutation(lockcluster.RequestID{ClientID: "c", Sequence: 1}, req, true)
		if err != nil {
			f.Fatal(err)
		}
		b, err := proto.Marshal(m.in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), b)
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		m := messages[int(which)%len(messages)].ProtoReflect().New().Interface()
		if proto.Unmarshal(b, m) != nil {
			return
		}
		req, err := decodeAny(m)
		if err != nil {
			return
		}
		if state.Validate(req) != nil {
			return
		}
		if _, err := newMutation(identity(m), req, false); err != nil {
			t.Fatalf("a valid request cannot be sent on: %v", err)
		}
	})
}
