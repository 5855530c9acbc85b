package controller

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/backends"
	"github.com/lockcluster/lockcluster/fsm"
	"github.com/lockcluster/lockcluster/fsm/state"
)

// How a picture of the legacy system goes from its host to another node: whole
// the first time, then what has changed since. Sent, never renumber.
const (
	viewSame    = 0
	viewWhole   = 1 // a snapshot
	viewChanges = 2 // index, then records
)

// sentMax is how many pictures a host remembers to have sent. They share what
// has not changed.
const sentMax = 8

// remoteViews is the memory of both ends.
type remoteViews struct {
	mu   sync.Mutex    // guards sent
	sent []*state.View // by this host, the oldest first

	roundMu sync.Mutex // guards what follows
	running bool
	closed  bool // no more rounds
	next    *viewRound
	wg      sync.WaitGroup // of the rounds

	copied *state.Mem // by this node; only the running round uses it
	known  *state.View
}

// viewRound is one question that all share who came before it was asked.
type viewRound struct {
	done chan struct{}
	view *state.View
	err  error
}

// remember notes that a picture was sent, and returns the one of that index.
func (r *remoteViews) remember(view *state.View, index uint64) (before *state.View) {
	r.mu.Lock()
	defer r.mu.Unlock()
	there := false
	for _, v := range r.sent {
		there = there || v.Index() == view.Index()
		if v.Index() == index {
			before = v
		}
	}
	if !there {
		if len(r.sent) == sentMax {
			r.sent = append(r.sent[:0], r.sent[1:]...)
		}
		r.sent = append(r.sent, view)
	}
	return before
}

// serveView answers with what the caller, who has the picture of an index,
// needs to have the present one.
func (l *legacy) serveView(ctx context.Context, body []byte) ([]byte, error) {
	var view *state.View
	if err := l.use(ctx, func(ctx context.Context, b backends.Backend) (err error) {
		view, err = b.View(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	var before *state.View
	if len(body) == 8 {
		index := binary.BigEndian.Uint64(body)
		if index == view.Index() {
			return []byte{viewSame}, nil
		}
		before = l.views.remember(view, index)
	} else {
		l.views.remember(view, 0)
	}
	if before != nil {
		return appendChanges([]byte{viewChanges}, before, view), nil
	}
	var out bytes.Buffer
	out.WriteByte(viewWhole)
	if err := fsm.WriteSnapshot(&out, view); err != nil {
		return nil, fmt.Errorf("write view: %w", err)
	}
	return out.Bytes(), nil
}

// appendChanges writes index and term of after, and the records in which it
// differs from before: key, 1 and the value, or 0 if it is gone.
func appendChanges(b []byte, before, after *state.View) []byte {
	b = binary.BigEndian.AppendUint64(b, after.Index())
	b = binary.BigEndian.AppendUint64(b, after.Term())
	after.Scan("", "", func(key string, value []byte) bool {
		if old, ok := before.Get(key); !ok || !bytes.Equal(old, value) {
			b = append(binary.AppendUvarint(b, uint64(len(key))), key...)
			b = append(binary.AppendUvarint(append(b, 1), uint64(len(value))), value...)
		}
		return true
	})
	before.Scan("", "", func(key string, _ []byte) bool {
		if _, ok := after.Get(key); !ok {
			b = append(append(binary.AppendUvarint(b, uint64(len(key))), key...), 0)
		}
		return true
	})
	return b
}

// applyChanges makes mem what appendChanges has described.
func applyChanges(mem *state.Mem, b []byte) (err error) {
	if len(b) < 16 {
		return fmt.Errorf("%w: the answer is cut off", backends.ErrUnavailable)
	}
	index, term := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	b = b[16:]
	mem.Update(index, term, func(tx state.Tx) {
		for len(b) > 0 && err == nil {
			var key, value []byte
			if key, b, err = cutBytes(b); err != nil {
				return
			}
			if len(b) == 0 {
				err = fmt.Errorf("%w: the answer is cut off", backends.ErrUnavailable)
				return
			}
			gone := b[0] == 0
			if b = b[1:]; gone {
				tx.Delete(string(key))
				continue
			}
			if value, b, err = cutBytes(b); err == nil {
				tx.Put(string(key), bytes.Clone(value))
			}
		}
	})
	return err
}

// callView returns a picture of the legacy system of another node that was
// taken after the call. Those who wait share one question.
func (l *legacy) callView(ctx context.Context, m *lockcluster.Migration) (*state.View, error) {
	v := &l.views
	v.roundMu.Lock()
	if v.closed {
		v.roundMu.Unlock()
		return nil, lockcluster.ErrClosed
	}
	if v.next == nil {
		v.next = &viewRound{done: make(chan struct{})}
	}
	mine := v.next
	if !v.running {
		v.running, v.next = true, nil
		v.wg.Go(func() { l.runViews(mine, *m) })
	}
	v.roundMu.Unlock()
	select {
	case <-mine.done:
		return mine.view, mine.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", backends.ErrUnavailable, ctx.Err())
	}
}

// close ends the rounds; the controller's context has ended.
func (r *remoteViews) close() {
	r.roundMu.Lock()
	r.closed = true
	r.roundMu.Unlock()
	r.wg.Wait()
}

// runViews asks until nobody waits any more.
func (l *legacy) runViews(round *viewRound, m lockcluster.Migration) {
	v := &l.views
	for {
		ctx, cancel := context.WithTimeout(l.c.ctx, legacyTimeout)
		round.view, round.err = l.askView(ctx, &m)
		cancel()
		close(round.done)
		v.roundMu.Lock()
		round, v.next = v.next, nil
		v.running = round != nil
		v.roundMu.Unlock()
		if round == nil {
			return
		}
		m = l.c.Migration()
	}
}

func (l *legacy) askView(ctx context.Context, m *lockcluster.Migration) (*state.View, error) {
	v := &l.views
	var body []byte
	if v.known != nil {
		body = binary.BigEndian.AppendUint64(nil, v.known.Index())
	}
	out, err := l.call(ctx, m, methodView, body)
	switch {
	case err != nil:
		return nil, err
	case len(out) == 0:
		return nil, fmt.Errorf("%w: empty answer", backends.ErrUnavailable)
	case out[0] == viewSame && v.known != nil:
		return v.known, nil
	case out[0] == viewChanges && v.copied != nil:
		err = applyChanges(v.copied, out[1:])
	case out[0] == viewWhole:
		v.copied, err = fsm.ReadSnapshot(io.NopCloser(bytes.NewReader(out[1:])))
	default:
		err = fmt.Errorf("%w: an answer of another version", backends.ErrUnavailable)
	}
	if err != nil {
		v.copied, v.known = nil, nil
		return nil, fmt.Errorf("read the legacy system's view: %w", err)
	}
	v.known = v.copied.View()
	return v.known, nil
}
