package command

import (
	"testing"

	"github.com/lockcluster/lockcluster"
)

// TestRoutedDigest: a request is the same one for the table of remembered
// answers whether it is sent by itself or routed, and by whatever epoch.
func TestRoutedDigest(t *testing.T) {
	req := lockcluster.Acquire{
		Key:   lockcluster.Key{Namespace: "default", Repo: "o/r", Path: ".", Workspace: "w"},
		Owner: lockcluster.Owner{Repo: "o/r", Pull: 3}, Value: []byte("value"),
	}
	other := req
	other.Owner.Pull = 4
	digestOf := func(r lockcluster.Request) uint64 {
		b, err := EncodeCommand(lockcluster.RequestID{ClientID: "c", Sequence: 7}, r)
		if err != nil {
			t.Fatal(err)
		}
		c, err := DecodeCommand(b)
		if err != nil {
			t.Fatal(err)
		}
		return c.Digest
	}
	routed := func(r lockcluster.Request, epoch uint64) lockcluster.Request {
		return lockcluster.Routed{Epoch: epoch, GradualEpoch: 2, Base: lockcluster.SystemLegacy, Home: lockcluster.SystemEnhanced, Request: r}
	}
	want := digestOf(req)
	if digestOf(routed(req, 3)) != want || digestOf(routed(req, 9)) != want {
		t.Error("a routed request is taken for another one")
	}
	if digestOf(routed(other, 3)) == want {
		t.Error("another request has the same digest")
	}
}
