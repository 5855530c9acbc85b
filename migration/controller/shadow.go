package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/lockcluster/lockcluster"
	"github.com/lockcluster/lockcluster/fsm/state"
)

const (
	shadowQueueMax = 10_000
	shadowBatchMax = 64
	shadowBytesMax = 192 << 10
)

// shadowed is an operation that the legacy system has decided, or, without a
// request, records as the legacy system had them at that point of the order.
type shadowed struct {
	req    lockcluster.Request
	legacy lockcluster.Result
	copied *batch
}

// shadowQueue keeps what the enhanced system has yet to do after the legacy
// system. It is bounded: when it is full what comes is left out, and both
// systems are compared as a whole when it has become empty.
type shadowQueue struct {
	mu      sync.Mutex // guards what follows
	items   []shadowed
	working bool
	lost    bool
	kick    chan struct{}
	idleC   chan struct{}
}

func newShadowQueue() *shadowQueue { return &shadowQueue{kick: make(chan struct{}, 1)} }

// add queues s, and reports whether there was room.
func (q *shadowQueue) add(s shadowed) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.lost || len(q.items) >= shadowQueueMax {
		q.lost = true
	} else {
		q.items = append(q.items, s)
	}
	select {
	case q.kick <- struct{}{}:
	default:
	}
	return !q.lost
}

// lose has everything compared once the queue is empty.
func (q *shadowQueue) lose() {
	q.mu.Lock()
	q.lost = true
	q.mu.Unlock()
	select {
	case q.kick <- struct{}{}:
	default:
	}
}

// take returns what comes next: requests that go together, or one copy.
func (q *shadowQueue) take() (items []shadowed, lost bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		q.working = q.lost
		return nil, q.lost
	}
	n, size := 1, sizeOf(q.items[0].req)
	if q.items[0].copied == nil {
		for n < len(q.items) && n < shadowBatchMax && q.items[n].copied == nil {
			if size += sizeOf(q.items[n].req); size > shadowBytesMax {
				break
			}
			n++
		}
	}
	items = append(items, q.items[:n]...)
	q.items = append(q.items[:0], q.items[n:]...)
	q.working = true
	return items, false
}

// sizeOf is about how long a request is in the log.
func sizeOf(req lockcluster.Request) int {
	switch r := req.(type) {
	case lockcluster.Acquire:
		return len(r.Value) + 512
	case lockcluster.LockCommand:
		return len(r.Value) + 256
	case lockcluster.PutDocument:
		return len(r.Value) + len(r.Key) + 128
	case lockcluster.Txn:
		n := 256
		for _, sub := range r.Requests {
			n += sizeOf(sub)
		}
		return n
	case lockcluster.Import:
		return shadowBytesMax // alone
	}
	return 512
}

// rest says that what was taken is done.
func (q *shadowQueue) rest(caughtUp bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.working = false
	if caughtUp {
		q.lost = false
	}
	if q.idleC != nil && len(q.items) == 0 && !q.lost {
		close(q.idleC)
		q.idleC = nil
	}
}

func (q *shadowQueue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

// idle returns a channel that is closed when nothing waits any more.
func (q *shadowQueue) idle() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 && !q.working && !q.lost {
		c := make(chan struct{})
		close(c)
		return c
	}
	if q.idleC == nil {
		q.idleC = make(chan struct{})
	}
	return q.idleC
}

func (q *shadowQueue) drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items, q.lost = nil, false
	if q.idleC != nil && !q.working {
		close(q.idleC)
		q.idleC = nil
	}
}

// shadow has the enhanced system do after the fact what the legacy system has
// done. The caller holds the stripes of req.
func (t *term) shadow(m *lockcluster.Migration, req lockcluster.Request, res lockcluster.Result, err error) {
	t.c.shadow.operation()
	if err == nil {
		if !t.queue.add(shadowed{req: asShadowed(req, &res), legacy: res}) {
			t.c.shadow.skipped()
		}
		return
	}
	// It may have been done or not: the answer cannot be compared, only what
	// the legacy system holds now can be copied.
	t.c.shadow.skipped()
	if refs, whole := named(req); whole {
		t.queue.lose()
	} else {
		t.queueCopy(m, refs)
	}
}

// named lists the records that a request can change; whole means that it does
// not name them.
func named(req lockcluster.Request) (refs []lockcluster.RecordRef, whole bool) {
	list, whole := targets(req)
	if _, ok := req.(lockcluster.Txn); ok {
		whole = false // its conditions reach further, its changes do not
	}
	for _, one := range list {
		whole = whole || one.ref.Key == ""
		refs = append(refs, one.ref)
	}
	return refs, whole
}

// queueCopy queues the records as the legacy system has them now; nothing may
// change them meanwhile.
func (t *term) queueCopy(m *lockcluster.Migration, refs []lockcluster.RecordRef) {
	ctx, cancel := context.WithTimeout(t.ctx, legacyTimeout)
	defer cancel()
	b := &batch{}
	err := t.c.legacy.read(ctx, m, func(r state.Reader) {
		for _, ref := range refs {
			b.read(r, ref)
		}
	})
	if err != nil {
		t.queue.lose()
		return
	}
	t.queue.add(shadowed{copied: b})
}

// runShadow does what is queued.
func (t *term) runShadow() {
	for {
		select {
		case <-t.queue.kick:
		case <-t.ctx.Done():
			return
		}
		for t.ctx.Err() == nil {
			items, lost := t.queue.take()
			if len(items) == 0 && !lost {
				t.queue.rest(false)
				break
			}
			m := t.c.Migration()
			err := t.shadowOnce(&m, items, lost)
			for errors.Is(err, errMoved) && t.c.Migration().Epoch > m.Epoch { // a gate has closed, or opened
				m = t.c.Migration()
				err = t.shadowOnce(&m, items, lost)
			}
			if err != nil && !errors.Is(err, errMoved) {
				t.c.shadow.outage(len(items))
				t.warn("the enhanced system did not shadow", err)
				t.queue.lose()
				t.c.sleep(t.ctx, mirrorRetry)
			}
			t.queue.rest(lost && err == nil)
		}
	}
}

func (t *term) shadowOnce(m *lockcluster.Migration, items []shadowed, lost bool) error {
	switch {
	case m.Mode != lockcluster.ModeShadow:
		t.queue.drop()
		return nil
	case lost:
		return t.catchUp(m)
	case items[0].copied != nil:
		b := *items[0].copied // which is used up by being sent
		return t.send(t.ctx, m, lockcluster.SystemEnhanced, &b)
	}
	return t.compare(m, items)
}

// catchUp makes the enhanced system a copy again after operations were left out.
func (t *term) catchUp(m *lockcluster.Migration) error {
	defer t.stripes.lock(all)()
	ctx, cancel := context.WithTimeout(t.ctx, 4*legacyTimeout)
	defer cancel()
	return t.copyAll(ctx, m, lockcluster.SystemEnhanced)
}

// compare has the enhanced system do operations and compares the answers.
func (t *term) compare(m *lockcluster.Migration, items []shadowed) error {
	req := lockcluster.Shadow{Namespace: m.Namespace, Epoch: m.Epoch}
	for _, s := range items {
		req.Requests = append(req.Requests, s.req)
	}
	res, err := t.c.node.Do(t.ctx, lockcluster.RequestID{}, req)
	switch {
	case err != nil:
		return err
	case res.Status == lockcluster.StatusIgnored:
		return errMoved
	case res.Status != lockcluster.StatusApplied || len(res.Results) != len(items):
		return fmt.Errorf("%s %s", res.Status, res.Text)
	}
	for i := range items {
		if t.c.shadow.compare(items[i].req, &items[i].legacy, &res.Results[i]) {
			continue
		}
		t.repair(m, items[i].req, &items[i].legacy)
	}
	return t.keepTrial(t.ctx, false)
}

// repair copies what an operation with two answers was about, so that later
// ones are judged by themselves.
func (t *term) repair(m *lockcluster.Migration, req lockcluster.Request, res *lockcluster.Result) {
	defer t.stripes.lock(stripesOf(req))()
	refs, whole := named(req)
	if whole {
		t.queue.lose()
		return
	}
	t.queueCopy(m, append(refs, changedBy(req, res)...))
}
