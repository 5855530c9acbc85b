package controller

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/fsm/command"
	"github.com/lockcluster/lockcluster/fsm/state"
	"github.com/lockcluster/lockcluster/migration"
)

// What controllers ask each other. Bodies are those of the functions below;
// an answer is one byte that says how it ended, and a body or a text. A call of a
// legacy system names the id of the store that is meant behind an @.
const (
	methodDecide     = "decide"        // of the leader: an encoded command
	methodDo         = "legacy.do"     // of the legacy host: a fence, an encoded command
	methodRaise      = "legacy.raise"  // a fence
	methodCheck      = "legacy.check"  //
	methodGet        = "legacy.get"    // a record key
	methodScan       = "legacy.scan"   // a prefix
	methodDigest     = "legacy.digest" // a namespace
	methodTake       = "legacy.take"   // own a file that was followed
	methodMayTake    = "legacy.may-take"
	methodLetGo      = "legacy.let-go"
	methodUnreadable = "legacy.unreadable"
	methodIdentity   = "legacy.identity"
	methodAdopt      = "legacy.adopt"   // a fence, a claim as JSON
	methodView       = "legacy.view"    // the index of the view that the caller has
	methodControl    = "control"        // of the leader: a JSON controlRequest
	methodWindow     = "metrics.window" // of the leader: what a node has seen, as JSON
	methodAttached   = "attached"       // of any node: its legacy system, as JSON
)

// How a call ended; sent, never renumber.
const (
	endOK          = 0
	endFenced      = 1
	endUnavailable = 2
	endNotReady    = 3
	endInvalid     = 4
	endRefused     = 5
	endUnknown     = 6
	endOverloaded  = 7
	endNoLeader    = 8
	endFollowed    = 9
	endOtherStore  = 10
)

var ends = map[byte]error{
	endFenced: backends.ErrFenced, endUnavailable: backends.ErrUnavailable, endNotReady: errNotReady,
	endInvalid: lockcluster.ErrInvalid, endRefused: ErrRefused, endUnknown: lockcluster.ErrOutcomeUnknown,
	endOverloaded: lockcluster.ErrOverloaded, endNoLeader: lockcluster.ErrNoLeader,
	endFollowed: migration.ErrFollowed, endOtherStore: backends.ErrOtherStore,
}

// ServeCall answers another node's controller.
func (c *Controller) ServeCall(ctx context.Context, method string, body []byte) ([]byte, error) {
	out, err := c.serve(ctx, method, body)
	if err == nil {
		return append([]byte{endOK}, out...), nil
	}
	for _, end := range []byte{endRefused, endFollowed, endFenced, endInvalid, endRefused, endUnknown, endOverloaded, endNotReady, endOtherStore, endUnavailable, endNoLeader} {
		if errors.Is(err, ends[end]) {
			return append([]byte{end}, err.Error()...), nil
		}
	}
	return nil, err
}

func (c *Controller) serve(ctx context.Context, method string, body []byte) ([]byte, error) {
	method, store, _ := strings.Cut(method, "@")
	ctx = backends.WithStore(ctx, store)
	switch method {
	case methodDecide:
		return c.serveDecide(ctx, body)
	case methodControl:
		return c.serveControl(ctx, body)
	case methodWindow:
		return c.serveWindow(body)
	case methodAttached:
		return c.serveAttached()
	case methodView:
		return c.legacy.serveView(ctx, body)
	case methodDo:
		return c.serveDo(ctx, body)
	}
	var out []byte
	err := c.legacy.use(ctx, func(ctx context.Context, b backends.Backend) (err error) {
		out, err = serveLegacy(ctx, b, method, body)
		return err
	})
	return out, err
}

func (c *Controller) serveDo(ctx context.Context, body []byte) ([]byte, error) {
	fence, now, rest, err := decodeFence(body)
	if err != nil {
		return nil, err
	}
	cmd, err := command.DecodeCommand(rest)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", lockcluster.ErrInvalid, err)
	}
	res, err := c.legacy.write(ctx, fence, now, cmd.Request)
	if err != nil {
		return nil, err
	}
	return command.EncodeResult(res)
}

// serveLegacy answers for the legacy system of this node.
func serveLegacy(ctx context.Context, b backends.Backend, method string, body []byte) ([]byte, error) {
	switch method {
	case methodRaise:
		fence, _, _, err := decodeFence(body)
		if err != nil {
			return nil, err
		}
		return nil, b.Raise(ctx, fence)
	case methodCheck:
		return nil, b.Check(ctx)
	case methodGet:
		return serveGet(ctx, b, string(body))
	case methodScan:
		return serveScan(ctx, b, string(body))
	case methodDigest:
		view, err := b.View(ctx)
		if err != nil {
			return nil, err
		}
		digest, records := state.ContentDigest(view, string(body))
		return append(binary.BigEndian.AppendUint64(nil, uint64(records)), digest...), nil //nolint:gosec // a count
	case methodTake, methodMayTake, methodLetGo:
		return nil, serveOwnership(ctx, b, method)
	case methodUnreadable:
		bad, err := unreadableOf(ctx, b)
		if err != nil {
			return nil, err
		}
		return json.Marshal(bad)
	}
	if i, ok := b.(backends.Identified); ok {
		switch method {
		case methodIdentity:
			id, err := i.Identity(ctx)
			if err != nil {
				return nil, err
			}
			return json.Marshal(id)
		case methodAdopt:
			return nil, serveAdopt(ctx, i, body)
		}
	}
	return nil, fmt.Errorf("%w: this node does not know the call %q; it is of another version", lockcluster.ErrInvalid, method)
}

func serveAdopt(ctx context.Context, b backends.Identified, body []byte) error {
	fence, _, rest, err := decodeFence(body)
	if err != nil {
		return err
	}
	var claim backends.Claim
	if err := json.Unmarshal(rest, &claim); err != nil {
		return fmt.Errorf("%w: %w", lockcluster.ErrInvalid, err)
	}
	return b.Adopt(ctx, fence, claim)
}

// encodeFence is the fence and the leader's wall clock.
func encodeFence(f backends.Fence) []byte {
	b := binary.BigEndian.AppendUint64(nil, f.Term)
	b = binary.BigEndian.AppendUint64(b, f.Epoch)
	return binary.BigEndian.AppendUint64(b, uint64(time.Now().UnixNano()))
}

func decodeFence(b []byte) (f backends.Fence, now time.Time, rest []byte, err error) {
	if len(b) < 24 {
		return f, now, nil, fmt.Errorf("%w: the call has no fence", lockcluster.ErrInvalid)
	}
	f.Term, f.Epoch = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	return f, time.Unix(0, int64(binary.BigEndian.Uint64(b[16:]))), b[24:], nil
}

// ask calls another node and returns the body of its answer.
func (c *Controller) ask(ctx context.Context, addr, method string, body []byte) ([]byte, error) {
	out, err := c.cfg.Calls.Call(ctx, addr, method, body)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", backends.ErrUnavailable, err)
	case len(out) == 0:
		return nil, fmt.Errorf("%w: empty answer", backends.ErrUnavailable)
	case out[0] == endOK:
		return out[1:], nil
	}
	if end, ok := ends[out[0]]; ok {
		return nil, &remoteError{text: string(out[1:]), end: end}
	}
	return nil, fmt.Errorf("%w: %s", backends.ErrUnavailable, out[1:])
}

// remoteError is another node's error with its text, which names its kind
// already.
type remoteError struct {
	text string
	end  error
}

func (e *remoteError) Error() string { return e.text }

// Unwrap returns the kind. What is followed, or another store, cannot be written
// to either.
func (e *remoteError) Unwrap() []error {
	if errors.Is(e.end, migration.ErrFollowed) || errors.Is(e.end, backends.ErrOtherStore) {
		return []error{e.end, backends.ErrUnavailable}
	}
	return []error{e.end}
}

func (c *Controller) callDecide(ctx context.Context, addr string, id lockcluster.RequestID, req lockcluster.Request) (lockcluster.Result, error) {
	body, err := command.EncodeCommand(id, req)
	if err != nil {
		return lockcluster.Result{}, err
	}
	out, err := c.ask(ctx, addr, methodDecide, body)
	if err != nil {
		return lockcluster.Result{}, err
	}
	return command.DecodeResult(out)
}

func (c *Controller) serveDecide(ctx context.Context, body []byte) ([]byte, error) {
	cmd, err := command.DecodeCommand(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", lockcluster.ErrInvalid, err)
	}
	t := c.currentTerm()
	if t == nil {
		return nil, errNotReady
	}
	res, err := t.decide(ctx, cmd.ID, cmd.Request)
	if err != nil {
		return nil, err
	}
	return command.EncodeResult(res)
}

func (l *legacy) call(ctx context.Context, m *lockcluster.Migration, method string, body []byte) ([]byte, error) {
	addr, err := l.host(m)
	if err != nil {
		return nil, err
	}
	id := backends.StoreOf(ctx)
	if id == "" {
		id = l.c.storeID()
	}
	if id != "" {
		method += "@" + id
	}
	return l.c.ask(ctx, addr, method, body)
}

func (l *legacy) callDo(ctx context.Context, m *lockcluster.Migration, fence backends.Fence, req lockcluster.Request) (lockcluster.Result, error) {
	cmd, err := command.EncodeCommand(lockcluster.RequestID{}, req)
	if err != nil {
		return lockcluster.Result{}, err
	}
	out, err := l.call(ctx, m, methodDo, append(encodeFence(fence), cmd...))
	if err != nil {
		return lockcluster.Result{}, err
	}
	return command.DecodeResult(out)
}

// remoteReader reads the records of the legacy host one by one. The first
// error ends it: everything after is absent, and the reader of it all must look
// at err before it believes anything.
type remoteReader struct {
	ctx context.Context //nolint:containedctx // state.Reader has no room for one
	l   *legacy
	m   *lockcluster.Migration
	err error
}

// Get implements [state.Reader].
func (r *remoteReader) Get(key string) ([]byte, bool) {
	if r.err != nil {
		return nil, false
	}
	var out []byte
	if out, r.err = r.l.call(r.ctx, r.m, methodGet, []byte(key)); r.err != nil || len(out) == 0 {
		return nil, false
	}
	return out[1:], true
}

// Scan implements [state.Reader].
func (r *remoteReader) Scan(prefix, from string, yield func(key string, value []byte) bool) {
	if r.err != nil {
		return
	}
	var out []byte
	if out, r.err = r.l.call(r.ctx, r.m, methodScan, []byte(prefix)); r.err != nil {
		return
	}
	for len(out) > 0 {
		var key, value []byte
		if key, out, r.err = cutBytes(out); r.err == nil {
			value, out, r.err = cutBytes(out)
		}
		if r.err != nil || string(key) >= from && !yield(string(key), value) {
			return
		}
	}
}

// serveGet answers nothing for a record that is not there, else a 1 and it.
func serveGet(ctx context.Context, b backends.Backend, key string) (out []byte, err error) {
	err = b.Read(ctx, func(r state.Reader) {
		if value, ok := r.Get(key); ok {
			out = append([]byte{1}, value...)
		}
	})
	return out, err
}

func serveScan(ctx context.Context, b backends.Backend, prefix string) (out []byte, err error) {
	err = b.Read(ctx, func(r state.Reader) {
		r.Scan(prefix, "", func(key string, value []byte) bool {
			out = append(binary.AppendUvarint(out, uint64(len(key))), key...)
			out = append(binary.AppendUvarint(out, uint64(len(value))), value...)
			return true
		})
	})
	return out, err
}

func cutBytes(b []byte) (value, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, nil, fmt.Errorf("%w: the answer is cut off", backends.ErrUnavailable)
	}
	return b[used : used+int(n)], b[used+int(n):], nil
}

// control sends an administrator's request to the leader.
func (c *Controller) control(ctx context.Context, in controlRequest) (out controlReply, err error) {
	for {
		if t := c.currentTerm(); t != nil {
			return t.control(ctx, in)
		}
		err = errNotReady
		if leader, addr := c.node.Leader(); addr != "" && leader != c.cfg.NodeID {
			var body []byte
			if body, err = json.Marshal(in); err != nil {
				return out, err
			}
			if body, err = c.ask(ctx, addr, methodControl, body); err == nil {
				return out, json.Unmarshal(body, &out)
			}
		}
		if !errors.Is(err, errNotReady) {
			return out, err
		}
		if !c.sleep(ctx, retryPause) {
			return out, fmt.Errorf("%w: %w", lockcluster.ErrNoLeader, err)
		}
	}
}

func (c *Controller) serveControl(ctx context.Context, body []byte) ([]byte, error) {
	var in controlRequest
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, fmt.Errorf("%w: %w", lockcluster.ErrInvalid, err)
	}
	t := c.currentTerm()
	if t == nil {
		return nil, errNotReady
	}
	out, err := t.control(ctx, in)
	if err != nil {
		return nil, err
	}
	return json.Marshal(out)
}
