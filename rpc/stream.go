package rpc

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
)

// watch breaks a stream off whose other end is silent for too long. What the
// caller takes for itself between two messages does not count.
type watch struct {
	timer *time.Timer
	limit time.Duration
}

func (w *watch) begin() { w.timer.Reset(w.limit) }
func (w *watch) end()   { w.timer.Stop() }

// streamTry is one try of a stream. It calls begin and end of its watch around
// each message that it sends or waits for.
type streamTry func(ctx context.Context, cc *grpc.ClientConn, w *watch) error

// stream runs f with retries, as long as again says that another try may still
// be begun. Without a deadline it may take as long as it goes on.
func (c *Client) stream(ctx context.Context, kind callKind, again func() bool, f streamTry) error {
	silent := min(c.cfg.TryTimeout, c.cfg.Timeout)
	l := limits{total: streamTimeout, idle: c.cfg.Timeout, silent: silent + connectTimeout + pauseMax}
	return c.retry(ctx, kind, l, func(ctx context.Context, _ *endpoint, cc *grpc.ClientConn) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		w := &watch{limit: silent}
		w.timer = time.AfterFunc(w.limit, func() { cancel(errSilent) })
		defer w.end()
		err := f(ctx, cc, w)
		if err == nil {
			return nil
		}
		if errors.Is(context.Cause(ctx), errSilent) {
			err = errSilent
		}
		if err = errorFromStatus(err); judge(err) != verdictFinal && !again() {
			return &finalError{err}
		}
		return err
	})
}

// errSilent is the end of a stream whose other end did not answer.
var errSilent error = &remoteError{text: "the node did not go on with the stream", is: context.DeadlineExceeded}
