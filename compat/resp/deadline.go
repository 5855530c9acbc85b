package resp

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errLate is the cause of a context that the door has ended.
var errLate = errors.New("the request took too long")

// clockTick is how exact the deadlines of requests are.
const clockTick = 25 * time.Millisecond

// deadline is the context of one connection's requests. A context for each
// request would cost a timer each; this one is used again and again as long as
// no request is late, and the server's clock ends those that are.
//
// Two goroutines use it: the connection's, and the clock's (expire).
type deadline struct {
	parent context.Context

	mu     sync.Mutex // guards what follows
	ctx    context.Context
	cancel context.CancelCauseFunc
	at     time.Time // zero: no request is running
}

// timed is a context that knows its deadline, so that nobody below sets
// another timer.
type timed struct {
	context.Context
	at time.Time
}

// Deadline implements [context.Context].
func (t *timed) Deadline() (time.Time, bool) { return t.at, true }

// begin starts the time of a request; out must be kept until end is called.
func (d *deadline) begin(now time.Time, limit time.Duration, out *timed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx == nil || d.ctx.Err() != nil {
		d.ctx, d.cancel = context.WithCancelCause(d.parent)
	}
	d.at = now.Add(limit)
	out.Context, out.at = d.ctx, d.at
}

// end stops the time.
func (d *deadline) end() {
	d.mu.Lock()
	d.at = time.Time{}
	d.mu.Unlock()
}

// expire ends the running request if it is late.
func (d *deadline) expire(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.at.IsZero() && now.After(d.at) {
		d.cancel(errLate)
		d.at = time.Time{}
	}
}

// close frees the context.
func (d *deadline) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cancel != nil {
		d.cancel(nil)
	}
}
