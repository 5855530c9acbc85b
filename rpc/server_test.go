package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/rpc"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// connect returns a plain gRPC connection to a node.
func connect(tb testing.TB, n *node, opts ...grpc.DialOption) *grpc.ClientConn {
	tb.Helper()
	cc, err := grpc.NewClient("passthrough:///"+n.server.GRPCAddr(), append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = cc.Close() })
	return cc
}

const (
	canary       = "CANARY-s3cret"
	commandValue = `{"LockMetadata":{"UnixTime":1795403363},"CommandName":0}`
	canaryValue  = `{"Project":{"RepoFullName":"acme/app","Path":"."},"Pull":{"Num":1,"Body":"` + canary + `",` +
		`"BaseRepo":{"CloneURL":"https://bot:` + canary + `@github.com/acme/app.git"}},"Workspace":"default"}`
	// An Acquire with it is refused; a document may be anything.
	canaryRaw = "not json: https://bot:" + canary + "@github.com"
)

// No answer of any call, asked for values or not, holds a stored credential or
// the pull request's text; nor do the log, errors and metrics.
func TestNoAnswerHoldsASecret(t *testing.T) {
	var log bytes.Buffer
	registry := prometheus.NewRegistry()
	s := newSystem(t, 1, func(c *rpc.Config, _ *rpc.System) {
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		c.Registerer, c.Gatherer, c.HTTPAddr = registry, registry, "127.0.0.1:0"
	})
	cc := connect(t, s.nodes[0])
	ctx := t.Context()
	locks := pb.NewLockServiceClient(cc)
	seen := 0
	check := func(what string, m proto.Message, err error) {
		t.Helper()
		b, merr := proto.Marshal(m)
		if merr != nil || bytes.Contains(b, []byte(canary)) || err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the secret is in the answer %v, %v", what, m, err)
		}
		if bytes.Contains(b, []byte("https://github.com/acme/app.git")) {
			seen++
		}
	}
	for _, value := range [][]byte{[]byte(canaryValue), []byte(canaryRaw)} {
		for _, include := range []bool{true, false} {
			key := &pb.Key{Repo: "acme/app", Path: ".", Workspace: "default"}
			owner := &pb.Owner{Repo: "acme/app", Pull: 1}
			text := "acme/app/./default/"
			acquire := &pb.AcquireRequest{Key: key, Owner: owner, Value: value, IncludeValue: include}
			for range 2 { // granted, then already held
				r, err := locks.Acquire(ctx, acquire)
				check("acquire", r, err)
			}
			held, err := locks.Acquire(ctx, &pb.AcquireRequest{Key: key, Owner: &pb.Owner{Repo: "acme/app", Pull: 2}, IncludeValue: include})
			check("held", held, err)
			get, err := locks.Get(ctx, &pb.GetRequest{Text: text, IncludeValue: include})
			check("get", get, err)
			list, err := locks.List(ctx, &pb.ListRequest{IncludeValue: include})
			if err != nil {
				t.Fatal(err)
			}
			chunk, err := list.Recv()
			check("list", chunk, err)
			lc, err := locks.LockCommand(ctx, &pb.LockCommandRequest{Name: "apply", Value: []byte(commandValue), IncludeValue: include})
			check("lock command", lc, err)
			cmd, err := locks.CheckCommand(ctx, &pb.CheckCommandRequest{Name: "apply", IncludeValue: include})
			check("check command", cmd, err)
			put := &pb.PutDocumentRequest{Key: "doc", Value: value, IncludeValue: include}
			for range 2 {
				r, err := locks.PutDocument(ctx, put)
				check("put", r, err)
			}
			doc, err := locks.GetDocument(ctx, &pb.GetDocumentRequest{Key: "doc"})
			check("get document", doc, err)
			imp, err := locks.Import(ctx, &pb.ImportRequest{
				Locks: []*pb.AcquireRequest{acquire}, Documents: []*pb.PutDocumentRequest{put},
				CommandLocks: []*pb.LockCommandRequest{{Name: "apply", Value: []byte(commandValue)}}, IncludeValue: include,
			})
			check("import", imp, err)
			txn, err := locks.Txn(ctx, &pb.TxnRequest{IncludeValue: include, Operations: []*pb.Operation{
				{Request: &pb.Operation_PutDocument{PutDocument: put}}, {Request: &pb.Operation_Acquire{Acquire: acquire}},
			}})
			check("transaction", txn, err)
			nh, err := locks.Release(ctx, &pb.ReleaseRequest{Text: text, Guard: &pb.Guard{Pull: 9}, IncludeValue: include})
			check("not holder", nh, err)
			byPull, err := locks.ReleaseByPull(ctx, &pb.ReleaseByPullRequest{Repo: "acme/app", Pull: 1, IncludeValue: include})
			check("release by pull", byPull, err)
			uc, err := locks.UnlockCommand(ctx, &pb.UnlockCommandRequest{Name: "apply", IncludeValue: include})
			check("unlock command", uc, err)
			dd, err := locks.DeleteDocument(ctx, &pb.DeleteDocumentRequest{Key: "doc", IncludeValue: include})
			check("delete document", dd, err)
			_, err = locks.Acquire(ctx, &pb.AcquireRequest{Key: key, Value: value})
			check("bad request", &pb.AcquireResponse{}, err)
		}
	}
	if seen < 12 {
		t.Errorf("only %d answers held a value: the test shows little", seen)
	}
	body := get(t, "http://"+s.nodes[0].server.HTTPAddr()+"/metrics", http.StatusOK)
	if strings.Contains(body+log.String(), canary) {
		t.Error("the secret is in the metrics or the log")
	}
}

// broken is a node that fails in ways of its own.
type broken struct {
	rpc.Node
	panics   any
	deadline atomic.Int64 // nanoseconds that the last call had left
	err      error
}

func (b *broken) Do(ctx context.Context, _ lockcluster.RequestID, _ lockcluster.Request) (lockcluster.Result, error) {
	if at, ok := ctx.Deadline(); ok {
		b.deadline.Store(int64(time.Until(at)))
	}
	if b.panics != nil {
		panic(b.panics)
	}
	return lockcluster.Result{}, b.err
}

func (b *broken) View(ctx context.Context) (*state.View, error) { panic(b.panics) }

// A panic in a handler fails that call alone, and its value is not logged.
func TestPanicIsRecovered(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	s := newSystem(t, 1, func(c *rpc.Config, sys *rpc.System) {
		c.Logger = slog.New(slog.NewTextHandler(writer(func(b []byte) {
			mu.Lock()
			defer mu.Unlock()
			log.Write(b)
		}), nil))
		sys.Node = &broken{Node: sys.Node, panics: canary}
	})
	locks := pb.NewLockServiceClient(connect(t, s.nodes[0]))
	for range 2 {
		_, err := locks.Release(t.Context(), &pb.ReleaseRequest{Text: "a/b/./d/"})
		if status.Code(err) != codes.Internal || strings.Contains(err.Error(), canary) {
			t.Fatalf("got %v", err)
		}
		list, err := locks.List(t.Context(), &pb.ListRequest{})
		if err == nil {
			_, err = list.Recv()
		}
		if status.Code(err) != codes.Internal || strings.Contains(err.Error(), canary) {
			t.Fatalf("got %v", err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if text := log.String(); strings.Contains(text, canary) || !strings.Contains(text, "/lockcluster.v1.LockService/Release") || !strings.Contains(text, "server_test.go") {
		t.Fatalf("log:\n%s", text)
	}
}

type writer func(b []byte)

func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

// A call without a deadline gets the server's; one with a deadline is answered
// a little before it.
func TestDeadlines(t *testing.T) {
	b := &broken{err: lockcluster.ErrOverloaded}
	s := newSystem(t, 1, func(c *rpc.Config, sys *rpc.System) {
		c.RequestTimeout = 7 * time.Second
		sys.Node = b
	})
	locks := pb.NewLockServiceClient(connect(t, s.nodes[0]))
	call := func(ctx context.Context, from, to time.Duration) {
		t.Helper()
		if _, err := locks.Release(ctx, &pb.ReleaseRequest{Text: "a/b/./d/"}); status.Code(err) != codes.ResourceExhausted {
			t.Fatalf("got %v", err)
		}
		if left := time.Duration(b.deadline.Load()); left < from || left > to {
			t.Fatalf("the handler had %v left, want %v to %v", left, from, to)
		}
	}
	call(context.Background(), 5*time.Second, 7*time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	call(ctx, 15*time.Second, 20*time.Second-50*time.Millisecond)
}

// Refused results are OK responses; every error names its kind in the details.
func TestStatusOfAnswers(t *testing.T) {
	s := newSystem(t, 2)
	s.forward = false
	locks := pb.NewLockServiceClient(connect(t, s.nodes[1]))
	key := &pb.Key{Repo: "acme/app", Path: ".", Workspace: "default"}
	_, err := locks.Acquire(t.Context(), &pb.AcquireRequest{Key: key, Owner: &pb.Owner{Repo: "acme/app", Pull: 1}})
	st, _ := status.FromError(err)
	if st.Code() != codes.Unavailable || len(st.Details()) != 1 {
		t.Fatalf("got %v", err)
	}
	detail, ok := st.Details()[0].(*pb.ErrorDetail)
	if !ok || detail.GetKind() != pb.ErrorKind_ERROR_KIND_NOT_LEADER || detail.GetLeaderId() != "n1" || detail.GetLeaderAddress() != s.nodes[0].server.GRPCAddr() {
		t.Fatalf("detail %v", st.Details())
	}
	locks = pb.NewLockServiceClient(connect(t, s.nodes[0]))
	for _, bad := range []func() error{
		func() error { _, err := locks.Acquire(t.Context(), &pb.AcquireRequest{Key: key}); return err },
		func() error { _, err := locks.Get(t.Context(), &pb.GetRequest{}); return err },
		func() error {
			_, err := locks.Get(t.Context(), &pb.GetRequest{Text: "x", Namespace: "a b"})
			return err
		},
		func() error {
			_, err := locks.ReleaseIfOwnedByPull(t.Context(), &pb.ReleaseIfOwnedByPullRequest{Text: "x"})
			return err
		},
		func() error {
			_, err := locks.Release(t.Context(), &pb.ReleaseRequest{Text: "x", Meta: &pb.RequestMeta{Sequence: 1}})
			return err
		},
	} {
		if err := bad(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("got %v", err)
		}
	}
	res, err := locks.ReleaseIfOwnedByPull(t.Context(), &pb.ReleaseIfOwnedByPullRequest{Text: "acme/app/./default/", Pull: 1})
	if err != nil || res.GetResult().GetStatus() != pb.Status_STATUS_NOT_FOUND || res.GetResult().GetIndex() == 0 {
		t.Fatalf("%v, %v", res, err)
	}
}

// A node without a part says so; a port in use is refused with what to do.
func TestOpen(t *testing.T) {
	s := newSystem(t, 1, func(_ *rpc.Config, sys *rpc.System) {
		*sys = rpc.System{NodeID: sys.NodeID, Node: sys.Node}
	})
	c := dial(t, rpc.ClientConfig{Endpoints: s.endpoints()})
	if _, err := c.Status(t.Context(), false); !errors.Is(err, rpc.ErrUnimplemented) {
		t.Fatalf("got %v", err)
	}
	if err := c.SnapshotSave(t.Context(), io.Discard); !errors.Is(err, rpc.ErrUnimplemented) {
		t.Fatalf("got %v", err)
	}
	peers := rpc.NewPeers(nil)
	defer peers.Close()
	if _, err := peers.NodeStatus(t.Context(), s.endpoints()[0]); !errors.Is(err, rpc.ErrUnimplemented) {
		t.Fatalf("got %v", err)
	}
	_, err := rpc.Open(rpc.Config{GRPCAddr: s.endpoints()[0]}, rpc.System{NodeID: "x", Node: s.nodes[0]})
	if err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("got %v", err)
	}
	if _, err := rpc.Open(rpc.Config{GRPCAddr: "127.0.0.1:0"}, rpc.System{}); err == nil {
		t.Fatal("a server without a node was opened")
	}
	var busy net.Listener
	if busy, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	if _, err := rpc.Open(rpc.Config{GRPCAddr: "127.0.0.1:0", HTTPAddr: busy.Addr().String()}, rpc.System{NodeID: "x", Node: s.nodes[0]}); err == nil {
		t.Fatal("a server was opened on a busy HTTP port")
	}
}
