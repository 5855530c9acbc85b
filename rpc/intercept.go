package rpc

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/lockcluster/lockcluster"
	pb "github.com/lockcluster/lockcluster/rpc/lockcluster/v1"
)

// answerMarginMax is how much earlier than the caller the server gives up, so
// that its answer, which knows more than "the time is up", arrives in time.
const answerMarginMax = 50 * time.Millisecond

// interceptUnary is all that surrounds a unary handler: a deadline, the mapping
// of errors, recovery and metrics. It is one function because every layer
// costs each call.
func (s *Server) interceptUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	start := time.Now()
	ctx, cancel := s.deadline(ctx, start)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, s.recovered(info.FullMethod, p)
		}
		if err != nil {
			resp, err = nil, errorToStatus(err, identity(req))
		}
		s.metrics.observe(info.FullMethod, start, status.Code(err))
	}()
	return handler(ctx, req)
}

func (s *Server) interceptStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	start := time.Now()
	ctx, cancel := stream.Context(), context.CancelFunc(func() {})
	if _, ok := ctx.Deadline(); !ok && !endless[info.FullMethod] {
		ctx, cancel = context.WithTimeout(ctx, streamTimeout)
	}
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = s.recovered(info.FullMethod, p)
		}
		err = errorToStatus(err, lockcluster.RequestID{})
		s.metrics.observe(info.FullMethod, start, status.Code(err))
	}()
	return handler(srv, &boundedStream{ServerStream: stream, ctx: ctx})
}

// endless are the streams that live as long as their caller likes; they end
// when the server closes.
var endless = map[string]bool{
	"/grpc.health.v1.Health/Watch":                                   true,
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      true,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": true,
}

type boundedStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // grpc's own way to give a stream another context
}

func (b *boundedStream) Context() context.Context { return b.ctx }

// deadline returns ctx with the deadline that handlers keep.
func (s *Server) deadline(ctx context.Context, now time.Time) (context.Context, context.CancelFunc) {
	at, ok := ctx.Deadline()
	if !ok {
		return context.WithDeadline(ctx, now.Add(s.cfg.RequestTimeout))
	}
	return context.WithDeadline(ctx, at.Add(-min(answerMarginMax, at.Sub(now)/10)))
}

// recovered makes an error of a panic. The panic's value may hold stored
// values, so only its type and the stack are logged.
func (s *Server) recovered(method string, p any) error {
	s.log.Error("handler panicked", "method", method, "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	return errPanicked
}

var errPanicked = errors.New("the node failed while it served the call; its log says more")

// identity returns the request id that a message carries, if any.
func identity(req any) lockcluster.RequestID {
	m, ok := req.(interface{ GetMeta() *pb.RequestMeta })
	if !ok {
		return lockcluster.RequestID{}
	}
	id, _ := metaFromPB(m.GetMeta()) // bad ones are refused elsewhere
	return id
}
