package cluster

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// newRaftLogger gives raft and its stores a logger that writes to logger. What
// they call info happens at every change of leader or snapshot, and stays info.
func newRaftLogger(logger *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Debug, Output: io.Discard})
	l.RegisterSink(raftLogSink{logger})
	return l
}

type raftLogSink struct{ logger *slog.Logger }

// Accept implements [hclog.SinkAdapter].
func (s raftLogSink) Accept(name string, level hclog.Level, msg string, args ...any) {
	l := slog.LevelDebug
	switch level {
	case hclog.Info:
		l = slog.LevelInfo
	case hclog.Warn:
		l = slog.LevelWarn
	case hclog.Error:
		l = slog.LevelError
	}
	if !s.logger.Enabled(context.Background(), l) {
		return
	}
	attrs := make([]any, 0, len(args)+2)
	attrs = append(attrs, "part", name)
	for i, a := range args {
		switch v := a.(type) {
		case hclog.Format: // a format and its arguments
			if f, ok := v[0].(string); ok {
				a = fmt.Sprintf(f, v[1:]...)
			}
		case fmt.Stringer:
			a = v.String()
		}
		if i%2 == 0 {
			a = fmt.Sprint(a)
		}
		attrs = append(attrs, a)
	}
	s.logger.Log(context.Background(), l, msg, attrs...) //nolint:sloglint // the text is raft's
}
