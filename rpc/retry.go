package rpc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/lockcluster/lockcluster"
)

// callKind says what a failed try allows.
type callKind uint8

const (
	// kindMutation carries a request id: sending it again is safe.
	kindMutation callKind = iota
	// kindRead changes nothing: sending it again is safe.
	kindRead
	// kindAnyNode is a read that is not for the leader in particular.
	kindAnyNode
	// kindChange has no request id: it is sent again only if it surely had no effect.
	kindChange
)

const (
	connectTimeout = time.Second // of one try, to find a connection
	pauseMin       = 10 * time.Millisecond
	pauseMax       = 500 * time.Millisecond
	// How long a node is avoided that cannot be reached, or does not answer.
	avoidUnreachable = time.Second
	avoidSilent      = 5 * time.Second
	avoidRefusing    = 100 * time.Millisecond
)

// call makes a unary call, with retries.
func (c *Client) call(ctx context.Context, kind callKind, method string, in, out proto.Message) error {
	return c.retry(ctx, kind, limits{total: c.cfg.Timeout, try: c.cfg.TryTimeout}, func(ctx context.Context, e *endpoint, cc *grpc.ClientConn) error {
		if kind == kindAnyNode || kind == kindChange {
			return cc.Invoke(ctx, method, in, out)
		}
		var trailer metadata.MD
		if err := cc.Invoke(ctx, method, in, out, grpc.Trailer(&trailer)); err != nil {
			return err
		}
		if addr := trailer.Get(trailerLeaderAddr); len(addr) > 0 {
			c.pool.learn(addr[0])
		} else if c.pool.leader.Load() == nil {
			c.pool.leader.CompareAndSwap(nil, e)
		}
		return nil
	})
}

// try is one attempt of a call on one connection.
type try func(ctx context.Context, e *endpoint, cc *grpc.ClientConn) error

// limits are how patient a call is.
type limits struct {
	total time.Duration // the deadline of a ctx that has none
	try   time.Duration // of the first try, later ones may take longer; 0 leaves that to the try
	// idle ends a call without a deadline of its own when nothing was heard for
	// so long; 0: never. A try that takes longer than silent was answered.
	idle, silent time.Duration
}

// retry runs f until it succeeds, its error is final, or it is at its limits.
func (c *Client) retry(ctx context.Context, kind callKind, l limits, f try) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.total)
		defer cancel()
	} else {
		l.idle = 0
	}
	t := tries{began: time.Now()}
	heard := t.began
	for {
		e := c.pool.pick(t.last)
		begun := time.Now()
		err := c.once(ctx, e, l.try<<min(t.count, 4), f)
		if err == nil {
			return nil
		}
		if time.Since(begun) > l.silent {
			heard = time.Now()
		}
		v := judge(err)
		t.unknown = t.unknown || v == verdictUnknown
		t.last, t.err = e, err
		switch {
		case v == verdictFinal, kind == kindChange && v == verdictUnknown, errors.Is(err, lockcluster.ErrClosed) && c.pool.isClosed():
			return t.final(kind)
		}
		pause := c.afterFailure(&t)
		t.count++
		t.note()
		switch {
		case c.allRefuse(&t), l.idle > 0 && time.Since(heard)+pause >= l.idle:
			t.err = t.unanswered(c, context.DeadlineExceeded)
		case !sleep(ctx, pause):
			t.err = t.unanswered(c, ctx.Err())
		default:
			continue
		}
		return t.final(kind)
	}
}

// tries is what a call has been through.
type tries struct {
	count   int
	hops    int // hints followed without a pause
	unknown bool
	last    *endpoint // who failed
	err     error
	began   time.Time

	reached  bool // a node was connected to
	leadless bool // a node said that there is no leader
	// refused are the nodes whose machine says that nothing listens there.
	refused map[*endpoint]bool
}

// note keeps what the last try's error tells.
func (t *tries) note() {
	var unreachable *unreachableError
	switch {
	case !errors.As(t.err, &unreachable):
		t.reached = true
		t.leadless = t.leadless || errors.Is(t.err, lockcluster.ErrNoLeader)
	case errors.Is(t.err, syscall.ECONNREFUSED):
		if t.refused == nil {
			t.refused = map[*endpoint]bool{}
		}
		t.refused[t.last] = true
	default:
		delete(t.refused, t.last)
	}
}

// allRefuse reports whether it is useless to wait: nothing listens at any
// endpoint, and that for a while.
func (c *Client) allRefuse(t *tries) bool {
	return c.cfg.RefusedTimeout > 0 && !t.reached && len(t.refused) == len(c.pool.endpoints) && time.Since(t.began) >= c.cfg.RefusedTimeout
}

func (t *tries) unanswered(c *Client, why error) error {
	return &UnansweredError{Endpoints: c.cfg.Endpoints, Reached: t.reached, NoLeader: t.leadless, Tries: t.count, Err: t.err, why: why}
}

// final is the error of the whole call.
func (t *tries) final(kind callKind) error {
	switch {
	case kind == kindMutation && t.unknown:
		return fmt.Errorf("%w: %w", lockcluster.ErrOutcomeUnknown, t.err)
	case kind == kindChange && judge(t.err) == verdictUnknown:
		return &changeUnknownError{t.err}
	case judge(t.err) == verdictUnknown:
		return fmt.Errorf("%w: %w", lockcluster.ErrNoLeader, t.err)
	}
	return t.err
}

// once runs one try against e.
func (c *Client) once(ctx context.Context, e *endpoint, timeout time.Duration, f try) error {
	cc, err := e.connection()
	if err != nil {
		return err
	}
	defer e.release()
	if cc.GetState() != connectivity.Ready {
		if err := connect(ctx, e, cc); err != nil {
			return err
		}
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return errorFromStatus(f(ctx, e, cc))
}

func connect(ctx context.Context, e *endpoint, cc *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return e.ready(ctx, cc)
}

// afterFailure decides whom to avoid, and how long to wait before the next try.
func (c *Client) afterFailure(t *tries) time.Duration {
	var notLeader *lockcluster.NotLeaderError
	var unreachable *unreachableError
	switch {
	case errors.As(t.err, &unreachable):
		c.pool.failed(t.last, avoidUnreachable)
	case errors.Is(t.err, lockcluster.ErrOutcomeUnknown): // it answered, so there is no reason to avoid it
	case errors.As(t.err, &notLeader):
		c.pool.leader.CompareAndSwap(t.last, nil)
		if notLeader.LeaderAddr != "" && c.pool.learn(notLeader.LeaderAddr) != nil && t.hops < 3 {
			t.hops++
			t.last = nil
			return 0
		}
	case errors.Is(t.err, lockcluster.ErrOverloaded):
		t.last = nil // the queue is the leader's: another node would not help
	case errors.Is(t.err, context.DeadlineExceeded):
		c.pool.failed(t.last, avoidSilent)
	case errors.Is(t.err, lockcluster.ErrNoLeader):
		c.pool.failed(t.last, avoidRefusing)
	default:
		c.pool.failed(t.last, avoidUnreachable)
	}
	if t.count == 0 && !errors.Is(t.err, lockcluster.ErrOverloaded) {
		return 0 // another node may well answer
	}
	longest := min(pauseMax, pauseMin<<min(t.count, 10))
	return longest/2 + rand.N(longest/2)
}

// sleep waits for d; it reports false if ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
