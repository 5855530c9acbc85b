package cluster

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
)

// logQueueMax bounds the log lines that wait to be written.
const logQueueMax = 4096

// logQueue writes log lines on a goroutine of its own. Raft logs on its main
// goroutine: a blocked pipe behind the logger must not block the cluster
// (etcd-io/etcd#22214). What does not fit into the queue is dropped and counted.
type logQueue struct {
	lines   chan logLine
	dropped atomic.Uint64
	wg      sync.WaitGroup
	done    chan struct{}
}

type logLine struct {
	handler slog.Handler
	record  slog.Record
}

func newLogQueue() *logQueue {
	q := &logQueue{lines: make(chan logLine, logQueueMax), done: make(chan struct{})}
	q.wg.Go(q.run)
	return q
}

func (q *logQueue) run() {
	for {
		select {
		case l := <-q.lines:
			_ = l.handler.Handle(context.Background(), l.record) // nobody is left to be told
		case <-q.done:
			for {
				select {
				case l := <-q.lines:
					_ = l.handler.Handle(context.Background(), l.record) // as above
				default:
					return
				}
			}
		}
	}
}

// close writes what is queued and ends. Lines that come later are dropped.
func (q *logQueue) close() {
	close(q.done)
	waitFor(&q.wg, logCloseMax)
}

// queuedHandler puts lines into a queue.
type queuedHandler struct {
	inner slog.Handler
	queue *logQueue
}

// Enabled implements [slog.Handler].
func (h queuedHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.inner.Enabled(ctx, l)
}

// Handle implements [slog.Handler]; it never blocks.
func (h queuedHandler) Handle(_ context.Context, r slog.Record) error {
	select {
	case h.queue.lines <- logLine{h.inner, r.Clone()}:
	default:
		h.queue.dropped.Add(1)
	}
	return nil
}

// WithAttrs implements [slog.Handler].
func (h queuedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return queuedHandler{h.inner.WithAttrs(attrs), h.queue}
}

// WithGroup implements [slog.Handler].
func (h queuedHandler) WithGroup(name string) slog.Handler {
	return queuedHandler{h.inner.WithGroup(name), h.queue}
}
